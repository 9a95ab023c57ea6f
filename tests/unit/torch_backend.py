"""Backends' modules and a tiny train.py, loaded into the test process: the CPU's in float32, not compiled."""

import functools
import importlib
import importlib.util
import sys
import types
from types import SimpleNamespace

from backend_child import TINY

from autoresearch import constants
from autoresearch.paths import shipped

SPEC = SimpleNamespace(vocab_size=97, seq_len=24)
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

    torch.set_num_threads(1)  # at these sizes threads wait for each other, and the longer the busier the machine is
    module.dtype = torch.float32
    module.compile = lambda function: function
    return module


@functools.cache
def device_runtime(name: str) -> types.ModuleType:
    """Another backend's runtime.py, for its pure functions: its device need not be there."""
    folder = str(shipped("backends") / "torch")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location(f"runtime_{name}", shipped("backends") / name / "runtime.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def train(over: types.ModuleType | None = None, **values) -> types.ModuleType:
    """train.py as a module, with the constants of TINY and those given. over: the runtime, default the CPU's."""
    module = types.ModuleType("train_under_test")
    sys.modules["runtime"] = over or runtime()
    try:
        exec(compile(constants.write(SOURCE, TINY | values), "train.py", "exec"), module.__dict__)
    finally:
        del sys.modules["runtime"]
    return module
