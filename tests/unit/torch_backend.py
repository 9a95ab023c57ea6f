"""The CPU backend's modules and a tiny train.py, loaded into the test process: float32, not compiled."""

import functools
import importlib
import sys
import types
from types import SimpleNamespace

from autoresearch import constants
from autoresearch.paths import shipped

SPEC = SimpleNamespace(vocab_size=97, seq_len=24)
TINY = {
    "DEPTH": 3, "ASPECT_RATIO": 16, "HEAD_DIM": 16, "GATE_CHANNELS": 8, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25,
    "DEVICE_BATCH_SIZE": 2, "TOTAL_BATCH_SIZE": 96,
}  # fmt: skip
SOURCE = (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")


@functools.cache
def runtime() -> types.ModuleType:
    folders = [str(shipped("backends") / name) for name in ("cpu", "torch")]
    sys.path[:0] = folders
    try:
        module = importlib.import_module("runtime")
    finally:
        del sys.path[:2], sys.modules["runtime"]  # every backend has a module of that name
    import torch

    module.dtype = torch.float32
    module.compile = lambda function: function
    return module


def train(**values) -> types.ModuleType:
    """train.py as a module, with the constants of TINY and those given."""
    module = types.ModuleType("train_under_test")
    sys.modules["runtime"] = runtime()
    try:
        exec(compile(constants.write(SOURCE, TINY | values), "train.py", "exec"), module.__dict__)
    finally:
        del sys.modules["runtime"]
    return module
