"""Follows the golden state with a backend, in a process of its own. Prints one JSON line: deviations, dtype, is_compiled.

`python child.py JOB`; JOB is JSON with python_path and train_py of the backend, its framework, and compiled: false for eager. What
frameworks do each in their way is in follow_torch.py, follow_mlx.py and follow_jax.py, which have

    set_compile(is_on)       before train.py is read
    kernels(is_on)           yields a name for each set of kernels to follow the state with, once that set is in place
    at_start(trainer, inputs, targets)    logits, token_loss and gradients/NAME of a batch, inputs and targets int32 [B, T]
    weights(model)           by name
    is_compiled()            whether any code was
"""

import importlib
import json
import sys
import tempfile
import types
from pathlib import Path

import golden
import numpy as np
from safetensors.numpy import save_file

from autoresearch import constants
from autoresearch.measure import Spec

job = json.loads(sys.argv[1])
sys.path[:0] = job["python_path"]

import runtime  # noqa: E402

framework = importlib.import_module(f"follow_{job['framework']}")


def main() -> None:
    framework.set_compile(job["compiled"])
    train = types.ModuleType("train")
    text = constants.write(Path(job["train_py"]).read_text(encoding="utf-8"), golden.ABOUT["constants"])
    exec(compile(text, "train.py", "exec"), train.__dict__)
    state = golden.load()
    found = {name: golden.deviations(follow(train, state), state) for name in framework.kernels(job["compiled"])}
    dtype = str(runtime.dtype).rpartition(".")[2]  # torch.float32, mlx.core.float32, float32
    print(json.dumps({"deviations": found, "dtype": dtype, "is_compiled": framework.is_compiled()}))


def follow(train, state) -> dict[str, np.ndarray]:
    """What the backend's train.py makes of the state's weights and tokens."""
    seq_len, ids = golden.ABOUT["seq_len"], state["ids"]
    model = train.build_model(Spec(golden.ABOUT["vocab_size"], seq_len))
    with tempfile.TemporaryDirectory() as folder:
        save_file(golden.part(state, "weights"), Path(folder) / "weights")
        runtime.load_weights(model, Path(folder) / "weights")
    trainer = train.Trainer(model, seq_len)
    assert trainer.rows < golden.ABOUT["rows"], "several passes a step"

    found = framework.at_start(trainer, *batches(ids[0])(len(ids[0])))
    losses = [float(trainer.step(batches(tokens), step / len(ids))) for step, tokens in enumerate(ids)]
    found |= {f"after/{name}": weight for name, weight in framework.weights(model).items()}
    return {name: np.asarray(value) for name, value in found.items()} | {"losses": np.array(losses)}


def batches(tokens: np.ndarray):
    """get_batch(rows) over the rows of tokens [B, T + 1], from the first."""
    left = iter(tokens)

    def get_batch(rows: int):
        part = np.stack([next(left) for _ in range(rows)])
        return np.ascontiguousarray(part[:, :-1]), np.ascontiguousarray(part[:, 1:])

    return get_batch


if __name__ == "__main__":
    main()
