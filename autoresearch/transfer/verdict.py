"""Whether a stack of edits holds at another size, from its gains there. Pure.

holds           it gains on the validation text and on the test text, and on validation at least HALF of what it gained before
holds in part   it gains on both, and less than that on validation
does not hold   it does not gain on both, and on one the interval of its gain ends below HALF of that; or it does not train
not known       neither: it may be anything from nothing to most of it; more seeds would tell

Before is at the size where the edits were found. It gains where the 95 % interval of the gain lies above 0. Both texts are asked,
so that a stack that does nothing is called one that gains in at most 2.5 of 100 transfers (benchmarks/transfer.py simulates it).
"""

from dataclasses import dataclass
from typing import Literal

from autoresearch.metric import Metric

HALF = 0.5  # chosen, as of the gain on the test text (report/summary.py): from there on it is called held

Word = Literal["holds", "holds in part", "does not hold", "not known"]


@dataclass(frozen=True)
class Measured:
    """A gain, above 0 where it is one, and its 95 % interval; None: it can't be told how sure it is."""

    gain: float
    interval: tuple[float, float] | None

    @property
    def is_gain(self) -> bool:
        return self.interval is not None and self.interval[0] > 0

    def text(self, metric: Metric) -> str:
        if self.interval is None:
            return f"{metric.amount(self.gain)} {metric.label} (no interval)"
        low, high = (metric.amount(end) for end in self.interval)
        return f"{metric.amount(self.gain)} {metric.label} ({low} to {high})"


@dataclass(frozen=True)
class Judgement:
    word: Word
    reason: str  # a sentence's end, with the numbers


def judge(small: float | None, val: Measured | None, test: Measured | None, metric: Metric) -> Judgement:
    """small: the gain at the first size; None: not known, then any gain holds. test: None where the corpus spares no test text."""
    if val is None:
        return Judgement("not known", "it has no scores on both sides")
    sides = [("validation", val), *([("test", test)] if test else [])]
    told = " and ".join(f"{side.text(metric)} on the {name} {metric.data}" for name, side in sides)
    half = None if small is None or small <= 0 else HALF * small
    if any(side.interval is None for _, side in sides):
        return Judgement("not known", f"it gains {told}, and the noise was not measured")
    if all(side.is_gain for _, side in sides):
        share = f"; that is {100 * val.gain / small:.0f} % of the gain at the first size" if small and half is not None else ""
        return Judgement("holds" if half is None or val.gain >= half else "holds in part", f"it gains {told}{share}")
    short = [name for name, side in sides if side.interval and side.interval[1] < (0.0 if half is None else half)]
    if short:
        bound = "any gain" if half is None else f"half of the {metric.amount(small or 0.0)} that it gained at the first size"
        return Judgement("does not hold", f"it gains {told}; on {' and '.join(short)} {bound} can be ruled out")
    return Judgement("not known", f"it gains {told}; that may be chance, and it may be most of the gain: `--seeds` with more tells")
