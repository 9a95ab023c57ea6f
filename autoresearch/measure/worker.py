"""The child process that runs agent code: `python -m autoresearch.measure.worker`, with its job as the first line on stdin.

train: runs train.py as `__main__`. score: imports build_model from it, loads the weights, turns token ids into logits.
Whatever goes wrong in there is one message with a reason, and a traceback in the run's log.
"""

import builtins
import mmap
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from autoresearch.measure import run as run_module
from autoresearch.measure.channel import Channel, take_stdio
from autoresearch.measure.run import Diverged, Run, Spec

# How frameworks word it: torch CUDA and MPS, torch's CPU allocator, MLX and Metal, XLA, XPU.
_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "unable to allocate", "insufficient memory", "resource_exhausted",
    "maximum allowed buffer size", "outofmemory", "out_of_device_memory", "out_of_resources",
)  # fmt: skip


def main(work: Mapping[str, Callable[[Channel, dict[str, Any]], None]] | None = None) -> None:
    """work: what to do for each type of job; by default the two below."""
    work = work or {"train": train, "score": score}
    channel = take_stdio()
    job = channel.receive()
    if job is None:
        return
    sys.path[:0] = job["python_path"]
    try:
        work[job["type"]](channel, job)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        channel.send({"type": "failed", **_explain(error), **_where(error, job.get("train_py"))})
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that agent code left behind don't outlive the run


def train(channel: Channel, job: dict[str, Any]) -> None:
    run_module._run = Run(channel, job)
    sys.argv = [job["train_py"]]
    execute(job["train_py"], "__main__")
    channel.send({"type": "ended"})


def score(channel: Channel, job: dict[str, Any]) -> None:
    """Answer {"type": "rows", slot} + int32 ids [rows, T] with float32 logits [rows, T, V] in the slot's file.

    The weights are there only once the model is built, and before the first rows all is tried out on stand-in tokens: what can go
    wrong does so before this process has seen any text.
    """
    import runtime  # the backend's

    model = import_train(job).build_model(spec_of(job))
    shape = (job["rows"], job["seq_len"], job["vocab_size"])
    slots = [_map_slot(path, shape) for path in job["slots"]]
    channel.send({"type": "built"})
    channel.receive()
    model = runtime.load_weights(model, Path(job["checkpoint"]))
    stand_in = np.random.default_rng(0).integers(shape[2], size=shape[:2], dtype=np.int32)
    runtime.logits(model, stand_in, slots[0])
    channel.send({"type": "ready"})
    while (message := channel.receive()) is not None:
        ids = np.frombuffer(channel.receive_bytes(4 * shape[0] * shape[1]), np.int32).reshape(shape[:2])
        runtime.logits(model, ids, slots[message["slot"]])
        channel.send({"type": "scored", "slot": message["slot"]})


def execute(train_py: str, name: str) -> ModuleType:
    """Run a train.py as the module of that name, which sys.modules then holds.

    The text that runs is the text that was checked: read as UTF-8, whatever a comment in it says of its encoding.
    """
    text = Path(train_py).read_text(encoding="utf-8")
    module = ModuleType(name)
    module.__file__, module.__builtins__ = train_py, builtins  # type: ignore[attr-defined]  # typeshed does not know the second
    sys.modules[name] = module
    exec(compile(text, train_py, "exec", dont_inherit=True), module.__dict__)
    return module


def import_train(job: dict[str, Any]) -> ModuleType:
    """The job's train.py as a module; its `if __name__ == "__main__"` does not hold."""
    return execute(job["train_py"], "train")


def spec_of(job: dict[str, Any]) -> Spec:
    return Spec(job["vocab_size"], job["seq_len"])


def loaded_model(module: ModuleType, job: dict[str, Any]) -> Any:
    """A model of the job's sizes with the weights of its checkpoint."""
    import runtime

    return runtime.load_weights(module.build_model(spec_of(job)), Path(job["checkpoint"]))


def _map_slot(path: str, shape: tuple[int, int, int]) -> np.ndarray:
    with open(path, "r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0), np.float32).reshape(shape)


def _explain(error: BaseException) -> dict[str, str]:
    """(kind, reason): kind is a state of the ledger."""
    text = " ".join(str(error).split())[:300]
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, Diverged):
        return {"kind": "diverged", "reason": text}
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return {"kind": "oom", "reason": reason}
    return {"kind": "crash", "reason": reason}


def _where(error: BaseException, train_py: str | None) -> dict[str, str | int]:
    """Python's own name for the error, or for what it is a kind of, and the last line of train.py on the way to it."""
    name = next(kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == train_py]
    return {"error": name, "line": lines[-1] if lines else 0}


if __name__ == "__main__":
    main()
