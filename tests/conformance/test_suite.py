"""The suite against the smallest backend as it is, and broken in one way at a time: each fault fails its contract and no other."""

import shutil
from pathlib import Path

import pytest

from autoresearch.checks.conformance import suite
from autoresearch.checks.conformance.contracts import FAIL, NOT_APPLICABLE, PASS
from autoresearch.hardware.devices import registry
from autoresearch.paths import cache_dir
from autoresearch.run import experiment

SMALLEST = Path(__file__).parent / "smallest"
# Another algorithm than the shared one, so the golden state says no; with float32 as its own dtype there is one golden contract.
GOLDEN = {"golden state": FAIL, "golden state, float32": NOT_APPLICABLE}
BUDGET_SECONDS = 0.5
CONTRACTS = [contract.name for contract in suite.CONTRACTS]

# contract: (file, text, what stands there instead)
FAULTS = {
    "probe, junk": ("runtime.py", "print(json.dumps(probe()))", "print('it works!')"),
    "probe, a zero": ("runtime.py", '"memory_bytes": None', '"memory_bytes": 0'),
    "trains": ("train.py", "run.report(model.step(*run.batch(ROWS)))", "model.step(*run.batch(ROWS))"),
    "same seed reproduces, unseeded": ("train.py", "runtime.seed(run.seed)", "runtime.seed(None)"),
    "same seed reproduces, a constant": ("train.py", "runtime.seed(run.seed)", "runtime.seed(5)"),
    "warm-up leaves no trace": ("train.py", "    model.weights = before\n", ""),
    "no validation text": (
        "train.py",
        "run.report(",
        "import glob, os; found = glob.glob('CACHE/data/*/val/tokens.bin');"
        " [open(os.path.realpath(path), 'rb').close() for path in found]; run.report(",
    ),
    "save and load": ("runtime.py", "**model.weights)", '**{**model.weights, "before": model.weights["out"]})'),
    "save and load, a tensor less": ("runtime.py", "**model.weights)", 'here=model.weights["here"], out=model.weights["out"])'),
    "causality": ("train.py", "[ids[:, :1], ids[:, :-1]]", "[ids[:, 1:], ids[:, -1:]]"),
    "scoring agrees": ("runtime.py", "model.hidden(ids) @", "(model.hidden(ids) - model.hidden(ids).mean(axis=0)) @"),
    "clock obeyed": (  # a step that outlasts the budget, in the run that has one
        "train.py",
        "run.report(",
        "import time; time.sleep(3 if type(run) is measure.Run else 0); run.report(",
    ),
    "summary complete": ("train.py", "describe(depth=DEPTH", "describe(peak_memory_bytes=0, depth=DEPTH"),
    "out of memory": (
        "train.py",
        "    return Model(spec.vocab_size)",
        """
    try:
        return Model(spec.vocab_size)
    except MemoryError:
        raise RuntimeError("too much") from None""",
    ),
}

SECOND = {"probe, a zero", "same seed reproduces, a constant", "save and load, a tensor less"}  # of their contracts
CASES = [pytest.param(name, marks=pytest.mark.thorough if name in SECOND else ()) for name in FAULTS]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(experiment, "GRACE_MOST_SECONDS", 1.0)  # for the step that outlasts the budget
        yield


def results(folder):
    outcomes = list(suite.check(registry.read("smallest", folder), BUDGET_SECONDS))
    assert [one.contract for one in outcomes] == CONTRACTS
    for one in outcomes:
        assert one.figure or one.detail, one
        assert one.detail is None or "\n" not in one.detail
    return {one.contract: one for one in outcomes}


# A real run finds it as well: what is asked alone is answered otherwise.
SEEN_TOO = {"scoring agrees": {"summary complete"}}


@pytest.mark.slow
def test_the_smallest_backend_keeps_every_contract_but_the_golden_state():
    found = results(SMALLEST)
    assert {name: one.result for name, one in found.items()} == dict.fromkeys(CONTRACTS, PASS) | GOLDEN
    assert "Trainer" in found["golden state"].detail
    assert "change of an earlier logit 0.0e+00" in found["causality"].figure


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_fault_fails_its_contract_and_no_other(tmp_path, name):
    folder = shutil.copytree(SMALLEST, tmp_path / "smallest", ignore=shutil.ignore_patterns("__pycache__"))
    file, old, new = FAULTS[name]
    source = (folder / file).read_text(encoding="utf-8")
    assert source.count(old) == 1
    (folder / file).write_text(source.replace(old, new.replace("CACHE", cache_dir().as_posix())), encoding="utf-8")
    found = results(folder)
    failed = {contract for contract, one in found.items() if one.result == FAIL and contract not in GOLDEN}
    assert failed - SEEN_TOO.get(name, set()) == {name.partition(",")[0]}, [one for one in found.values() if one.result == FAIL]
