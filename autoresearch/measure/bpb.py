"""Bits per byte from logits: the arithmetic of the score, in numpy, on the harness's side.

val_bpb = sum over the validation text of -log2 p(token | tokens before it in its row) / raw bytes of that text.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK_BYTES = 1 << 20  # of float32 powers at a time: they stay in a core's own cache


class InvalidLogits(Exception):
    """Logits that are not a distribution, or what else is no answer: no score."""


@dataclass(frozen=True)
class ValidationText:
    """Documents, or pieces of them (data/split.py), each preceded by BOS, as one stream of tokens."""

    tokens: np.ndarray  # uint16 or uint32 [n]
    document: np.ndarray  # int32 [n], which document a token belongs to
    carries_bytes: np.ndarray  # bool [n]; BOS doesn't, and is not scored
    document_bytes: np.ndarray  # int64 [documents], raw bytes

    @property
    def total_bytes(self) -> int:
        return int(self.document_bytes.sum())

    @classmethod
    def load(cls, folder: Path, token_bytes: np.ndarray, dtype: str, eval_bytes: int) -> "ValidationText":
        """The shortest run of documents, from the first, that holds eval_bytes raw bytes (all of them when the text is shorter)."""
        starts, sizes = np.load(folder / "starts.npy"), np.load(folder / "bytes.npy")
        every_token = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
        count = min(int(np.searchsorted(np.cumsum(sizes), eval_bytes)) + 1, len(sizes))
        ends = np.append(starts[1 : len(sizes)], len(every_token))
        tokens = np.array(every_token[: ends[count - 1]])
        lengths = ends[:count] - starts[:count]
        text = cls(
            tokens=tokens,
            document=np.repeat(np.arange(count, dtype=np.int32), lengths),
            carries_bytes=token_bytes[tokens] > 0,
            document_bytes=sizes[:count].astype(np.int64),
        )
        if int(token_bytes[tokens].sum()) != text.total_bytes:
            raise ValueError(f"{folder}: tokens and bytes disagree")
        return text

    def rows(self, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) int32 [rows, seq_len]: every token but the first is a target once; the tail's targets are -1."""
        count = -(-(len(self.tokens) - 1) // seq_len)
        inputs = np.full(count * seq_len, self.tokens[0], np.int32)
        targets = np.full(count * seq_len, -1, np.int32)
        inputs[: len(self.tokens) - 1] = self.tokens[:-1]
        targets[: len(self.tokens) - 1] = self.tokens[1:]
        return inputs.reshape(count, seq_len), targets.reshape(count, seq_len)

    def document_bits(self, bits: np.ndarray) -> np.ndarray:
        """Sum the bits of the targets (float [n - 1]) for each document: float64 [documents]."""
        scored = self.carries_bytes[1:]
        return np.bincount(self.document[1:][scored], weights=bits[scored], minlength=len(self.document_bytes))


def rows_bits(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """As `target_bits`, by all cores: logits float32 [n, T, vocab], targets int [n, T] -> float32 [n, T]."""
    flat, goal, threads = logits.reshape(targets.size, -1), targets.reshape(-1), os.cpu_count() or 1
    parts = [part for part in np.array_split(np.arange(len(flat)), threads) if len(part)]
    jobs = [_pool(threads).submit(target_bits, flat[part[0] : part[-1] + 1], goal[part[0] : part[-1] + 1]) for part in parts]
    return np.concatenate([job.result() for job in jobs]).reshape(targets.shape)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def target_bits(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log2 softmax(logits)[target]: logits float32 [n, vocab], targets int [n] (below 0: 0 bits) -> float32 [n].

    A logit of -inf is a probability of 0. InvalidLogits when any logit is NaN or +inf, which is no distribution, or when a target's
    own probability is 0, which is no score.
    """
    count, vocab_size = logits.shape
    bits = np.empty(count, np.float32)
    step = max(1, CHUNK_BYTES // (4 * vocab_size))
    buffer = np.empty((step, vocab_size), np.float32)
    for start in range(0, count, step):
        stop = min(start + step, count)
        raw, goal, powers = logits[start:stop], targets[start:stop], buffer[: stop - start]
        top = raw.max(axis=1).astype(np.float32)  # NaN where any logit of the row is
        if not (top < np.inf).all():
            raise InvalidLogits("the model gave logits that are NaN or +inf")
        with np.errstate(invalid="ignore", over="ignore"):  # -inf less -inf; the largest float less its negative
            np.subtract(raw, top[:, None], out=powers)
            np.exp(powers, out=powers)
            nats = np.log(powers.sum(axis=1)) - (raw[np.arange(stop - start), goal] - top)
            cost = nats / np.float32(np.log(2))  # more than the largest float is infinite too
        if not (np.isfinite(cost) | (goal < 0)).all():
            raise InvalidLogits("the model gave a token of the text a probability of 0: an infinite cost")
        bits[start:stop] = np.where(goal < 0, 0.0, cost)
    return bits
