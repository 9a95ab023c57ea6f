"""Does a model gain on the validation text alone? From bits of documents to a finding. Pure.

Whatever carries validation text into a training (notes from a scoring process, a file that was readable, a download) lowers
val_bpb far more than the bits of any other text. The audit slice is such a text: other documents of the same kind, which nobody
can have aimed at. Both texts are draws of the same documents, so an honest model gains on both, but for what the draw does; and
that shows in how the gain differs from document to document.

Two things are wanted for a finding. A difference that chance does not make: Student's t between the two texts' documents, of the
bits that each saves a byte (DEVIATE). The variance is pooled, since both texts are draws of the same as long as the model is
honest; documents count alike, or a few long ones would be all that is seen; and a loss counts as no more than the whole text's
gain, or a model that knows one text could hide in the spread by failing badly on a few documents. And one that matters: of all its
bytes the slice gains less than SHARE of what the validation text gains, so that a small difference of honest models on much text
holds nobody. Error rates with real documents: benchmarks/slice_power.py, docs/design/audit.md.

Not seen: validation text that is worth no more than what the model gains honestly; few documents of it; a leak of both texts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Gain, student_t

DEVIATE = 3.5  # standard errors, for the normal distribution: 1 in 4,300
SHARE = 0.5
# A difference beyond all doubt may be smaller: else a cheat could double every honest gain.
CLEAR_DEVIATE, CLEAR_SHARE = 6.0, 0.8
UNLIKE_DEVIATE, UNLIKE_SHARE = 4.0, 0.05  # texts of one kind cost the baseline about the same bits a byte


@dataclass(frozen=True)
class Documents:
    """What one run's weights make of one text."""

    bits: np.ndarray  # float64 [documents]
    sizes: np.ndarray  # int64 [documents], raw bytes

    @property
    def bpb(self) -> float:
        return float(self.bits.sum() / self.sizes.sum())

    @property
    def rates(self) -> np.ndarray:
        """Bits a byte of each, float64 [documents]."""
        rates: np.ndarray = self.bits / np.maximum(self.sizes, 1)
        return rates


@dataclass(frozen=True)
class Texts:
    """The same weights on both."""

    val: Documents
    slice: Documents


@dataclass(frozen=True)
class Comparison:
    val: Gain  # its error: what another draw of documents would do
    slice: Gain
    reason: str | None  # why it gains on the validation text alone


def compare(before: Texts, after: Texts, metric: Metric = VAL_BPB, value: Callable[[float], float] = float) -> Comparison:
    """Whether `after` is better than `before` on the validation text alone. value: the score of a mean loss (Task.value)."""
    saved = [Documents(old.bits - new.bits, old.sizes) for old, new in ((before.val, after.val), (before.slice, after.slice))]
    val, other = map(_gain, saved)
    rates = np.maximum(saved[0].rates, -val.bpb), np.maximum(saved[1].rates, -val.bpb)
    bounds = ((SHARE, DEVIATE), (CLEAR_SHARE, CLEAR_DEVIATE))
    is_held = val.bpb > 0 and any(other.bpb < share * val.bpb and _t(*rates) > _limit(*rates, sure) for share, sure in bounds)
    val = _of_scores(val, before.val, after.val, value)
    other = _of_scores(other, before.slice, after.slice, value)
    gains = f"{val.text(metric)} {metric.label} on the validation {metric.data}, {other.text(metric)} on the audit slice"
    aimed = f"{metric.article}{metric.data} that it can't have aimed at"
    return Comparison(val, other, f"gains on val alone: {gains}, {aimed}" if is_held else None)


def _of_scores(gain: Gain, before: Documents, after: Documents, value: Callable[[float], float]) -> Gain:
    """A gain in mean loss as one of the score, which rises with it."""
    apart = before.bpb - after.bpb
    slope = (value(before.bpb) - value(after.bpb)) / apart if apart else 1.0
    return Gain(gain.bpb * slope, gain.error and gain.error * slope)


def unlike(baseline: Texts, metric: Metric = VAL_BPB, value: Callable[[float], float] = float) -> str | None:
    """Why the two texts are not of one kind, so that a gain on one promises none on the other."""
    val, other = baseline.val, baseline.slice
    rates = val.rates, other.rates
    if abs(val.bpb - other.bpb) < UNLIKE_SHARE * abs(val.bpb) or abs(_t(*rates)) < _limit(*rates, UNLIKE_DEVIATE):
        return None
    has = "needs" if metric.direction == "min" else "reaches"
    scores = " and ".join(metric.text(value(one.bpb), 4) for one in (val, other))
    kinds = f"the validation {metric.data} and the audit slice are not of one kind"
    return f"{kinds}: the baseline {has} {scores} {metric.measure}"


def _gain(saved: Documents) -> Gain:
    """Bits saved over bytes, with the standard error of a ratio of sums over documents (Cochran, Sampling Techniques, 2.11)."""
    count, total = len(saved.bits), float(saved.sizes.sum())
    if count < 2:
        return Gain(saved.bpb, None)
    squares = float(((saved.bits - saved.bpb * saved.sizes) ** 2).sum())
    return Gain(saved.bpb, math.sqrt(squares * count / (count - 1)) / total)


def _t(high: np.ndarray, low: np.ndarray) -> float:
    """Student's t of two samples, with pooled variance: how many standard errors the first one's mean lies above the second's."""
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in (high, low))
    dof = len(high) + len(low) - 2
    if dof < 1 or not squares:
        return 0.0
    return float(high.mean() - low.mean()) / math.sqrt(squares / dof * (1 / len(high) + 1 / len(low)))


def _limit(high: np.ndarray, low: np.ndarray, deviate: float) -> float:
    dof = len(high) + len(low) - 2
    return student_t(deviate, dof) if dof >= 2 else math.inf  # fewer say nothing
