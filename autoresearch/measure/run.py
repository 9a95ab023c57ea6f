"""What a train.py sees of the harness: the job, stand-in tokens for warm-up, training batches, and when to stop.

The clock here only guides (progress, when to stop). The one that counts is the parent's: it starts at READY and stops the
process at the deadline, whatever this process believes.
"""

import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from autoresearch import durable
from autoresearch.errors import UsageError
from autoresearch.measure.batches import Asker
from autoresearch.measure.channel import Channel
from autoresearch.measure.clock import awake_seconds

REPORT_EVERY_SECONDS = 0.25
LOSS_LIMIT = 100.0  # nats; an untrained model is at log(vocab_size), about 9, or above where its logits start large
LOSS_LIMIT_FROM = 0.1  # of the time: before it a loss may be larger


class Diverged(Exception):
    """The training loss is not a number, or absurd."""


class Spec(SimpleNamespace):
    """What build_model needs to know of the study: the sizes that the agent can't change. Those of text, or a task's own."""

    vocab_size: int
    seq_len: int  # tokens in a scoring row, and in a training row by default

    def __init__(self, vocab_size: int = 0, seq_len: int = 1, **others: Any):
        super().__init__(vocab_size=vocab_size, seq_len=seq_len, **others)


class Run:
    """One training. Use: `for step in run.steps(save): ... run.batch(rows) ... run.report(loss)`."""

    def __init__(self, channel: Channel, job: dict[str, Any]):
        self.spec = Spec(**job["spec"])
        self.seed: int = job["seed"]
        self.budget_seconds: float = job["budget_seconds"]
        self.progress = 0.0  # fraction of the budget used, in [0, 1], fixed at the start of a step
        self._channel = channel
        self._checkpoint = Path(job["checkpoint"])
        self._asker: Asker | None = None
        self._reported_at = -1.0
        self._report: dict[str, Any] | None = None
        self._row = row_type(job["row"])  # of text one token's
        self._most: dict[str, int] = job.get("most") or {}
        self._stand_in = np.random.default_rng(0)
        self._go: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._batches: queue.SimpleQueue[tuple[tuple[int, int], np.ndarray]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def stand_in(self, rows: int, seq_len: int | None = None) -> Any:
        """Random values in the shape of a batch, for compilation and warm-up before the clock starts."""
        if self._row.names:
            return by_name(stand_in(self._row, rows, self._most, self._stand_in))
        shape = (rows, (seq_len or self.spec.seq_len) + 1)
        tokens = self._stand_in.integers(self.spec.vocab_size, size=shape, dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def steps(self, save: Callable[[Path], None], ahead: int = 0) -> Iterator[int]:
        """Count optimizer steps until the clock says stop, then save. save(path) writes the weights as one file.

        ahead: steps that the device may still have to do when the next is asked for.

        Before the first step, save is rehearsed, so that its time can be kept free before the deadline; then the harness
        is told READY and the clock starts. A step starts only when one like the longest of the last few still fits.
        """
        before = awake_seconds()
        self._save(save)
        reserve_seconds = 2 * (awake_seconds() - before) + 0.01
        durable.remove(self._checkpoint)
        self._channel.send({"type": "ready"})
        self._go.get()
        start = awake_seconds()
        self._start_feed()
        recent: deque[float] = deque(maxlen=5)
        step, now = 0, 0.0
        while not recent or now + (1 + ahead) * max(recent) + reserve_seconds <= self.budget_seconds:
            self.progress = min(1.0, now / self.budget_seconds)
            yield step
            step += 1
            before, now = now, awake_seconds() - start
            recent.append(now - before)
        self.progress = 1.0
        self._save(save)
        if self._report:
            self._channel.send(self._report)
        self._channel.send({"type": "saved", "steps": step})

    def batch(self, rows: int, seq_len: int | None = None) -> Any:
        """The next training batch. Only inside `steps`. Of text (inputs, targets), int32 [rows, seq_len] each; else a dict of the
        row's fields by name, [rows, ...] each."""
        if self._asker is None:
            raise RuntimeError("run.batch() gives data inside `for step in run.steps(...)`; before it, use run.stand_in()")
        batch = self._asker.batch(int(rows), int(seq_len or self.spec.seq_len))
        if self._row.names:
            return by_name(batch)
        return batch[:, :-1].astype(np.int32), batch[:, 1:].astype(np.int32)

    def report(self, loss: float) -> None:
        """Once a step: the training loss in nats. Ends the run when it is no number, or absurd after a tenth of the time."""
        if not math.isfinite(loss) or (loss > LOSS_LIMIT and self.progress >= LOSS_LIMIT_FROM):
            raise Diverged(f"the training loss is {loss}")
        self._report = {"type": "step", "loss": float(loss), "progress": self.progress}
        now = awake_seconds()
        if now - self._reported_at >= REPORT_EVERY_SECONDS:
            self._reported_at = now
            self._channel.send(self._report)

    def describe(self, **facts: Any) -> None:
        """Facts for the summary: depth, num_params, flops_per_token, peak_memory_bytes, notes={name: reason}."""
        self._channel.send({"type": "facts", "facts": facts})

    def _save(self, save: Callable[[Path], None]) -> None:
        temporary = self._checkpoint.with_name(self._checkpoint.name + ".part")
        save(temporary)
        durable.patiently(lambda: os.replace(temporary, self._checkpoint))

    def _start_feed(self) -> None:
        self._asker = Asker(self._ask, self._batches.get)

    def _ask(self, rows: int, seq_len: int, ahead: bool) -> None:
        self._channel.send({"type": "batch", "rows": rows, "seq_len": seq_len, "ahead": ahead})

    def _listen(self) -> None:
        """Wait for GO, then for batches, at last for the end of the pipe: the harness is gone, and this process with it."""
        while (message := self._channel.receive()) is not None:
            if message["type"] == "go":
                self._go.put(message)
            else:
                shape = (message["rows"], message["seq_len"])
                row = self._row if self._row.names else np.dtype((self._row, (shape[1] + 1,)))
                self._batches.put((shape, np.frombuffer(self._channel.receive_bytes(shape[0] * row.itemsize), row)))
        os._exit(1)


def row_type(described: Any) -> np.dtype[Any]:
    """A row's type as a job names it: of text its token's, as in "uint16"; else its fields, [name, type, shape] each."""
    if isinstance(described, str):
        return np.dtype(described)
    return np.dtype([(name, kind, tuple(shape)) for name, kind, shape in described])


def described(row: np.dtype[Any]) -> Any:
    """What `row_type` takes, as JSON."""
    if row.names is None:
        return row.base.name
    fields = ((name, row[name]) for name in row.names)
    return [[name, field.base.str, list(field.shape)] for name, field in fields]


def stand_in(row: np.dtype[Any], rows: int, most: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """Random rows of a structured type: whole numbers below `most` of their field, normal numbers elsewhere."""
    made = np.zeros(rows, row)
    for name in row.names or ():
        values = made[name]
        kind = row[name].base.kind
        made[name] = rng.integers(most.get(name, 2), size=values.shape) if kind in "iub" else rng.normal(size=values.shape)
    return made


def by_name(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of structured rows, each an array of its own that may be written to."""
    return {name: np.array(rows[name], order="C") for name in rows.dtype.names or ()}


_run: Run | None = None


def start() -> Run:
    """The run that this process was started for."""
    if _run is None:
        raise UsageError("train.py is run by the harness; type `autoresearch train` in its folder")
    return _run
