"""JAX against the golden state, each dtype in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import golden
import numpy as np
import pytest
from safetensors.numpy import save_file

from autoresearch import constants
from autoresearch.hardware import registry

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")

# Measures everything that golden.deviations compares. argv: folder with train.py and weights, then the backend's folders.
MEASURE = """
import runpy, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
folder = Path(sys.argv[1])
sys.path[:0] = sys.argv[2:]
import jax
import runtime
train = runpy.run_path(str(folder / "train.py"))
ids = np.load(folder / "ids.npy")
model = train["build_model"](SimpleNamespace(vocab_size=61, seq_len=24))
runtime.load_weights(model, folder / "weights")
inputs, targets = ids[0, :, :-1], ids[0, :, 1:]
logits = model(inputs)
chosen = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), targets[..., None], -1)[..., 0]
found = {"logits": logits, "token_loss": -chosen}
gradients = jax.grad(lambda weights: runtime.loss_scale * model.loss(weights, inputs, targets))(model.weights)
found |= {f"gradients/{name}": value / runtime.loss_scale for name, value in gradients.items()}
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
found |= {f"after/{name}": value for name, value in model.weights.items()}
np.savez(folder / "found.npz", **{name: np.array(value) for name, value in found.items()})
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # JAX has no float16 attention on a CPU
@pytest.mark.slow
def test_jax_gives_the_golden_state(tmp_path, dtype):
    state, backend = golden.load(), registry.scan()["jax"]
    text = constants.write(backend.train_py.read_text(encoding="utf-8"), golden.ABOUT["constants"])
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    save_file(golden.part(state, "weights"), tmp_path / "weights")
    np.save(tmp_path / "ids.npy", state["ids"])
    command = [sys.executable, "-W", "error", "-c", MEASURE, str(tmp_path), *map(str, backend.python_path)]
    subprocess.run(command, check=True, env=os.environ | {"AUTORESEARCH_DTYPE": dtype, "PYTHONDONTWRITEBYTECODE": "1"})
    with np.load(tmp_path / "found.npz") as found:
        found = golden.deviations(dict(found), state)
    assert not golden.beyond(found, dtype), found
