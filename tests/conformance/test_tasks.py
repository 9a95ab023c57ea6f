"""The suite against the skeleton of `tasks new` as it is, and broken in one way at a time: a fault fails its contract alone."""

from dataclasses import replace

import numpy as np
import pytest

from autoresearch.checks.conformance.contracts import FAIL, NOT_APPLICABLE, PASS
from autoresearch.checks.conformance.subject import SEQ_LEN, VOCAB_SIZE, prepared_text
from autoresearch.checks.tasks import suite
from autoresearch.checks.tasks.subject import Subject
from autoresearch.hardware.planner import plan
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.sandbox import levels
from autoresearch.task import registry, skeleton

CONTRACTS = [contract.name for contract in suite.CONTRACTS["answers"]]
SAVE = 'np.save(folder / f"{split}.npy", part)'
LOSS = "return (answers - targets[:, None]) ** 2"
FINITE = "if not np.isfinite(answers).all():"
PERFECT = "    def perfect(self, targets):\n        return targets[:, None]\n"
SPEC = "    def spec(self):"
NOISE = "+ rng.normal(0, 0.25, count)\n"
ANSWER = "(model.features(inputs) @ model.weights)[:, None]"


def saved(code, array="part"):
    """Something is done before a split is written."""
    return ("task.py", SAVE, f'{code}\n            np.save(folder / f"{{split}}.npy", {array})')


def one_more(values):
    """An input more."""
    return ("task.py", '("hours", "f4")', '("more", "f4"), ("hours", "f4")'), (
        "task.py",
        NOISE,
        f"{NOISE}    rows['more'] = {values}\n",
    )


def fed(change):
    """The rows of val are fed too, with one change."""
    return saved(f'more = parts["val"].copy(); {change}', 'np.concatenate([part, more]) if split == "train" else part')


# contract, or "contract, which": edits, each (file, text, what stands there instead)
FAULTS = {
    "task.toml": [("task.toml", 'direction = "min"', 'direction = "up"')],
    "task.py": [("task.py", "import numpy as np", "import numpy as np\nimport torch")],
    "task.py: an error": [("task.py", "import numpy as np", "import numpy as np\nnowhere")],
    "train.py": [("null/train.py", "[1..8]", "[8..1]")],
    "train.py: no answer": [("null/train.py", "def answer(", "def reply(")],
    "program.md": [("moves.toml", "BATCH_SIZE", "BATCHES")],
    "prepared twice": [("task.py", "default_rng(0).permutation", "default_rng().permutation")],
    "splits": [saved("", 'part[:5] if split == "val" else part')],
    "no question is fed": [fed("pass")],
    "no question is fed: its target beside other inputs": [fed('more["day"] += 0.25')],
    "targets are not told": one_more("rows['hours'] * 60"),
    "targets are not told: those of other rows": [*one_more("0"), saved('part["more"] = np.roll(part["hours"], 7)')],
    "targets are not told: by the number of the row": one_more("np.argsort(np.argsort(rows['hours'])) ^ 15"),
    "targets are not told: by the order of rows": [saved('part = np.sort(part, order="hours")')],
    "feed": [("task.py", SPEC, f"    def feed(self, seed):\n        return super().feed(0)\n\n{SPEC}")],
    "losses": [("task.py", FINITE, "answers = np.nan_to_num(answers)\n        if False:")],
    "losses: an error": [("task.py", FINITE, "if not np.isfinite(answers.nowhere):")],
    "losses, one by one": [("task.py", LOSS, f"{LOSS} + answers.std()")],
    "losses, one by one: stretched": [("task.py", LOSS, LOSS.replace("[:, None]", ""))],
    "direction": [("task.toml", 'direction = "min"', 'direction = "max"')],
    "direction: of the losses": [("task.py", LOSS, f"return -({LOSS[7:]})"), ("task.py", "np.sqrt(ratio)", "ratio")],
    "sealed": [("task.py", SPEC, f"    def reads(self):\n        return [self.prepared.folder]\n\n{SPEC}")],
    "trains": [("null/train.py", "run.describe(", "run.nowhere(")],
    "limits": [("task.toml", "[scoring]", '[limits]\nparams = "<=3"\n\n[scoring]')],
    "limits: of what is not measured": [("task.toml", "[scoring]", '[limits]\nwings = "<=3"\n\n[scoring]')],
    "trains: it looks at its batch mates": [("null/train.py", ANSWER, f"{ANSWER} + inputs['latitude'].mean()")],
    "one seed, one training": [("null/train.py", "default_rng(run.seed)", "default_rng()")],
    "a constant loses": [("task.py", LOSS, f"{LOSS} + 5 * (answers - 12) ** 2"), ("task.py", PERFECT, "")],
    "shuffled answers lose": [("null/train.py", ANSWER, "np.full((len(inputs['day']), 1), 12.0)")],
    "splits are alike": [saved('part["hours"] += 3 * np.sin(1000 * part["day"]) * (split == "val")')],
}  # fmt: skip
# What is tried on every change: the data, the losses, the model, one each; the others now and then.
FIRST = {
    "no question is fed",
    "targets are not told",
    "losses, one by one",
    "direction",
    "sealed",
    "a constant loses",
    "shuffled answers lose",
}
CASES = [pytest.param(name, marks=() if name in FIRST else pytest.mark.thorough) for name in FAULTS]


