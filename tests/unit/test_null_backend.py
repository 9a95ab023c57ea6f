"""The null backend through the real processes and the real scorer."""

import json
import subprocess
import sys

import pytest
from on_text import on_text

from autoresearch import constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices.registry import scan
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup

BACKEND = scan()["null"]
TRAIN = BACKEND.train_py.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    corpus = tmp_path_factory.mktemp("corpus")
    words = [f"{start}{end}" for start in ("th", "w", "br", "st", "k") for end in ("is", "as", "ing", "ore", "ally", "e")]
    for document in range(120):
        chosen = [words[(document * 7 + position * position) % len(words)] for position in range(400)]
        (corpus / f"{document}.txt").write_text(" ".join(chosen), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield Setup(BACKEND, on_text(prepare(str(corpus), 280), 64, 5000), train_seconds=0.2, startup_limit_seconds=60, sandbox=0)


@pytest.mark.slow
def test_the_score_follows_the_landscape_and_repeats(setup, tmp_path):
    far = constants.write(TRAIN, {"DEPTH": 16, "ASPECT_RATIO": 128})  # too large: off the cliff
    first, again, worse = (execute(setup, text, 1, tmp_path / name) for name, text in [("a", TRAIN), ("b", TRAIN), ("c", far)])
    assert first.status == "ok", first.reason
    assert first.val_bpb == again.val_bpb
    assert worse.val_bpb > first.val_bpb + 0.05
    assert first.depth == 8
    assert first.num_steps >= 1
    assert first.peak_memory_bytes is None


@pytest.mark.slow
def test_another_seed_gives_another_score(setup, tmp_path):
    one, two = (execute(setup, TRAIN, seed, tmp_path / str(seed)).val_bpb for seed in (1, 2))
    assert 0 < abs(one - two) < 0.02


def test_the_probe_is_one_line_and_unknown_is_null():
    command = [sys.executable, str(BACKEND.folder / "runtime.py"), "--probe"]
    facts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert facts["ok"] is True
    assert facts["device"] == "simulated"
    assert facts["memory_bytes"] is None
    assert facts["peak_flops"] is None


def test_it_is_never_chosen_unasked():
    assert BACKEND.auto is False
    assert BACKEND.problem is None
