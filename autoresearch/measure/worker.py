"""The child process that runs agent code: `python -m autoresearch.measure.worker`, with its job as the first line on stdin.

train: runs train.py as `__main__`. score: imports build_model from it, loads the weights, turns questions into answers.
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
    """Answer {"type": "rows", slot, rows} + questions [rows] with float32 answers [rows, *answer] in the slot's file: of text int32
    ids [rows, T], and logits [rows, T, V]. rows: the job's, or 1.

    The weights are there only once the model is built, and before the first rows all is tried out on stand-in ones: what can go
    wrong does so before this process has seen any of the data.
    """
    import runtime  # the backend's

    module, rows = import_train(job), job["rows"]
    model = module.build_model(spec_of(job))
    question, shape = run_module.row_type(job["question"]), (rows, *job["answer"])
    slots = [_map_slot(path, shape) for path in job["slots"]]
    channel.send({"type": "built"})
    channel.receive()
    model = runtime.load_weights(model, Path(job["checkpoint"]))
    rng = np.random.default_rng(0)
    if question.names:
        stand_in = run_module.stand_in(question, rows, job["most"], rng)
    else:
        question = np.dtype((question, (job["spec"]["seq_len"],)))
        stand_in = rng.integers(job["spec"]["vocab_size"], size=(rows, *question.shape), dtype=np.int32)

    def answer(asked: np.ndarray, out: np.ndarray) -> None:
        if asked.dtype.names is None:
            return runtime.logits(model, asked, out)  # type: ignore[no-any-return]
        out[:] = np.asarray(module.answer(model, run_module.by_name(asked))).reshape(out.shape)

    answer(stand_in, slots[0])
    answer(stand_in[:1], slots[0][:1])
    channel.send({"type": "ready"})
    while (message := channel.receive()) is not None:
        rows, slot = message["rows"], slots[message["slot"]]
        answer(np.frombuffer(channel.receive_bytes(rows * question.itemsize), question), slot[:rows])
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
    return Spec(**job["spec"])


def loaded_model(module: ModuleType, job: dict[str, Any]) -> Any:
    """A model of the job's sizes with the weights of its checkpoint."""
    import runtime

    return runtime.load_weights(module.build_model(spec_of(job)), Path(job["checkpoint"]))


def _map_slot(path: str, shape: tuple[int, ...]) -> np.ndarray:
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
