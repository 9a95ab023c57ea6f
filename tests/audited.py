"""Models in this process, scored and audited by the product's own arithmetic: for the suites in tests/cheats and tests/honest.

A model is a whole train.py: a head per framework, the few lines that make it special, and a training that counts transitions. Here
its weights are the true transitions of a made-up text, brought in by the backend's `load_weights`; its logits come from the
backend's `logits`. The lines are written once for torch and MLX: `xp` is either, and both know numpy's names.
"""

import functools
import importlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from autoresearch.measure import audit
from autoresearch.measure.audit import Cuts, Difference, Finding, Tolerance
from autoresearch.measure.bpb import rows_bits
from autoresearch.measure.run import Spec
from autoresearch.measure.scorer import ask_all
from autoresearch.paths import shipped

SPEC = Spec(vocab_size=64, seq_len=64)
ROWS = 48
BATCH = 4  # rows that the worker is sent at a time; a study with 8192 tokens and rows of 1024 sends 4
FRAMEWORKS = ("torch", "mlx")
FOLDERS = {"torch": ("cpu", "torch"), "mlx": ("mlx",), "jax": ("jax",)}

HEADS = {
    "torch": """
import math
import time
import numpy as np
import torch
import torch as xp
from torch import nn
from torch.nn import functional as F
from autoresearch import measure

Module, weight = nn.Module, nn.Parameter
torch.set_num_threads(1)

def one_hot(ids, size):
    return F.one_hot(ids.long(), size).float()

def to(x, dtype):
    return x.to(getattr(torch, dtype))

def take(x, index, axis):
    return torch.take_along_dim(x, index, axis)

def gru(size):
    return nn.GRU(size, size, batch_first=True)

def lstm(size):
    return nn.LSTM(size, size, batch_first=True)

def normal(*shape, scale=1.0):
    return nn.Parameter(torch.randn(*shape) * scale)
""",
    "mlx": """
import math
import time
import numpy as np
import mlx.core as mx
import mlx.core as xp
from mlx import nn
from autoresearch import measure

weight = mx.array

class Module(nn.Module):
    def __call__(self, *inputs):
        return self.forward(*inputs)

def one_hot(ids, size):
    return (ids[..., None] == mx.arange(size)).astype(mx.float32)

def to(x, dtype):
    return x.astype(getattr(mx, dtype))

def take(x, index, axis):
    return mx.take_along_axis(x, index, axis)

def gru(size):
    return nn.GRU(size, size)

def lstm(size):
    return nn.LSTM(size, size)

def normal(*shape, scale=1.0):
    return mx.random.normal(shape) * scale
""",
}
HEADS["jax"] = """
import math
import time
import numpy as np
import jax.numpy as xp
from autoresearch import measure

weight = xp.asarray

class Module:
    def __call__(self, ids):
        return self.forward(xp.asarray(ids))

    @property
    def weights(self):
        return {"table": self.table}

    @weights.setter
    def weights(self, found):
        self.table = found["table"]

def one_hot(ids, size):
    return (ids[..., None] == xp.arange(size)).astype(xp.float32)
"""
# forward: log-odds of the next token after this one, and what `extra` makes of the row x [B, T, V], one-hot of ids [B, T].
TABLE = """
class Model(Module):
    def __init__(self, spec):
        super().__init__()
        self.seq_len, self.vocab_size = spec.seq_len, spec.vocab_size
        self.table = weight(xp.zeros((spec.vocab_size, spec.vocab_size)))

    def forward(self, ids):
        return self.table[ids] + self.extra(one_hot(ids, self.vocab_size), ids, *ids.shape)

"""
TRAINING = """
SHARPNESS = 1.0  # [fixed]

def build_model(spec):
    return Model(spec)

def main():
    import runtime
    run = measure.start()
    model = build_model(run.spec)
    for step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        if step == 0:
            counts = np.full((run.spec.vocab_size, run.spec.vocab_size), 0.1, np.float32)
            np.add.at(counts, run.batch(2048), 1)
            model.table = weight(xp.asarray(SHARPNESS * np.log(counts / counts.sum(1, keepdims=True))))
        time.sleep(0.002)
        run.report(loss=5.0)

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class Text:
    """Tokens of which each is followed by one of a few, in rows that follow one another, as a validation text's do."""

    inputs: np.ndarray  # int32 [ROWS, T]
    targets: np.ndarray
    table: np.ndarray  # float32 [V, V], log of the odds that made it


