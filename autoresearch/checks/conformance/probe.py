"""The suite's worker: `python -m autoresearch.checks.conformance.probe`, started and spoken to as measure/worker.py is.

It runs the same train.py and runtime.py, and tells what a real worker keeps to itself. Each type of job is one function here;
arrays go through files that the job names, and the harness does all comparing.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from autoresearch.measure import run as run_module
from autoresearch.measure import worker
from autoresearch.measure.channel import Channel
from autoresearch.measure.run import Run


class CountedRun(Run):
    """A run that ends after a number of steps instead of seconds, so that two of them can be compared loss by loss."""

    def __init__(self, channel: Channel, job: dict[str, Any]):
        super().__init__(channel, job)
        self._steps: int = job["steps"]
        self._stand_in = np.random.default_rng(job["stand_in_seed"])
        self.losses: list[float] = []

    def steps(self, save: Callable[[Path], None], ahead: int = 0) -> Iterator[int]:
        self._save(save)
        self._checkpoint.replace(self._checkpoint.with_name("weights-at-go"))
        self._channel.send({"type": "ready"})
        self._go.get()
        self._start_feed()
        for step in range(self._steps):
            self.progress = step / self._steps
            yield step
        self.progress = 1.0
        self._save(save)

    def report(self, loss: float) -> None:
        super().report(loss)
        self.losses.append(float(loss))


def steps(channel: Channel, job: dict[str, Any]) -> None:
    """train.py as `__main__`; then the logits of the model that it trained, if asked, and each path that this process knows."""
    opened = _watch_opening()
    run = run_module._run = CountedRun(channel, job)
    import runtime  # the backend's

    models = _remember_saved(runtime)
    sys.argv = [job["train_py"]]
    worker.execute(job["train_py"], "__main__")
    if models and "ids" in job:
        _write_logits(models[-1], job)
    known = [*opened.copy(), *_mapped(), *os.environ.values(), *sys.argv, *sys.path]
    channel.send({"type": "done", "losses": run.losses, "is_model_saved": bool(models), "known": sorted(set(known))})


def logits(channel: Channel, job: dict[str, Any]) -> None:
    """A fresh process: build_model, load_weights, logits."""
    _write_logits(worker.loaded_model(worker.import_train(job), job), job)
    channel.send({"type": "done"})


def trainer(channel: Channel, job: dict[str, Any]) -> None:
    """Logits of the given weights; then train.py's Trainer from them through the given batches [steps, rows, T + 1]."""
    module = worker.import_train(job)
    make = module.Trainer  # a train.py that has none says so before all else
    import runtime

    model = worker.loaded_model(module, job)
    _write_logits(model, job)
    training = make(model, job["spec"]["seq_len"])
    ids = np.load(job["steps"])
    losses = [float(training.step(_rows_of(ids[step]), step / len(ids))) for step in range(len(ids))]
    runtime.save_weights(model, Path(job["after"]))
    channel.send({"type": "done", "losses": losses})


def _write_logits(model: Any, job: dict[str, Any]) -> None:
    """job["ids"] int32 [B, T] -> job["logits"] [B, T, V] of the float type that the job names."""
    import runtime

    ids = np.load(job["ids"])
    out = np.zeros((*ids.shape, job["spec"]["vocab_size"]), job["logits_dtype"])
    runtime.logits(model, ids, out)
    np.save(job["logits"], out)


def _rows_of(tokens: np.ndarray) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """get_batch of one step: its rows [n, T + 1] in order."""
    taken = 0

    def get_batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal taken
        if taken + rows > len(tokens):
            raise ValueError(f"a step of {len(tokens)} rows asked for {taken + rows}: TOTAL_BATCH_SIZE is tokens a step")
        batch = tokens[taken : taken + rows]
        taken += rows
        return np.ascontiguousarray(batch[:, :-1]), np.ascontiguousarray(batch[:, 1:])

    return get_batch


def _remember_saved(runtime: Any) -> list[Any]:
    """The model that train.py saved last: it is a local name there."""
    models: list[Any] = []
    save = runtime.save_weights

    def save_weights(model: Any, path: Path) -> None:
        models[:] = [model]
        save(model, path)

    runtime.save_weights = save_weights
    return models


def _watch_opening() -> set[str]:
    """Every path that Python code opens from now on (numpy's memory maps too)."""
    opened: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            opened.add(os.path.abspath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)
    return opened


def _mapped() -> list[str]:
    """Files that are open or mapped now, by whatever code opened them."""
    process = psutil.Process()
    maps = process.memory_maps() if hasattr(process, "memory_maps") else []  # macOS has none
    return [*(file.path for file in process.open_files()), *(file.path for file in maps)]


if __name__ == "__main__":
    worker.main({"steps": steps, "logits": logits, "trainer": trainer})
