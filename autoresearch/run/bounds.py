"""What a process that scores may take, against what the baseline's took: no second training between the clock and the score.

Weights come to the process only when its model is built, and text never does: whatever it could train on lies in the weights, and
time that it spends before the first row is time spent on them. Two quantities are bounded, as processor time of all its processes
and by the clock (a GPU's work is not in the former): `loading`, from the weights to the first answers on stand-in rows, and each
batch of rows against the other batches. A training that is spread over the batches is an audit's to find: rows that are asked in
another order score differently (measure/audit.py).

The allowances are chosen. Processor time is what counts on a CPU: other programs hardly change it (a third more was seen beside
them), while the clock went six times as far on a busy machine. Where the model is on a device, the clock counts.
"""

import statistics
from dataclasses import dataclass

from autoresearch.border import files
from autoresearch.errors import RunFailed
from autoresearch.measure.scorer import Costs
from autoresearch.measure.summary import RunResult

SHARE = 0.01  # of the training's time
LEAST_SECONDS = 1.0  # of the allowance
# By the clock where nothing is on a device: times everything, and so much more.
WALL, WALL_SHARE, LEAST_WALL_SECONDS = 5.0, 0.05, 15.0
LOOKUPS = 200_000  # system calls with a name in them, while the clock runs; compiling anew within it takes 115,000
LOADING = 2.0  # times the baseline's
OWN_BATCHES = 1.5  # and so many of its own later batches: a larger model's stand-in rows take longer
ROWS = 10.0  # times the baseline's: a model may be that much slower, and trained the less
ROWS_SHARE, LEAST_ROWS_SECONDS = 0.02, 20.0  # and so much more for all rows, where the baseline's take hardly any time,
LEAST_BATCH_SECONDS = 2.0  # of which so much for one batch counts as its own when it loads
# Of a short training no more than such a share of it, or so many seconds where that is more.
SHORT_ROWS, SHORT_BATCH = (0.1, 2.0), (0.02, 0.5)
ONE_BATCH = 3.0  # times the median of its batches
CHECKPOINT, CHECKPOINT_BYTES = 16, 64 << 20  # times the baseline's, and so much more
KIND = "limit"

Seconds = tuple[float, float]  # by the clock, of processor time


@dataclass(frozen=True)
class Bounds:
    """From the baseline's costs; without them nothing is refused."""

    train_seconds: float
    is_on_device: bool = False
    costs: Costs | None = None
    checkpoint: int | None = None  # bytes of the baseline's

    @property
    def checkpoint_bytes(self) -> int:
        """The largest file of weights that is taken."""
        return files.CHECKPOINT_BYTES if self.checkpoint is None else CHECKPOINT_BYTES + CHECKPOINT * self.checkpoint

    def check_loading(self, took: Seconds, batch: Seconds | None = None) -> None:
        """RunFailed when it took longer than loading weights and a forward pass can. batch: its own median one.

        While that is not known yet, the most that a batch may take stands for it.
        """
        if self.costs:
            most = _sum(
                _times(ROWS, self.costs.batch),
                2 * (max(self._short(LEAST_BATCH_SECONDS, SHORT_BATCH), SHARE * self.train_seconds),),
            )
            own = most if batch is None else (min(batch[0], most[0]), min(batch[1], most[1]))
            allowed = _sum(_times(LOADING, self.costs.loading), _times(OWN_BATCHES, own))
            self._check("from its weights to its first answer", took, allowed)

    def check_rows(self, rows: int, took: Seconds, batches: list[Seconds]) -> None:
        """RunFailed when so many rows took far longer than the baseline's, or one batch much longer than the others."""
        if self.costs:
            more = max(self._short(LEAST_ROWS_SECONDS, SHORT_ROWS), ROWS_SHARE * self.train_seconds)
            allowed = _sum(_times(ROWS * rows / self.costs.rows, self.costs.all_rows), (more, more))
            self._check("for its rows", took, allowed)
            most = (max(batch[0] for batch in batches), max(batch[1] for batch in batches))
            self._check("for one batch of rows", most, _times(ONE_BATCH, median(batches)))

    def _short(self, seconds: float, short: tuple[float, float]) -> float:
        share, least = short
        return min(seconds, max(least, share * self.train_seconds))

    def check_alone(self, took: Seconds, count: int, batch: Seconds) -> None:
        """RunFailed when so many questions that were asked alone took longer than as many batches. batch: the median one."""
        if self.costs:
            self._check("for questions that were asked alone", took, _times(count, batch))

    def _check(self, what: str, took: Seconds, most: Seconds) -> None:
        least = max(LEAST_SECONDS, SHARE * self.train_seconds)
        by_clock = most[0] + least
        if not self.is_on_device:
            by_clock = WALL * most[0] + max(LEAST_WALL_SECONDS, WALL_SHARE * self.train_seconds)
        for seconds, limit, kind in zip(took, (by_clock, most[1] + least), ("", " of processor time"), strict=True):
            if seconds > limit:
                raise RunFailed(KIND, f"scoring took {seconds:.1f} s{kind} {what}, and {limit:.1f} are allowed")

    @classmethod
    def of(cls, train_seconds: float, baseline: list[RunResult], is_on_device: bool = False) -> "Bounds":
        """baseline: its runs that have a score; the one that took longest counts."""
        known = [(result.costs, result.checkpoint_bytes or 0) for result in baseline if result.ok and result.costs]
        if not known:
            return cls(train_seconds, is_on_device)
        slowest = max((costs for costs, _ in known), key=lambda costs: costs["loading"][1] + costs["all_rows"][1])
        rows, *pairs = (slowest[name] for name in ("rows", "loading", "all_rows", "batch"))
        return cls(train_seconds, is_on_device, Costs(rows, *map(tuple, pairs)), max(size for _, size in known))


def median(batches: list[Seconds]) -> Seconds:
    """Of each of the two. The first and the last are started and ended in other ways; of few batches they count as well."""
    inner = batches[1:-1] or batches
    return statistics.median(batch[0] for batch in inner), statistics.median(batch[1] for batch in inner)


def _times(factor: float, seconds: Seconds) -> Seconds:
    return factor * seconds[0], factor * seconds[1]


def _sum(left: Seconds, right: Seconds) -> Seconds:
    return left[0] + right[0], left[1] + right[1]