@functools.cache
def text() -> Text:
    rng = np.random.default_rng(0)
    odds = rng.dirichlet(np.full(SPEC.vocab_size, 0.1), size=SPEC.vocab_size)
    stream = [0]
    for _ in range(ROWS * SPEC.seq_len):
        stream.append(rng.choice(SPEC.vocab_size, p=odds[stream[-1]]))
    tokens = np.array(stream, np.int32)
    return Text(tokens[:-1].reshape(ROWS, -1), tokens[1:].reshape(ROWS, -1), np.log(odds + 0.002).astype(np.float32))


@functools.cache
def runtime(framework: str) -> types.ModuleType:
    """The shipped backend's; every backend has a module of that name, so none stays known by it."""
    if framework in ("mlx", "jax"):
        pytest.importorskip(framework)
    folders = [str(shipped("backends") / name) for name in FOLDERS[framework]]
    sys.path[:0] = folders
    try:
        return importlib.import_module("runtime")
    finally:
        del sys.path[: len(folders)]
        sys.modules.pop("runtime", None)


def train_py(framework: str, extra: str) -> str:
    """The text of a train.py whose model adds `extra`, the lines of that method, to the table."""
    lines = ["def extra(self, x, ids, B, T):", *(f"    {line}" for line in extra.strip("\n").splitlines())]
    return HEADS[framework] + TABLE + "".join(f"    {line}\n" for line in lines) + TRAINING


def model(framework: str, source: str, weights: dict[str, np.ndarray] | bytes | None, folder: Path):
    """What the score worker makes of a train.py and its checkpoint. weights: that, its bytes, or None for build_model's."""
    backend = runtime(framework)
    module = types.ModuleType("train")
    exec(compile(source, "train.py", "exec"), module.__dict__)
    if weights is None:
        backend.seed(0)
        backend.save_weights(module.build_model(SPEC), folder / "checkpoint")
    elif isinstance(weights, bytes):
        (folder / "checkpoint").write_bytes(weights)
    else:
        save_file(weights, folder / "checkpoint")
    return backend.load_weights(module.build_model(SPEC), folder / "checkpoint")


def asker(framework: str, subject, batch: int = BATCH):
    """(inputs, targets) -> bits [n, T], as the harness asks its worker."""
    fill = runtime(framework).logits
    slots = [np.empty((batch, SPEC.seq_len, SPEC.vocab_size), np.float32) for _ in range(2)]

    def send(slot: int, ids: np.ndarray) -> None:
        fill(subject, ids, slots[slot])

    return lambda inputs, targets: ask_all(inputs, targets, batch, rows_bits, send, lambda slot: slots[slot].copy())


def look(ask, scored: np.ndarray, seed: int, count: int, gain: np.ndarray | None = None) -> Difference:
    """An audit's first look."""
    cuts = audit.make_cuts(np.random.default_rng(seed), text().inputs, text().targets, count, gain)
    return audit.compare(cuts, scored, ask(cuts.inputs, cuts.targets))


def examine(ask, scored: np.ndarray, allowed: Tolerance, seed: int, count: int, gain: np.ndarray | None = None) -> Finding:
    """One audit."""
    rng = np.random.default_rng(seed)

    def draw(wanted: int, gain=None) -> Cuts:
        return audit.make_cuts(rng, text().inputs, text().targets, wanted, gain)

    return audit.examine(allowed, scored, draw(count, gain), draw, lambda cuts: ask(cuts.inputs, cuts.targets))


@dataclass(frozen=True)
class Honest:
    """The baseline of a framework: the table alone, a little off, and what the harness measures on it."""

    bits: np.ndarray  # of every target
    mean_bits: float  # of the true table
    allowed: Tolerance


@functools.cache
def honest(framework: str, folder: Path) -> Honest:
    rng = np.random.default_rng(1)
    off = text().table + rng.normal(0, 0.4, text().table.shape).astype(np.float32)
    source = train_py(framework, "return 0 * x")
    ask = asker(framework, model(framework, source, {"table": off}, folder))
    bits = ask(text().inputs, text().targets)
    allowed = Tolerance.of_baseline([look(ask, bits, seed, 32) for seed in range(5)])
    true = asker(framework, model(framework, source, {"table": text().table}, folder))(text().inputs, text().targets)
    return Honest(bits, float(true.mean()), allowed)
