"""Training batches: one stream of documents, cut into rows of seq_len + 1 tokens, each token once an epoch.

Long documents are used whole at any seq_len: a row may start in the middle of a document and hold the end of one and the
start of the next, exactly as the validation rows do. docs/design/data.md has the comparison with other packings.

The documents lie in the file in a random order. Here each epoch shifts the cuts by a random offset and walks the rows with a
random stride that is coprime to their number: a permutation that costs no memory and no start-up time at any corpus size.
"""

import math
from pathlib import Path

import numpy as np


class Rows:
    """Rows of one length from one token file, in an order that depends on (seed, epoch) only."""

    def __init__(self, tokens: np.ndarray, seq_len: int, seed: int):
        self.tokens, self.seq_len, self.seed = tokens, seq_len, seed
        self.epoch = -1
        self._next_epoch()

    def _next_epoch(self) -> None:
        self.epoch += 1
        rng = np.random.default_rng([self.seed, self.epoch, self.seq_len])
        spare = len(self.tokens) - self.seq_len - 1
        if spare < 0:
            raise ValueError(f"the training text has {len(self.tokens)} tokens, less than one row of {self.seq_len + 1}")
        self.offset = int(rng.integers(min(self.seq_len, spare + 1)))
        self.count = (len(self.tokens) - 1 - self.offset) // self.seq_len
        self.first = int(rng.integers(self.count))
        self.stride = int(rng.integers(1, self.count + 1))
        while math.gcd(self.stride, self.count) != 1:
            self.stride += 1
        self.used = 0

    def take(self, rows: int) -> np.ndarray:
        """The next rows, int32 [rows, seq_len + 1]; consecutive rows of the text overlap by the one token that is a target only."""
        batch = np.empty((rows, self.seq_len + 1), np.int32)
        for row in range(rows):
            if self.used == self.count:
                self._next_epoch()
            start = self.offset + (self.first + self.used * self.stride) % self.count * self.seq_len
            batch[row] = self.tokens[start : start + self.seq_len + 1]
            self.used += 1
        return batch


class TrainingTokens:
    """Batches at any seq_len from `<prepared>/train/tokens.bin`."""

    def __init__(self, path: Path, dtype: str, seed: int):
        self._tokens = np.memmap(path, dtype=dtype, mode="r")
        self._seed = seed
        self._rows: dict[int, Rows] = {}

    def batch(self, rows: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets), int32 [rows, seq_len] each; targets are the inputs' next tokens."""
        if seq_len not in self._rows:
            self._rows[seq_len] = Rows(self._tokens, seq_len, self._seed)
        tokens = self._rows[seq_len].take(rows)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])
