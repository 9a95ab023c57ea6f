"""The harness's half of scoring: send token ids, take logits, keep the targets to itself.

Two slots of shared memory are in flight, so that the worker computes the next rows while this side does the log-softmax of the
last ones. A slot is copied before anything is read from it: what the worker writes later changes nothing.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoresearch.measure.bpb import ValidationText, target_bits

SLOT_BYTES = 64 << 20
SLOTS = 2


@dataclass(frozen=True)
class Score:
    val_bpb: float
    bits: np.ndarray  # float32 [rows, seq_len], of each target
    document_bits: np.ndarray  # float64 [documents]
    document_bytes: np.ndarray  # int64 [documents]


def rows_per_slot(seq_len: int, vocab_size: int) -> int:
    return max(1, SLOT_BYTES // (4 * seq_len * vocab_size))


def _reserve(path: Path, size: int) -> None:
    """A file of that size whose blocks exist: a full disk must be an OSError here, not a SIGBUS in the worker."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


@contextmanager
def slots(folder: Path, rows: int, seq_len: int, vocab_size: int) -> Iterator[tuple[list[Path], list[np.ndarray]]]:
    """Files in folder that both processes map, and this side's view of them: float32 [rows, seq_len, vocab_size] each."""
    paths = [folder / f"logits-{index}.f32" for index in range(SLOTS)]
    shape = (rows, seq_len, vocab_size)
    views: list[np.ndarray] = []
    try:
        for path in paths:
            _reserve(path, 4 * rows * seq_len * vocab_size)
            views.append(np.memmap(path, np.float32, "r", shape=shape))
        yield paths, views
    finally:
        views.clear()  # the caller's list too: Windows can't remove a file that anybody still maps
        for path in paths:
            path.unlink(missing_ok=True)


def score(text: ValidationText, seq_len: int, bits: np.ndarray) -> Score:
    """The score from the bits of every target, float32 [rows, seq_len] in the order of `text.rows`."""
    document_bits = text.document_bits(bits.reshape(-1)[: len(text.tokens) - 1].astype(np.float64))
    return Score(float(document_bits.sum()) / text.total_bytes, bits, document_bits, text.document_bytes)


def row_bits(
    inputs: np.ndarray,
    targets: np.ndarray,
    views: list[np.ndarray],
    send: Callable[[int, np.ndarray], None],
    receive: Callable[[], int],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """-log2 p of each target, float32 [rows, seq_len]; inputs and targets int32 [rows, seq_len], a target below 0 costs 0 bits.

    send(slot, ids int32 [count, seq_len]) asks for logits; receive() -> the slot that is filled, in order. Rows go out in another
    order than that of the text, or a row's last target would be the first input of the row beside it.
    Raises InvalidLogits, and whatever send and receive raise.
    """
    order = np.random.default_rng(len(inputs)).permutation(len(inputs))
    rows = views[0].shape[0]
    starts = range(0, len(inputs), rows)
    bits = np.empty(targets.shape, np.float32)
    threads = os.cpu_count() or 1

    def ask(index: int, slot: int) -> None:
        send(slot, inputs[order[starts[index] : starts[index] + rows]])

    with ThreadPoolExecutor(threads) as pool:
        for index in range(min(len(views), len(starts))):
            ask(index, index)
        for index, start in enumerate(starts):
            slot = receive()
            here = order[start : start + rows]
            logits = np.array(views[slot][: len(here)])  # the copy
            if index + len(views) < len(starts):
                ask(index + len(views), slot)
            flat, goal = logits.reshape(-1, logits.shape[-1]), targets[here].reshape(-1)
            parts = np.array_split(np.arange(len(flat)), threads)
            jobs = [pool.submit(target_bits, flat[p[0] : p[-1] + 1], goal[p[0] : p[-1] + 1]) for p in parts if len(p)]
            bits[here] = np.concatenate([job.result() for job in jobs]).reshape(len(here), -1)
            on_progress((index + 1) / len(starts))
    return bits
