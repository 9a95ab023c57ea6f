"""Training batches: one stream of documents, cut into rows of seq_len + 1 tokens, each token once an epoch.

Long documents are used whole at any seq_len: a row may start in the middle of a document and hold the end of one and the
start of the next, exactly as the validation rows do. docs/design/data.md has the comparison with other packings.

The documents lie in the file in a random order. Here each epoch shifts the cuts by a random offset and shuffles the rows. The first
order of the study's own rows is drawn before the clock starts, for 4 million rows take 0.1 to 0.3 s.

The rows are cut by the harness, and handed to the training process when it asks for them (`TokenFeed`, `RecordFeed`): there is no
file of tokens that it could read before its clock starts, and how many it was given is the harness's own count. The process asks
for the next batch while it computes on the last one, so that it waits for none (`Asker`).
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MOST_SHAPES = 4096  # of batches, in one training
MOST_ROWS = 1 << 28  # of all lengths together, 4 bytes each in the harness; a text of 500 M tokens in rows of 64 has 8 million


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
        self.order = rng.permutation(self.count).astype(np.int32 if self.count < 1 << 31 else np.int64)
        self.used = 0

    def take(self, rows: int) -> np.ndarray:
        """The next rows, [rows, seq_len + 1]; consecutive rows of the text overlap by the one token that is a target only."""
        batch = np.empty((rows, self.seq_len + 1), self.tokens.dtype)
        for row in range(rows):
            if self.used == self.count:
                self._next_epoch()
            start = self.offset + int(self.order[self.used]) * self.seq_len
            batch[row] = self.tokens[start : start + self.seq_len + 1]
            self.used += 1
        return batch


class TrainingTokens:
    """Batches at any seq_len from `<prepared>/train/tokens.bin`."""

    def __init__(self, path: Path, dtype: str, seed: int):
        self._tokens = np.memmap(path, dtype=dtype, mode="r")
        self._seed = seed
        self._rows: dict[int, Rows] = {}

    def of(self, seq_len: int) -> Rows:
        if seq_len not in self._rows:
            if sum(one.count for one in self._rows.values()) + len(self._tokens) // seq_len > MOST_ROWS:
                raise ValueError(f"rows of too many lengths: {len(self._rows)} so far, and each is an order of the whole text")
            self._rows[seq_len] = Rows(self._tokens, seq_len, self._seed)
        return self._rows[seq_len]

    def rows(self, rows: int, seq_len: int) -> np.ndarray:
        """[rows, seq_len + 1] in the file's dtype: consecutive rows of the text share the one token that is a target only."""
        return self.of(seq_len).take(rows)


class TokenFeed:
    """The harness's half for text: answers requests {"rows", "seq_len", "ahead"}, and counts the tokens that were handed out.

    Of what was asked for ahead of need only the last batch was for nothing, where nothing came after it.
    """

    def __init__(self, path: Path, dtype: str, seed: int, seq_len: int):
        """seq_len: of the rows whose order is drawn before the clock."""
        self._open = functools.cache(lambda: TrainingTokens(path, dtype, seed))
        self._seq_len = seq_len
        self._shapes: set[tuple[int, int]] = set()
        self._handed_out = self._unused = 0  # tokens

    @property
    def tokens(self) -> int:
        """That were used."""
        return self._handed_out - self._unused

    def prepare(self) -> None:
        """Before the clock: the order of the rows of the usual length."""
        with contextlib.suppress(ValueError):  # the text is too short for one: said when such a batch is asked for
            self._open().of(self._seq_len)

    def answer(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """(reply, tokens of its rows [rows, seq_len + 1] in the token file's dtype). ValueError where the text is too short."""
        rows, seq_len, ahead = message["rows"], message["seq_len"], message["ahead"]
        shape = (rows, seq_len)
        self._shapes.add(shape)
        if len(self._shapes) > MOST_SHAPES:
            raise ValueError(f"batches of more than {MOST_SHAPES} shapes")
        self._handed_out += rows * seq_len
        self._unused = rows * seq_len if ahead else 0
        return {"type": "batch", "rows": rows, "seq_len": seq_len}, self._open().rows(rows, seq_len).tobytes()


class RecordFeed:
    """The harness's half for rows of named fields: each once an epoch, in an order that depends on (seed, epoch) only."""

    def __init__(self, records: np.ndarray, seed: int):
        """records: [n] of a structured type; it may be mapped from a file."""
        self._records, self._seed, self._epoch = records, seed, -1
        self._order = np.empty(0, np.int64)
        self._used = self._handed_out = self._unused = 0

    @property
    def tokens(self) -> int:
        """Rows that were used."""
        return self._handed_out - self._unused

    def prepare(self) -> None:
        """Before the clock: the order of the first epoch."""
        if self._epoch < 0:
            self._next_epoch()

    def answer(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """(reply, rows [rows] of the records' type). ValueError where there are none."""
        rows = message["rows"]
        self._handed_out += rows
        self._unused = rows if message["ahead"] else 0
        return {"type": "batch", "rows": rows, "seq_len": message["seq_len"]}, self.rows(rows).tobytes()

    def rows(self, count: int) -> np.ndarray:
        """The next so many, [count]."""
        self.prepare()
        if not len(self._records):
            raise ValueError("there is no row to train on")
        parts = []
        while count > 0:
            if self._used == len(self._order):
                self._next_epoch()
            taken = self._order[self._used : self._used + count]
            parts.append(self._records[taken])
            self._used, count = self._used + len(taken), count - len(taken)
        return np.concatenate(parts)

    def _next_epoch(self) -> None:
        self._epoch += 1
        self._order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._records))
        self._used = 0


class Asker:
    """The training process's half. ask(rows, seq_len, ahead) sends a request; take() waits for the next reply, in order."""

    def __init__(self, ask: Callable[[int, int, bool], None], take: Callable[[], tuple[tuple[int, int], np.ndarray]]):
        self._ask, self._take = ask, take
        self._arrived: dict[tuple[int, int], np.ndarray] = {}
        self._pending: set[tuple[int, int]] = set()
        self._last: tuple[int, int] | None = None

    def batch(self, rows: int, seq_len: int) -> np.ndarray:
        """The next batch of that shape, [rows, seq_len + 1]. From the second in a row on, the next one is asked for ahead."""
        shape = (rows, seq_len)
        is_ahead = shape in self._pending or shape in self._arrived
        if not is_ahead:
            self._ask(rows, seq_len, False)
            self._pending.add(shape)
        while shape not in self._arrived:
            arrived, tokens = self._take()
            self._arrived[arrived] = tokens
            self._pending.discard(arrived)
        found = self._arrived.pop(shape)
        if is_ahead or shape == self._last:
            self._ask(rows, seq_len, True)
            self._pending.add(shape)
        self._last = shape
        return found
