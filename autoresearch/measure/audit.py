"""Is a score causal? The same rows again, each cut at a secret place with another text behind the cut: what comes before it must
score the same.

A model that may use a token only after it was predicted can't tell what lies behind the cut. One that looks ahead, at other rows
of its batch or at rows that it saw before can, and its log-probabilities differ (docs/design/audit.md). Pure arithmetic: who asks
which process for logits is loop/scoring.py's.
"""

from dataclasses import dataclass

import numpy as np

FLOOR_NATS = 0.02  # a difference of one log-probability that is never a reason: float16 logits near 16 are 0.016 apart
CEILING_NATS = 0.3  # a 16-token chunk leak differs by 0.68; what the baseline needs beyond this is not rounding
SHIFT_FLOOR_NATS = 0.01  # of the summed difference over the square root of its terms; see Difference
FACTOR = 10.0  # the tolerance in units of the worst that the unedited baseline showed
WHOLE_ROWS = 8  # one row in so many is not cut at all: only its place and the rows beside it are others
NEAR = (1, 4, 16)  # positions before a cut over which differences are summed: a look ahead by one token shows in the last


@dataclass(frozen=True)
class Cuts:
    """Which rows are asked again, and from where on they hold another text."""

    rows: np.ndarray  # int [n], rows of the scored text
    at: np.ndarray  # int [n], in [1, seq_len]: inputs before it are the scored row's
    inputs: np.ndarray  # int32 [n, seq_len]
    targets: np.ndarray  # int32 [n, seq_len], -1 from the cut on


@dataclass(frozen=True)
class Difference:
    """Between the log-probabilities of scored targets and those of the same targets in cut rows."""

    worst_nats: float
    # The sum of (cut - scored) over the targets near the cuts, divided by the square root of their number: above 0 when what lies
    # behind helped. Of rounding it is as large with 256 cuts as with 32; of a faint leak it grows. The largest over NEAR.
    shift_nats: float
    row: int  # where the worst is
    position: int
    cut: int


@dataclass(frozen=True)
class Tolerance:
    worst_nats: float = FLOOR_NATS
    shift_nats: float = SHIFT_FLOOR_NATS

    @classmethod
    def of_baseline(cls, rounds: list[Difference]) -> "Tolerance":
        """Ten times the worst that an unedited model differs from itself, with a floor. ValueError when that is no rounding."""
        worst = max(one.worst_nats for one in rounds)
        shift = max(abs(one.shift_nats) for one in rounds)
        if worst > CEILING_NATS:
            raise ValueError(explain(max(rounds, key=lambda one: one.worst_nats)))
        return cls(min(max(FLOOR_NATS, FACTOR * worst), CEILING_NATS), max(SHIFT_FLOOR_NATS, FACTOR * shift))

    def objection(self, found: Difference) -> str | None:
        """Why the difference is more than rounding, or None."""
        if found.worst_nats > self.worst_nats:
            return f"{explain(found)}; {self.worst_nats:.3f} is allowed"
        if found.shift_nats > self.shift_nats:
            return (
                "its predictions just before a cut are better when the true text follows, each by little but all the same way"
                f" ({found.shift_nats:.4f}; {self.shift_nats:.4f} is rounding). It uses tokens before it predicts them"
            )
        return None


def explain(found: Difference) -> str:
    return (
        f"the log-probability at position {found.position} of a row changed by {found.worst_nats:.3f} nats when only tokens from"
        f" position {found.cut} on, other rows or their order were changed. It uses tokens before it predicts them, or other rows"
    )


def make_cuts(
    rng: np.random.Generator, inputs: np.ndarray, targets: np.ndarray, count: int, gain: np.ndarray | None = None
) -> Cuts:
    """count cut rows of a scored text, in a random order.

    gain: float [rows, seq_len], by how many bits each target became cheaper than with the best so far. Half of the cuts are then
    laid right behind positions of great gain: a model that peeks at few positions gains there. The rank of such a position is
    log-uniform: the ten greatest are as likely as the next ninety, whatever the number of positions that leak.
    """
    seq_len = inputs.shape[1]
    rows, at = rng.integers(len(inputs), size=count), rng.integers(1, seq_len + 1, size=count)
    at[::WHOLE_ROWS] = seq_len
    if gain is not None:
        directed = np.arange(1, count, 2)
        ranks = np.exp(rng.uniform(0, np.log(gain.size), size=len(directed))).astype(np.int64) - 1
        chosen = np.argsort(-gain, axis=None)[ranks]
        rows[directed], at[directed] = chosen // seq_len, chosen % seq_len + 1
    stream = inputs.reshape(-1)
    places = _Places(stream)
    cut_inputs, cut_targets = inputs[rows].copy(), targets[rows].copy()
    for one, cut in enumerate(at):
        if cut < seq_len:
            start = places.like(rng, cut_inputs[one, : cut + 1])
            cut_inputs[one, cut:] = np.take(stream, np.arange(start, start + seq_len - cut), mode="wrap")
        cut_targets[one, cut:] = -1
    return Cuts(rows, at, cut_inputs, cut_targets)


def compare(cuts: Cuts, scored_bits: np.ndarray, cut_bits: np.ndarray) -> Difference:
    """scored_bits float32 [rows, seq_len] of the whole text, cut_bits float32 [n, seq_len] of the cut rows."""
    nats = (cut_bits.astype(np.float64) - scored_bits[cuts.rows]) * np.log(2)
    position = np.arange(nats.shape[1])
    asked = cuts.targets >= 0
    nats[~asked] = 0.0
    worst = int(np.abs(nats).argmax())
    row, place = worst // nats.shape[1], worst % nats.shape[1]
    shifts = []
    for near in NEAR:
        here = nats[asked & (position >= cuts.at[:, None] - near)]
        shifts.append(float(here.sum()) / max(1, len(here)) ** 0.5)
    return Difference(float(abs(nats[row, place])), max(shifts), int(cuts.rows[row]), place, int(cuts.at[row]))


class _Places:
    """Where in a text another piece can begin, so that the seam looks like the text's own."""

    def __init__(self, stream: np.ndarray):
        self._stream = stream
        self._by_token = np.argsort(stream[:-1], kind="stable")  # of each token, the positions that hold it
        self._sorted = stream[:-1][self._by_token]

    def like(self, rng: np.random.Generator, row: np.ndarray) -> int:
        """A position whose token differs from row's last and comes after the same two tokens, or the same one, if there is any."""
        before, true = row[-2], row[-1]
        first, last = np.searchsorted(self._sorted, [before, before + 1])
        found = self._by_token[first:last] + 1
        found = found[self._stream[found] != true]
        if len(row) > 2:
            twice = found[(found >= 2) & (self._stream[found - 2] == row[-3])]
            found = twice if len(twice) else found
        if not len(found):
            found = np.flatnonzero(self._stream != true)
        return int(rng.choice(found)) if len(found) else 0
