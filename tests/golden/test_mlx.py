"""MLX against the golden state, each dtype in a process of its own; and a checkpoint that goes from one backend to another."""

import importlib.util
import os
import subprocess
import sys

import golden
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from autoresearch import constants
from autoresearch.hardware import registry

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mlx") is None, reason="mlx is not installed")

# Measures everything that golden.deviations compares. argv: folder with train.py and weights, "compiled" or "eager".
MEASURE = """
import runpy, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
folder, mode = Path(sys.argv[1]), sys.argv[2]
sys.path[:0] = sys.argv[3:]
import runtime
import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
runtime.compile_on = mode == "compiled"
train = runpy.run_path(str(folder / "train.py"))
ids = np.load(folder / "ids.npy")
model = train["build_model"](SimpleNamespace(vocab_size=61, seq_len=24))
runtime.load_weights(model, folder / "weights")
inputs, targets = mx.array(ids[0, :, :-1]), mx.array(ids[0, :, 1:])
logits = model(inputs)
found = {"logits": logits, "token_loss": nn.losses.cross_entropy(logits, targets)}
loss, gradients = nn.value_and_grad(model, lambda: runtime.loss_scale * model.loss(inputs, targets))()
found |= {f"gradients/{name}": value / runtime.loss_scale for name, value in tree_flatten(gradients)}
trainer = train["Trainer"](model, 24)
losses = []
for step, batch in enumerate(ids):
    rows = iter(np.split(batch, trainer.passes))
    def get_batch(count):
        part = next(rows)
        assert len(part) == count
        return np.ascontiguousarray(part[:, :-1]), np.ascontiguousarray(part[:, 1:])
    losses.append(float(trainer.step(get_batch, step / 10)))
found["losses"] = np.array(losses)
found |= {f"after/{name}": value for name, value in model.weights().items()}
np.savez(folder / "found.npz", **{name: np.array(value) for name, value in found.items()})
"""

# Loads the checkpoint that another backend wrote, scores a batch, and writes the weights again.
READ = """
import runpy, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
folder = Path(sys.argv[1])
sys.path[:0] = sys.argv[3:]
import runtime
model = runpy.run_path(str(folder / "train.py"))["build_model"](SimpleNamespace(vocab_size=61, seq_len=24))
runtime.load_weights(model, folder / "weights")
logits = np.empty((4, 24, 61), np.float16)
runtime.logits(model, np.ascontiguousarray(np.load(folder / "ids.npy")[0, :, :-1]), logits)
np.save(folder / "logits.npy", logits)
runtime.save_weights(model, folder / "written")
"""


@pytest.fixture(scope="module")
def state():
    return golden.load()


def run(program, state, folder, backend, mode="eager", dtype="float32"):
    """The child's folder, after program has run in it with the golden weights and the constants."""
    backend = registry.scan()[backend]
    text = constants.write(backend.train_py.read_text(encoding="utf-8"), golden.ABOUT["constants"])
    (folder / "train.py").write_text(text, encoding="utf-8")
    save_file(golden.part(state, "weights"), folder / "weights")
    np.save(folder / "ids.npy", state["ids"])
    command = [sys.executable, "-c", program, str(folder), mode, *map(str, backend.python_path)]
    subprocess.run(command, check=True, env=os.environ | {"AUTORESEARCH_DTYPE": dtype, "PYTHONDONTWRITEBYTECODE": "1"})
    return folder


def deviations(state, folder, mode, dtype):
    with np.load(run(MEASURE, state, folder, "mlx", mode, dtype) / "found.npz") as found:
        return golden.deviations(dict(found), state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_mlx_gives_the_golden_state(state, tmp_path, dtype):
    found = deviations(state, tmp_path, "eager", dtype)
    assert not golden.beyond(found, dtype), found


@pytest.mark.slow
def test_compiled_mlx_gives_it_too(state, tmp_path):
    found = deviations(state, tmp_path, "compiled", "float32")
    assert not golden.beyond(found, "float32"), found


def test_a_checkpoint_of_one_backend_is_one_of_the_other(state, tmp_path):
    logits = {}
    for backend in ("mlx", "cpu"):
        folder = tmp_path / backend
        folder.mkdir()
        run(READ, state, folder, backend)
        logits[backend] = np.load(folder / "logits.npy").astype(np.float32)
        written, weights = load_file(folder / "written"), golden.part(state, "weights")
        assert written.keys() == weights.keys()
        for name, value in weights.items():
            assert written[name].dtype == np.float32 and np.array_equal(written[name], value), name
    assert np.abs(logits["mlx"] - logits["cpu"]).max() < 0.005, "a step of float16 near the cap is 2**-8"
    bits = [_mean_bits(part, state["ids"][0, :, 1:]) for part in logits.values()]
    assert bits[0] == pytest.approx(bits[1], abs=1e-3)


def _mean_bits(logits, targets):
    top = logits - logits.max(-1, keepdims=True)
    chosen = np.take_along_axis(top, targets[..., None], -1)[..., 0]
    return float((np.log(np.exp(top).sum(-1)) - chosen).mean() / np.log(2))
