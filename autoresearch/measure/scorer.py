"""The harness's half of scoring: send token ids, take logits, keep the targets to itself.

Two slots are in flight, so that the worker computes the next rows while this side does the log-softmax of the last ones. A slot is
a file that the worker maps and this side reads: what the worker writes later changes nothing, and a file that it has cut short is
a short read here, not a signal. Every batch has the same number of rows, filled up with rows that are not looked at.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoresearch import durable
from autoresearch.measure.bpb import InvalidLogits, ValidationText, target_bits

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
class Score:
    val_bpb: float
    bits: np.ndarray  # float32 [rows, seq_len], of each target
    document_bits: np.ndarray  # float64 [documents]
    document_bytes: np.ndarray  # int64 [documents]
    costs: Costs | None = None


def rows_per_slot(seq_len: int, vocab_size: int) -> int:
    return max(1, SLOT_BYTES // (4 * seq_len * vocab_size))


def _reserve(path: Path, size: int) -> None:
    """A file of that size whose blocks exist: a full disk must be an OSError here, not a SIGBUS in the worker."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


class Slot:
    """The harness's end of a slot: float32 [rows, seq_len, vocab_size]."""

    def __init__(self, path: Path, shape: tuple[int, int, int]):
        self.path = path
        self._logits = np.empty(shape, np.float32)
        _reserve(path, self._logits.nbytes)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed by `close`

    def read(self) -> np.ndarray:
        """What the file holds now, copied; the array is used again by the next read. InvalidLogits when it was cut short."""
        view, place = memoryview(self._logits).cast("B"), 0  # type: ignore[arg-type]  # a Buffer from Python 3.12 on
        self._file.seek(0)
        while place < len(view):
            found = self._file.readinto(view[place : place + READ_BYTES])
            if not found:
                raise InvalidLogits("the file that the model's logits go to was cut short")
            place += found
        return self._logits

    def close(self) -> None:
        self._file.close()
        durable.patiently(lambda: self.path.unlink(missing_ok=True))


@contextmanager
def slots(folder: Path, rows: int, seq_len: int, vocab_size: int) -> Iterator[list[Slot]]:
    """Files in folder for the logits of so many rows each."""
    with ExitStack() as stack:
        found = []
        for index in range(SLOTS):
            found.append(Slot(folder / f"logits-{index}.f32", (rows, seq_len, vocab_size)))
            stack.callback(found[-1].close)
        yield found


def score(text: ValidationText, seq_len: int, bits: np.ndarray) -> Score:
    """The score from the bits of every target, float32 [rows, seq_len] in the order of `text.rows`."""
    document_bits = text.document_bits(bits.reshape(-1)[: len(text.tokens) - 1].astype(np.float64))
    return Score(float(document_bits.sum()) / text.total_bytes, bits, document_bits, text.document_bytes)


def row_bits(
    inputs: np.ndarray,
    targets: np.ndarray,
    rows: int,
    send: Callable[[int, np.ndarray], None],
    receive: Callable[[int], np.ndarray],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """-log2 p of each target, float32 [rows, seq_len]; inputs and targets int32 [rows, seq_len], a target below 0 costs 0 bits.

    send(slot, ids int32 [rows, seq_len]) asks for logits; receive(slot) waits for them: float32 [rows, seq_len, vocab_size], which
    are overwritten here. Rows go out in another order than that of the text, or a row's last target would be the first input of
    the row beside it. Raises InvalidLogits, and whatever send and receive raise.
    """
    order = np.random.default_rng(len(inputs)).permutation(len(inputs))
    batches = np.resize(order, (-(-len(order) // rows), rows))  # the last is filled up with the first of the order
    bits = np.empty(targets.shape, np.float32)
    threads = os.cpu_count() or 1

    with ThreadPoolExecutor(threads) as pool:
        for index in range(min(SLOTS, len(batches))):
            send(index, inputs[batches[index]])
        for index, here in enumerate(batches):
            slot = index % SLOTS
            logits = receive(slot)
            if index + SLOTS < len(batches):
                send(slot, inputs[batches[index + SLOTS]])
            flat, goal = logits.reshape(rows * inputs.shape[1], -1), targets[here].reshape(-1)
            parts = np.array_split(np.arange(len(flat)), threads)
            jobs = [pool.submit(target_bits, flat[p[0] : p[-1] + 1], goal[p[0] : p[-1] + 1]) for p in parts if len(p)]
            found = np.concatenate([job.result() for job in jobs]).reshape(rows, -1)
            new = here[: len(order) - index * rows]  # without what only fills up
            bits[new] = found[: len(new)]
            on_progress((index + 1) / len(batches))
    return bits
