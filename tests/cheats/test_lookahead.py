"""No model that looks ahead passes an audit, in torch and in MLX; each one pays, else its test would show nothing.

The train.py texts are in lookahead.py. Detection rates over many more random cuts: benchmarks/audit_power.py.
"""

from dataclasses import replace

import audited
import numpy as np
import pytest
from audited import FRAMEWORKS, text
from lookahead import AHEAD, CHEATS, FAINT
from on_text import on_text

from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import registry
from autoresearch.measure import audit
from autoresearch.paths import shipped
from autoresearch.run import scoring
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup

GAIN_BITS = 0.01  # a token; about 0.003 bits a byte, which is what a good night gains
SEEDS = range(5)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def scored(framework, extra, folder):
    """(asker, bits of every target)"""
    subject = audited.model(framework, audited.train_py(framework, extra), {"table": text().table}, folder)
    ask = audited.asker(framework, subject)
    return ask, ask(text().inputs, text().targets)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEATS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_that_looks_ahead_pays_and_is_found(framework, name, folder):
    honest = audited.honest(framework, folder)
    ask, bits = scored(framework, CHEATS[name], folder)
    assert honest.mean_bits - bits.mean() > GAIN_BITS
    for seed in SEEDS:
        found = audited.examine(ask, bits, honest.allowed, seed, 32, gain=honest.bits - bits)
        assert found.reason, f"not found with the cuts of seed {seed}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAINT)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_faint_look_ahead_is_found_by_its_direction(framework, name, folder):
    honest = audited.honest(framework, folder)
    ask, bits = scored(framework, FAINT[name], folder)
    assert 0 < honest.mean_bits - bits.mean() < 0.05
    for seed in range(3):
        found = audited.examine(ask, bits, honest.allowed, seed, 64, gain=honest.bits - bits)
        assert found.reason and "all the same way" in found.reason, found


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_row_beside_helps_nobody(framework, folder):
    """A row's last target is the next row's first token. It would pay if rows were sent in their order, and they are not."""
    extra = "mates = xp.roll(ids[:, 0], -1, 0)\nis_last = xp.arange(T) == T - 1\n"
    extra += "return 6 * one_hot(mates, self.vocab_size)[:, None] * (1.0 * is_last)[:, None]"
    honest = audited.honest(framework, folder)
    ask, bits = scored(framework, extra, folder)
    subject = audited.model(framework, audited.train_py(framework, extra), {"table": text().table}, folder)
    in_order = np.empty((audited.ROWS, audited.SPEC.seq_len, audited.SPEC.vocab_size), np.float16)
    audited.runtime(framework).logits(subject, text().inputs, in_order)
    last = np.take_along_axis(in_order[:, -1].astype(float), text().targets[:, -1:], 1)[:, 0]
    nats = np.log(np.exp(in_order[:, -1].astype(float)).sum(1)) - last
    assert nats[:-1].mean() < 0.2, "it pays in the rows' own order"
    assert bits.mean() > honest.mean_bits
    assert audited.examine(ask, bits, honest.allowed, 0, 32).reason, "and it is found"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_counts_its_calls_is_found_by_a_fresh_process(framework, folder):
    """It looks ahead until it has seen as many rows as the text has, or only after a few: an audit starts with a new model."""
    for when in ("self.calls <= 12", "self.calls > 4"):
        extra = f"self.calls = getattr(self, 'calls', 0) + 1\n{AHEAD}return 4 * ahead if {when} else 0 * x"
        honest = audited.honest(framework, folder)
        _, bits = scored(framework, extra, folder)
        assert honest.mean_bits - bits.mean() > GAIN_BITS
        subject = audited.model(framework, audited.train_py(framework, extra), {"table": text().table}, folder)
        fresh = audited.asker(framework, subject)
        assert audited.examine(fresh, bits, honest.allowed, 0, 32, honest.bits - bits).reason


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_honest_model_passes_and_an_open_tolerance_leaves_the_direction(framework, folder):
    """What the tests above lean on: a cheat is told by the size of a difference, or else by its direction."""
    honest = audited.honest(framework, folder)
    ask, bits = scored(framework, "return 0 * x", folder)
    assert audited.examine(ask, bits, honest.allowed, 0, 256).reason is None
    ask, bits = scored(framework, CHEATS["no mask"], folder)
    wide = replace(honest.allowed, worst_nats=100, shift_nats=100)
    found = audited.examine(ask, bits, wide, 0, 256)
    assert found.difference.worst_nats > 1 and found.closer.sigmas > audit.SIGMAS and "sigma" in found.reason


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", pytest.param("mlx", marks=pytest.mark.thorough)])
def test_in_real_processes(framework, tmp_path, corpus):
    """Trained, scored and audited each in a process of its own, by the shipped backend."""
    audited.runtime(framework)  # skips without its package
    backend = registry.scan(shipped("backends"))[audited.FOLDERS[framework][0]]
    setup = Setup(backend, on_text(prepare(str(corpus), 320), 64, 10000), train_seconds=1.0, startup_limit_seconds=120, sandbox=0)
    questions = setup.task.questions("val")
    inputs, targets = questions.inputs, questions.targets
    scores, found = {}, {}
    for name, extra in {"honest": "return 0 * x", "cheat": CHEATS["mask off by one"]}.items():
        result = execute(setup, audited.train_py(framework, extra), 1, tmp_path / name)
        assert result.ok, result
        scores[name] = result.val_bpb
        cuts = audit.make_cuts(np.random.default_rng(0), inputs, targets, 32)
        with scoring.asking_cuts(setup, tmp_path / name) as ask:
            found[name] = audit.compare(cuts, np.load(tmp_path / name / scoring.BITS), ask(cuts))
    assert scores["cheat"] < scores["honest"] - 0.1
    allowed = audit.Tolerance.of_baseline([found["honest"]])
    assert allowed.objection(found["cheat"])
