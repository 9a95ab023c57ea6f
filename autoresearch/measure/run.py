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
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Spec:
    """What build_model needs to know of the study: the sizes that the agent can't change."""

    vocab_size: int
    seq_len: int  # tokens in a scoring row, and in a training row by default


class Run:
    """One training. Use: `for step in run.steps(save): ... run.batch(rows) ... run.report(loss)`."""

    def __init__(self, channel: Channel, job: dict[str, Any]):
        self.spec = Spec(job["vocab_size"], job["seq_len"])
        self.seed: int = job["seed"]
        self.budget_seconds: float = job["budget_seconds"]
        self.progress = 0.0  # fraction of the budget used, in [0, 1], fixed at the start of a step
        self._channel = channel
        self._checkpoint = Path(job["checkpoint"])
        self._asker: Asker | None = None
        self._reported_at = -1.0
        self._report: dict[str, Any] | None = None
        self._stand_in = np.random.default_rng(0)
        self._go: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._batches: queue.SimpleQueue[tuple[tuple[int, int], np.ndarray]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def stand_in(self, rows: int, seq_len: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Random tokens in the shape of a batch, for compilation and warm-up before the clock starts."""
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

    def batch(self, rows: int, seq_len: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The next training batch: (inputs, targets), int32 [rows, seq_len] each. Only inside `steps`."""
        if self._asker is None:
            raise RuntimeError("run.batch() gives tokens inside `for step in run.steps(...)`; before it, use run.stand_in()")
        tokens = self._asker.batch(int(rows), int(seq_len or self.spec.seq_len))
        return tokens[:, :-1].astype(np.int32), tokens[:, 1:].astype(np.int32)

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
                dtype = np.dtype(message["dtype"])
                self._go.put(message)
            else:
                shape = (message["rows"], message["seq_len"])
                size = shape[0] * (shape[1] + 1)
                tokens = np.frombuffer(self._channel.receive_bytes(size * dtype.itemsize), dtype)
                self._batches.put((shape, tokens.reshape(shape[0], shape[1] + 1)))
        os._exit(1)


_run: Run | None = None


def start() -> Run:
    """The run that this process was started for."""
    if _run is None:
        raise UsageError("train.py is run by the harness; type `autoresearch train` in its folder")
    return _run
