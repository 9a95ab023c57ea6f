"""The child process that runs agent code: `python -m autoresearch.measure.worker`, with its job as the first line on stdin.

train: runs train.py as `__main__`. score: imports build_model from it, loads the weights, turns token ids into logits.
Whatever goes wrong in there is one message with a reason, and a traceback in the run's log.
"""

import importlib.util
import mmap
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from autoresearch.measure import run as run_module
from autoresearch.measure.channel import Channel, take_stdio
from autoresearch.measure.run import Diverged, Run, Spec

# How frameworks word it: torch CUDA and MPS, torch's CPU allocator, MLX and Metal, XLA.
_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "unable to allocate", "insufficient memory", "resource_exhausted",
    "maximum allowed buffer size",
)  # fmt: skip


def main(work: Mapping[str, Callable[[Channel, dict], None]] | None = None) -> None:
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
        channel.send({"type": "failed", **_explain(error)})
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that agent code left behind don't outlive the run


def train(channel: Channel, job: dict) -> None:
    run_module._run = Run(channel, job)
    sys.argv = [job["train_py"]]
    runpy.run_path(job["train_py"], run_name="__main__")
    channel.send({"type": "ended"})


def score(channel: Channel, job: dict) -> None:
    """Answer {"type": "rows", slot, count} + int32 ids [count, T] with float32 logits [count, T, V] in the slot's file."""
    import runtime  # the backend's

    model = loaded_model(import_train(job), job)
    shape = (job["rows"], job["seq_len"], job["vocab_size"])
    slots = [_map_slot(path, shape) for path in job["slots"]]
    channel.send({"type": "ready"})
    while (message := channel.receive()) is not None:
        count = message["count"]
        ids = np.frombuffer(channel.receive_bytes(count * job["seq_len"] * 4), np.int32).reshape(count, -1)
        runtime.logits(model, ids, slots[message["slot"]][:count])
        channel.send({"type": "scored", "slot": message["slot"]})


def import_train(job: dict) -> ModuleType:
    """The job's train.py as a module; its `if __name__ == "__main__"` does not hold."""
    agent_code = importlib.util.spec_from_file_location("train", job["train_py"])
    module = importlib.util.module_from_spec(agent_code)
    sys.modules["train"] = module
    agent_code.loader.exec_module(module)
    return module


def loaded_model(module: ModuleType, job: dict):
    """A model of the job's sizes with the weights of its checkpoint."""
    import runtime

    return runtime.load_weights(module.build_model(Spec(job["vocab_size"], job["seq_len"])), Path(job["checkpoint"]))


def _map_slot(path: str, shape: tuple[int, int, int]) -> np.ndarray:
    with open(path, "r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0), np.float32).reshape(shape)


def _explain(error: BaseException) -> dict:
    """(kind, reason): kind is a state of the ledger."""
    text = " ".join(str(error).split())[:300]
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, Diverged):
        return {"kind": "diverged", "reason": text}
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return {"kind": "oom", "reason": reason}
    return {"kind": "crash", "reason": reason}


if __name__ == "__main__":
    main()
