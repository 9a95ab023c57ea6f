"""Is a score causal? The same rows again, each cut at a secret place with another text behind the cut: what comes before it must
score the same.

A model that may use a token only after it was predicted can't tell what lies behind the cut. One that looks ahead, at other rows
of its batch or at rows that it saw before can, and its log-probabilities differ (docs/design/audit.md). A difference beyond the
rounding of float32 is looked at closer: rounding has no direction, a look ahead that pays has one. Arithmetic alone: who asks
which process for logits is run/scoring.py's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

ROUNDING_NATS = 1e-4  # of a log-probability: tests/honest's models in float32 differ by up to 1.2e-5, in batches of other sizes
FLOOR_NATS = 0.2  # may be rounding, whatever the baseline computes in: bfloat16 logits from 16 to 32 are 0.125 apart
CEILING_NATS = 0.3  # a 16-token chunk leak differs by 0.68; what the baseline needs beyond this is not rounding
SHIFT_FLOOR_NATS = 0.05  # of the summed difference over the square root of its terms; see Difference
FACTOR = 10.0  # the tolerance in units of the worst that the unedited baseline showed
WHOLE_ROWS = 8  # one row in so many is not cut at all: only its place and the rows beside it are others
ALIKE, LEAST_ALIKE = 16, 16  # of whole questions that are asked again: one in so many, and how many at least, can be drawn
NEAR = (1, 4, 16)  # positions before a cut over which differences are summed: a look ahead by one token shows in the last
CLOSER_CUTS, CLOSER_ROUNDS = 256, 8  # of a closer look, which ends as soon as it knows
SIGMAS = 5.0  # of a direction: differences that are as likely up as down get there with a chance below exp(-25 / 2) = 4e-6
# Of answers to questions that were asked alone, to time them, against those asked many at once, a loss: rounding has no direction.
ALONE_WORSE, ALONE_APART = 0.01, 0.1
# Of cuts in which a right decision is turned into a wrong one, where decisions are scored (Task.losses): rounding turns few.
TURNED_LEAST, TURNED_SHARE = 3, 0.05
PAYS_NATS = 0.001  # a target: a look ahead that is known to gain less is none that a keep could come from


@dataclass(frozen=True)
class Cuts:
    """Which rows are asked again, and from where on they hold another text."""

    rows: np.ndarray  # int [n], rows of the scored text
    at: np.ndarray  # int [n], in [1, seq_len]: inputs before it are the scored row's
    inputs: np.ndarray  # int32 [n, seq_len]
    targets: np.ndarray  # int32 [n, seq_len], -1 from the cut on
    # Where no answer depends on an order within a question: [n, ...] of any type, and whole, at the width of the losses
    whole: int | None = None  # losses of a question that are compared; None: those of the targets before the cut

    @property
    def compared(self) -> np.ndarray:
        """bool [n, k]"""
        return self.targets >= 0 if self.whole is None else np.ones((len(self.rows), self.whole), bool)


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
    def of_baseline(cls, rounds: list[Difference], whole: bool = False, unit: float = 1.0) -> "Tolerance":
        """Ten times the worst that an unedited model differs from itself, with a floor. ValueError when that is no rounding.

        whole: whole questions were asked again, without a cut; here and below. unit: that of the floors (`unit_of`).
        """
        worst = max(one.worst_nats for one in rounds)
        shift = max(abs(one.shift_nats) for one in rounds)
        if worst > CEILING_NATS:
            raise ValueError(explain(max(rounds, key=lambda one: one.worst_nats), whole))
        floors = unit * FLOOR_NATS, unit * SHIFT_FLOOR_NATS
        return cls(min(max(floors[0], FACTOR * worst), CEILING_NATS), max(floors[1], FACTOR * shift))

    def objection(self, found: Difference, whole: bool = False) -> str | None:
        """Why the difference is more than any rounding, or None."""
        leans, uses = WORDS[whole]
        if found.worst_nats > self.worst_nats:
            return f"{explain(found, whole)}; {self.worst_nats:.3f} is allowed"
        if found.shift_nats > self.shift_nats:
            return f"{leans} ({found.shift_nats:.4f}; {self.shift_nats:.4f} is rounding). {uses}"
        return None


@dataclass(frozen=True)
class Direction:
    """Whether differences go one way: the true text behind a cut makes targets cheaper than another text does."""

    cuts: int
    sigmas: float  # the sum over the text's rows, over the root of the summed squares; the largest over windows before the cuts
    gain_nats: float  # a target, by the last one before each cut: what looking ahead gains, with what the wrong text costs
    most_nats: float  # the same, three standard errors more, and what could lie at places that no cut met (the rule of three)

    def objection(self, whole: bool = False) -> str | None:
        if self.sigmas <= SIGMAS:
            return None
        (leans, uses), (nats, cuts) = WORDS[whole], (("a question", "questions") if whole else ("nats a token", "cuts"))
        return f"{leans} ({self.gain_nats:.5f} {nats} in {self.cuts} {cuts}, {self.sigmas:.1f} sigma). {uses}"


@dataclass(frozen=True)
class Finding:
    """How an audit ended."""

    difference: Difference
    closer: Direction | None  # None: nothing to look closer at
    reason: str | None  # why the model failed


WORDS = (  # of cut rows; of whole questions
    (
        "its predictions just before a cut are better when the true text follows, each by little but all the same way",
        "It uses tokens before it predicts them",
    ),
    (
        "its answers differ when the same questions are asked beside others, each by little but all the same way",
        "It uses other questions than the one that it answers",
    ),
)


def examine(
    allowed: Tolerance, scored_bits: np.ndarray, cuts: Cuts, draw: Callable[[int], Cuts], ask: Callable[[Cuts], np.ndarray]
) -> Finding:
    """One audit. cuts: those of the first look; draw(count): fresh ones anywhere in the text, for a closer look; ask: their bits.

    Cuts that lie where the gain is decide by the size of a difference alone: their direction would be that of the choice.
    """
    answers = ask(cuts)
    first = compare(cuts, scored_bits, answers)
    whole = cuts.whole is not None
    reason, closer = allowed.objection(first, whole) or turned(cuts, scored_bits, answers), None
    looks: list[Cuts]
    asked: list[np.ndarray]
    looks, asked = [], []
    is_closer = whole or first.worst_nats > ROUNDING_NATS  # whole: the second questions are others' neighbours than the first
    while reason is None and is_closer and len(looks) < CLOSER_ROUNDS:
        looks.append(draw(CLOSER_CUTS))
        asked.append(ask(looks[-1]))
        together, bits = join(looks), np.concatenate(asked)
        closer = direction(together, scored_bits, bits)
        # The sum over the last targets alone: it holds all of a leak, and rounding that a row's targets share counts least in it.
        found = replace(compare(together, scored_bits, bits), shift_nats=closer.gain_nats * closer.cuts**0.5)
        reason = allowed.objection(found, whole) or closer.objection(whole)
        if closer.most_nats < PAYS_NATS * (unit_of(scored_bits) ** 2 if whole else 1):
            break
    return Finding(first, closer, reason)


def unit_of(losses: np.ndarray) -> float:
    """What the size of a change is held against: 1, as of nats, or less where losses are small, as of a good fit's squared errors.

    The root of their mean: when an answer is rounded, its squared error changes by twice the error times the rounding.
    """
    return min(1.0, math.sqrt(float(np.abs(losses).mean(dtype=np.float64))))


def explain(found: Difference, whole: bool = False) -> str:
    if whole:
        changed = "when only the questions beside it or their order were changed"
        return f"the loss of question {found.row} changed by {found.worst_nats:.3f} {changed}. It uses other questions"
    return (
        f"the log-probability at position {found.position} of a row changed by {found.worst_nats:.3f} nats when only tokens from"
        f" position {found.cut} on, other rows or their order were changed. It uses tokens before it predicts them, or other rows"
    )


def make_cuts(
    rng: np.random.Generator, inputs: np.ndarray, targets: np.ndarray, count: int, gain: np.ndarray | None = None
) -> Cuts:
    """count cut rows of a scored text, in a random order, each cut behind a scored target.

    gain: float [rows, seq_len], by how many bits each target became cheaper than with the best so far. Half of the cuts are then
    laid right behind positions of great gain: a model that peeks at few positions gains there. The rank of such a position is
    log-uniform: the ten greatest are as likely as the next ninety, whatever the number of positions that leak.
    """
    seq_len = inputs.shape[1]
    scored = np.flatnonzero(targets >= 0)
    rows, last = np.divmod(rng.choice(scored, size=count), seq_len)
    at = last + 1
    at[::WHOLE_ROWS] = seq_len
    if gain is not None:
        directed = np.arange(1, count, 2)
        ranks = np.exp(rng.uniform(0, np.log(len(scored)), size=len(directed))).astype(np.int64) - 1
        chosen = scored[np.argsort(-gain.reshape(-1)[scored])[ranks]]
        rows[directed], at[directed] = chosen // seq_len, chosen % seq_len + 1
    stream = inputs.reshape(-1)
    like = _Places(stream).like
    cut_inputs, cut_targets = inputs[rows].copy(), targets[rows].copy()
    for one, cut in enumerate(at):
        if cut < seq_len:
            start = like(rng, cut_inputs[one, : cut + 1])
            cut_inputs[one, cut:] = np.take(stream, np.arange(start, start + seq_len - cut), mode="wrap")
        cut_targets[one, cut:] = -1
    return Cuts(rows, at, cut_inputs, cut_targets)


def ask_again(
    rng: np.random.Generator, inputs: np.ndarray, targets: np.ndarray, count: int, width: int, gain: np.ndarray | None = None
) -> Cuts:
    """count questions as they are, in a random order and beside others: a model that answers each by itself answers alike.

    They are alike: of the eighth at one end of a random direction, by what is asked and by its target. A model that learns from the
    questions beside one, such as their mean, learns the same from any fair sample of them, and something else from these.
    width: losses of a question. gain: float [n, width], by how much each became cheaper than with the best so far: half of the
    questions are of those that gained, as in `make_cuts`.
    """
    values = np.concatenate([_columns(inputs), _columns(targets)], axis=1)
    along = values @ rng.standard_cauchy(values.shape[1])  # so wide that often one column alone decides
    rows = rng.choice(np.argsort(along)[-max(LEAST_ALIKE, len(along) // ALIKE) :], count)
    if gain is not None:
        gains = gain.sum(axis=1)
        ranks = np.exp(rng.uniform(0, np.log(len(gains)), size=len(rows[1::2]))).astype(np.int64) - 1
        rows[1::2] = np.argsort(-gains)[ranks]
    return Cuts(rows, np.full(count, width), inputs[rows], targets[rows], width)


def _columns(table: np.ndarray) -> np.ndarray:
    """All numbers of each row, float64 [n, columns], each column of mean 0 and spread 1; what is no number is 0."""
    fields = [table[name] for name in table.dtype.names] if table.dtype.names else [table]
    numbers = [field.reshape(len(table), -1).astype(np.float64) for field in fields if field.dtype.kind in "biuf"]
    flat = np.concatenate([np.zeros((len(table), 1)), *numbers], axis=1)
    flat = np.where(np.isfinite(flat), flat, 0)
    flat -= flat.mean(axis=0)
    columns: np.ndarray = flat / np.maximum(flat.std(axis=0), 1e-12)
    return columns


def compare(cuts: Cuts, scored_bits: np.ndarray, cut_bits: np.ndarray) -> Difference:
    """scored_bits float32 [rows, seq_len] of the whole text, cut_bits float32 [n, seq_len] of the cut rows; what is beyond seq_len
    is not looked at."""
    nats = _nats(cuts, scored_bits, cut_bits)
    worst = int(np.abs(nats).argmax())
    row, place = worst // nats.shape[1], worst % nats.shape[1]
    shifts = []
    for near in NEAR:
        here = nats[_before(cuts, near)]
        shifts.append(float(here.sum()) / max(1, len(here)) ** 0.5)
    return Difference(float(abs(nats[row, place])), max(shifts), int(cuts.rows[row]), place, int(cuts.at[row]))


def turned(cuts: Cuts, scored: np.ndarray, asked: np.ndarray) -> str | None:
    """Why decisions that depend on what lies behind a cut are no rounding, or None. scored [rows, 2 T], asked [n, 2 T]: behind the
    bits, whether each target was decided wrongly. A decision has no scale: logits that differ by less than any rounding decide.
    """
    compared = cuts.compared
    width = compared.shape[1]
    if asked.shape[1] == width:
        return None
    count = int(((asked[:, width:] > scored[cuts.rows, width:]) & compared).any(axis=1).sum())
    if count <= max(TURNED_LEAST, TURNED_SHARE * len(cuts.rows)):
        return None
    return (
        f"in {count} of {len(cuts.rows)} questions a right token was no longer the likeliest when only what comes after it was"
        " changed. It uses tokens before it predicts them"
    )


def alone_objection(scored: np.ndarray, alone: np.ndarray) -> str | None:
    """Why a model that is quick for one question is not the one that was scored; None when it may be. float [n, k] each: the losses
    of the same questions, asked among many and alone.
    """
    change, sums = alone.astype(np.float64) - scored, np.abs(scored).sum(axis=1)  # few losses of a question may be scored
    size = np.maximum(max(unit_of(sums), 1e-12), sums)
    if (change.sum(axis=1) / size).mean() <= ALONE_WORSE and (np.abs(change).sum(axis=1) / size).mean() <= ALONE_APART:
        return None
    return "its answers to questions that are asked alone are others than to the same ones among many"


def direction(cuts: Cuts, scored_bits: np.ndarray, cut_bits: np.ndarray) -> Direction:
    """Of the same arrays as `compare`. A row of the text counts once: all its cuts are compared with the same scored bits.

    The chance beside SIGMAS is Hoeffding's bound for symmetric variables, whatever their sizes (Efron 1969, "Student's t-test under
    symmetry conditions").
    """
    nats = _nats(cuts, scored_bits, cut_bits)
    if cuts.whole is not None and nats.sum() < 0:
        nats = -nats  # other questions beside it may do one good: either way is more than rounding
    sigmas = []
    for near in (*NEAR, 64, nats.shape[1]):
        sums = np.bincount(cuts.rows, weights=np.where(_before(cuts, near), nats, 0).sum(1))
        spread = float(np.sqrt(np.square(sums).sum()))
        sigmas.append(float(sums.sum()) / spread if spread > 0 else 0.0)
        if near == 1:  # all that a model can use of what it should not know, it can use for the last target before the cut
            targets = max(1, int(_before(cuts, 1).sum()))
            gain, unsure = float(sums.sum()) / targets, 3 * (spread + float(np.abs(nats).max())) / targets
    return Direction(len(cuts.rows), max(sigmas), gain, gain + unsure)


def join(looks: list[Cuts]) -> Cuts:
    arrays = {name: np.concatenate([getattr(one, name) for one in looks]) for name in ("rows", "at", "inputs", "targets")}
    return Cuts(**arrays, whole=looks[0].whole)


def _nats(cuts: Cuts, scored_bits: np.ndarray, cut_bits: np.ndarray) -> np.ndarray:
    """How much dearer each target is in the cut row, float64 [n, seq_len]; 0 where none is asked for."""
    compared = cuts.compared
    width = compared.shape[1]
    return np.where(compared, (cut_bits[:, :width].astype(np.float64) - scored_bits[cuts.rows, :width]) * np.log(2), 0.0)


def _before(cuts: Cuts, near: int) -> np.ndarray:
    """bool [n, seq_len]: the last `near` targets before each cut."""
    compared = cuts.compared
    return compared & (np.arange(compared.shape[1]) >= cuts.at[:, None] - near)


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