def outcomes(folder, work, corpus="auto", sizes=None, options=None):
    table = registry.read(folder)
    if table.problem:
        found = list(suite.unreadable(table))
    else:
        planned = plan.make("null", backends=registry.backends(table))
        profile = replace(planned.profile, data=sizes) if table.sizes else registry.sized(table, planned.profile)
        work.mkdir()
        given = registry.given(table, options or {})
        backend, profile = planned.choice.backend, profile.with_train_seconds(0.5)
        found = list(suite.check(Subject(table, given, corpus, backend, profile, levels.reach().level, work)))
    assert [one.contract for one in found] == CONTRACTS
    for one in found:
        assert one.figure or one.detail, one
        assert one.detail is None or "\n" not in one.detail
    return found


@pytest.mark.slow
def test_the_skeleton_keeps_every_contract(tmp_path):
    folder = skeleton.make("mine", tmp_path)
    with (folder / "task.toml").open("a", encoding="utf-8") as manifest:
        manifest.write('[limits]\nparams = "<=100"\nlatency_ms = "<=60000"\n')
    assert [one for one in outcomes(folder, tmp_path / "work") if one.result != PASS] == []


@pytest.mark.slow
def test_pretraining_keeps_every_contract(tmp_path):
    sizes = Data("made up", VOCAB_SIZE, SEQ_LEN, eval_bytes=10_000)
    found = outcomes(registry.find("pretrain").folder, tmp_path / "work", prepared_text().corpus, sizes)
    assert {one.contract: one.result for one in found if one.result != PASS} == {
        "targets are not told": NOT_APPLICABLE, "limits": NOT_APPLICABLE, "shuffled answers lose": NOT_APPLICABLE,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.thorough
def test_a_table_keeps_every_contract(tmp_path):
    rng = np.random.default_rng(0)
    height, kind = rng.normal(size=2000), rng.integers(3, size=2000)
    lines = [f"{a:.4f},{'xyz'[b]},{int(a + b > rng.normal(1, 0.4))}" for a, b in zip(height, kind, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["height,kind,is_one", *lines]), encoding="utf-8")
    folder = registry.find("tabular").folder
    found = outcomes(folder, tmp_path / "work", str(tmp_path / "rows.csv"), options={"target": "is_one"})
    assert {one.contract: one.result for one in found if one.result != PASS} == {"limits": NOT_APPLICABLE}, found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_fault_fails_its_contract_and_no_other(name, tmp_path):
    folder = skeleton.make("mine", tmp_path)
    for file, old, new in FAULTS[name]:
        source = (folder / file).read_text(encoding="utf-8")
        assert old in source
        (folder / file).write_text(source.replace(old, new, 1), encoding="utf-8")
    failed = [one for one in outcomes(folder, tmp_path / "work") if one.result == FAIL]
    assert [one.contract for one in failed] == [name.partition(":")[0]], failed
