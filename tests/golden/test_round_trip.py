"""One set of weights in every backend that works here: loaded, saved unchanged, and scored as the float64 reference scores it.

So weights that one backend has saved load in each other one, to the same score. A simulated backend has no such weights.
"""

import json
import math
import subprocess
import sys

import golden
import make
import numpy as np
import pytest
import reference
from on_text import on_text
from safetensors.numpy import load_file, save_file

from autoresearch import constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import detect, registry
from autoresearch.measure.bpb import ValidationText
from autoresearch.run.experiment import evaluate
from autoresearch.run.setup import Setup

VOCAB_SIZE, SEQ_LEN, EVAL_BYTES = 320, 48, 8000
C = golden.ABOUT["constants"]

# Loads a checkpoint into a model of the backend, and saves it again.
LOAD_AND_SAVE = """
import json, runpy, sys
from pathlib import Path
job = json.loads(sys.argv[1])
sys.path[:0] = job["python_path"]
import runtime
from autoresearch.measure import Spec
model = runpy.run_path(job["train_py"])["build_model"](Spec(job["vocab_size"], job["seq_len"]))
runtime.save_weights(runtime.load_weights(model, Path(job["checkpoint"])), Path(job["saved"]))
"""


def real_backends() -> list:
    """Those whose train.py has a Trainer, as each that trains a model does. The plain run has those that `auto` may take."""
    backends = [backend for backend in registry.scan().values() if backend.problem is None]
    real = [backend for backend in backends if backend.trains and "\nclass Trainer" in backend.train_py.read_text(encoding="utf-8")]
    return [pytest.param(one, id=one.name, marks=() if one.auto else pytest.mark.thorough) for one in real]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(prepared text, checkpoint, its weights, its bits per byte by the reference)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        corpus = tmp_path_factory.mktemp("corpus")
        rng = np.random.default_rng(0)
        for index in range(300):
            words = rng.choice(["one", "fish", "two", "red", "blue", "swims", "in", "the", "sea"], size=100)
            (corpus / f"{index}.txt").write_text(f"{index} " + " ".join(words), encoding="utf-8")
        prepared = prepare(str(corpus), VOCAB_SIZE)
        weights = make.random_weights(C, VOCAB_SIZE, rng)
        checkpoint = tmp_path_factory.mktemp("weights") / "checkpoint"
        save_file(weights, checkpoint)
        yield prepared, checkpoint, weights, reference_bpb(prepared, weights)


@pytest.mark.slow
@pytest.mark.parametrize("backend", real_backends())
def test_weights_go_through_a_backend_unchanged_and_score_as_the_reference(backend, study, tmp_path):
    facts = detect.probe(backend)
    if not facts.ok:
        pytest.skip(facts.reason)
    prepared, checkpoint, weights, expected = study
    text = constants.write(backend.train_py.read_text(encoding="utf-8"), C)
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    files = {"train_py": str(tmp_path / "train.py"), "checkpoint": str(checkpoint), "saved": str(tmp_path / "checkpoint")}
    job = files | {"python_path": [str(path) for path in backend.python_path], "vocab_size": VOCAB_SIZE, "seq_len": SEQ_LEN}
    subprocess.run([sys.executable, "-c", LOAD_AND_SAVE, json.dumps(job)], check=True)

    saved = load_file(tmp_path / "checkpoint")
    assert saved.keys() == weights.keys()
    for name, weight in weights.items():
        assert saved[name].dtype == weight.dtype, name
        np.testing.assert_array_equal(saved[name], weight, err_msg=name)
    setup = Setup(backend, on_text(prepared, SEQ_LEN, EVAL_BYTES), train_seconds=1, startup_limit_seconds=120, sandbox=0)
    assert evaluate(setup, tmp_path).value == pytest.approx(expected, abs=1e-3), "bits per byte"


def reference_bpb(prepared, weights) -> float:
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    text = ValidationText.load(prepared.val_folder, token_bytes, prepared.dtype, EVAL_BYTES)
    inputs, targets = text.rows(SEQ_LEN)
    _, token_loss, _ = reference.evaluate(weights, inputs, np.maximum(targets, 0), C)
    is_scored = (targets >= 0) & (token_bytes[np.maximum(targets, 0)] > 0)
    return token_loss[is_scored].sum() / math.log(2) / text.total_bytes
