"""The harness's half of scoring: send questions (of text token ids), take answers (logits), keep the targets to itself.

Two slots are in flight, so that the worker computes the next rows while this side takes the losses of the last ones. A slot is
a file that the worker maps and this side reads: what the worker writes later changes nothing, and a file that it has cut short is
a short read here, not a signal. Every batch has the same number of rows, filled up with rows that are not looked at.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoresearch import durable
from autoresearch.measure.bpb import InvalidLogits

SLOT_BYTES = 64 << 20
SLOTS = 2
READ_BYTES = 1 << 26  # at a time


@dataclass(frozen=True)
class Costs:
    """What scoring some rows took: seconds by the harness's clock, and processor seconds of the worker's processes."""

    rows: int
    loading: tuple[float, float]  # (seconds, processor seconds) from the weights to the first answer, on stand-in tokens
    all_rows: tuple[float, float]
    batch: tuple[float, float]  # the median of the batches


@dataclass(frozen=True)
class Alone:
    """Questions that were asked one at a time, before all were."""

    rows: np.ndarray  # int [n], of the split
    losses: np.ndarray  # float32 [n, k]
    seconds: list[float]  # of each: from the question to the answer, by the harness's clock


@dataclass(frozen=True)
class Score:
    """value: lower is better; of text bits per byte."""

    value: float
    losses: np.ndarray  # float32 [questions, k]; of text the bits of each target, [rows, seq_len]
    sums: np.ndarray  # float64 [units]: the losses of each document, or row
    weights: np.ndarray  # int64 [units]: its bytes, or 1
    costs: Costs | None = None
    measured: dict[str, float] = field(default_factory=dict)  # run/quantities.py


def rows_per_slot(answer: tuple[int, ...]) -> int:
    """How many answers of that shape a slot holds."""
    return max(1, SLOT_BYTES // (4 * math.prod(answer)))


def _reserve(path: Path, size: int) -> None:
    """A file of that size whose blocks exist: a full disk must be an OSError here, not a SIGBUS in the worker."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


class Slot:
    """The harness's end of a slot: float32 [rows, *answer]."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path = path
        self._logits = np.empty(shape, np.float32)
        _reserve(path, self._logits.nbytes)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed by `close`

    def read(self, rows: int | None = None) -> np.ndarray:
        """What the file holds now, copied; the array is used again by the next read. InvalidLogits when it was cut short.

        rows: so many, from the first.
        """
        found_rows = self._logits[:rows]
        view, place = memoryview(found_rows).cast("B"), 0  # type: ignore[arg-type]  # a Buffer from Python 3.12 on
        self._file.seek(0)
        while place < len(view):
            found = self._file.readinto(view[place : place + READ_BYTES])
            if not found:
                raise InvalidLogits("the file that the model's logits go to was cut short")
            place += found
        return found_rows

    def close(self) -> None:
        self._file.close()
        durable.patiently(lambda: self.path.unlink(missing_ok=True))


@contextmanager
def slots(folder: Path, rows: int, answer: tuple[int, ...]) -> Iterator[list[Slot]]:
    """Files in folder for the answers to so many rows each."""
    with ExitStack() as stack:
        found = []
        for index in range(SLOTS):
            found.append(Slot(folder / f"logits-{index}.f32", (rows, *answer)))
            stack.callback(found[-1].close)
        yield found


def ask_all(
    inputs: np.ndarray,
    targets: np.ndarray,
    rows: int,
    losses: Callable[[np.ndarray, np.ndarray], np.ndarray],
    send: Callable[[int, np.ndarray], None],
    receive: Callable[[int], np.ndarray],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """The losses of each question, float32 [n, k]; inputs [n, ...], targets [n, ...].

    losses(answers float32 [rows, ...], targets [rows, ...]) -> float32 [rows, k]: a task's. send(slot, inputs [rows, ...]) asks;
    receive(slot) waits for the answers, which may be overwritten here. Questions go out in another order than that of the data,
    or of text a row's last target would be the first input of the row beside it. Raises InvalidLogits, and whatever send and
    receive raise.
    """
    order = np.random.default_rng(len(inputs)).permutation(len(inputs))
    batches = np.resize(order, (-(-len(order) // rows), rows))  # the last is filled up with the first of the order
    found: np.ndarray | None = None

    for index in range(min(SLOTS, len(batches))):
        send(index, inputs[batches[index]])
    for index, here in enumerate(batches):
        slot = index % SLOTS
        answers = receive(slot)
        if index + SLOTS < len(batches):
            send(slot, inputs[batches[index + SLOTS]])
        cost = losses(answers, targets[here])
        if cost.ndim != 2 or len(cost) != rows or not np.isfinite(cost).all():
            raise InvalidLogits("the model gave an answer that has no loss")
        if found is None:
            found = np.empty((len(order), cost.shape[1]), np.float32)
        new = here[: len(order) - index * rows]  # without what only fills up
        found[new] = cost[: len(new)]
        on_progress((index + 1) / len(batches))
    assert found is not None, "a split without questions is not asked"
    return found
