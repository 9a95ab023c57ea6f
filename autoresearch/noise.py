"""What the seed alone does to a score: its spread, means that chance did not choose, and what a gain is worth. Pure.

Scores of one commit differ from seed to seed. That spread, pooled over the baseline and the kept commits, is the noise. What was
not kept has no say in it: a train.py chooses its own spread, and could make the next one's gain look like noise.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

from autoresearch.metric import VAL_BPB, Metric

Some = TypeVar("Some")  # a score, or the run that has it
WORST_BPB = 1e6  # what is above it is no score
UNUSUAL = 3.0  # normal deviate: beyond it a spread is one commit's own, and not the machine's noise


@dataclass(frozen=True)
class Noise:
    """The standard deviation of the score between seeds, and how well it is known."""

    sigma: float
    dof: int  # degrees of freedom of the estimate

    def interval(self) -> tuple[float, float]:
        """Where sigma lies with 95 % confidence (dof s^2 / sigma^2 is chi-square)."""
        low, high = (self.sigma / math.sqrt(_chi_square_share(z, self.dof)) for z in (1.96, -1.96))
        return low, high


@dataclass(frozen=True)
class Gain:
    """How far one mean lies below another."""

    bpb: float
    error: float | None  # its standard error; None when the noise is not known

    def text(self, metric: Metric) -> str:
        return metric.amount(self.bpb, self.error)


def mean(scores: list[float]) -> float:
    return math.fsum(scores) / len(scores)


def variance(scores: list[float]) -> float:
    """Unbiased; of two scores at least."""
    center = mean(scores)
    return sum([(score - center) ** 2 for score in scores]) / (len(scores) - 1)


def fair_scores(scores: list[Some], again: list[Some], was_chosen: bool) -> list[Some]:
    """The scores that a commit is reported by: those that chance did not choose.

    scores: what its verdict was made from; again: its runs since then. was_chosen: false for the baseline, which nothing chose.
    """
    return again or scores[1:] or scores if was_chosen else scores + again


def noise_group(scores: list[Some], again: list[Some], was_chosen: bool) -> list[Some]:
    """What a commit's runs say of the noise: all but the first, which was low enough to be looked at again."""
    return scores[was_chosen:] + again


class Scored:
    """For what has `number` (0 is the baseline), `scores` (its verdict was made from them) and `again` (its runs since then)."""

    number: int
    scores: list[float]
    again: list[float]

    @property
    def was_chosen(self) -> bool:
        """Whether it was looked at again because its first score was low."""
        return self.number > 0

    @property
    def fair(self) -> list[float]:
        """Those of its scores that chance did not choose: what it is reported by."""
        return fair_scores(self.scores, self.again, self.was_chosen)

    @property
    def noise_group(self) -> list[float]:
        """Those that tell of the noise."""
        return noise_group(self.scores, self.again, self.was_chosen)

    @property
    def val_bpb(self) -> float | None:
        return mean(self.fair) if self.scores else None


def pooled_noise(groups: list[list[float]], metric: Metric = VAL_BPB) -> Noise | None:
    """The noise from groups of scores, each of one commit on several seeds; None when no commit has two.

    The groups of the smaller spreads, half of all, are taken; each further one where its spread may be theirs but for chance. So
    one kept commit with a wide spread does not hide the gains of all that follow it.
    """
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return None
    spreads = sorted((variance(group), len(group) - 1) for group in groups)
    floor = metric.floor(groups[0][0])
    squares, dof = 0.0, 0
    for taken, (square, own_dof) in enumerate(spreads):
        if 2 * taken >= len(spreads) and _spread_deviate(square, own_dof, max(squares / dof, floor**2), dof) > UNUSUAL:
            break
        squares, dof = squares + square * own_dof, dof + own_dof
    return Noise(max(math.sqrt(squares / dof), floor), dof)


def at_level(groups: list[list[float]], level: float) -> list[list[float]]:
    """Groups of scores whose spread is a share of what they lie about, as if they lay about level."""
    return [[score * level / mean(group) for score in group] for group in groups if mean(group) * level > 0]


def gain(before: list[float], after: list[float], noise: Noise | None) -> Gain:
    """How far the mean of `after` lies below that of `before`, both fair scores."""
    error = noise.sigma * math.sqrt(1 / len(before) + 1 / len(after)) if noise else None
    return Gain(mean(before) - mean(after), error)


def student_t(deviate: float, dof: int) -> float:
    """The point of Student's t with about the upper tail of the normal deviate; from 2 degrees of freedom on never too lenient.

    Wallace's approximation (Annals of Mathematical Statistics 30, 1959), solved for t.
    """
    shrunk = deviate * (8 * dof + 3) / (8 * dof + 1)
    return math.sqrt(dof * math.expm1(min(shrunk**2 / dof, 700.0)))


def _chi_square_share(deviate: float, dof: int) -> float:
    """Chi-square's quantile at a normal deviate, divided by dof (Wilson and Hilferty 1931; 3 % off at 2 degrees of freedom)."""
    return max(1 - 2 / (9 * dof) + deviate * math.sqrt(2 / (9 * dof)), 0.01) ** 3


def _spread_deviate(variance: float, dof: int, usual: float, usual_dof: int) -> float:
    """The normal deviate of a variance's ratio to another, were both of the same noise (Paulson's approximation of F, 1942)."""
    root: float = (variance / usual) ** (1 / 3)
    own, other = 2 / (9 * dof), 2 / (9 * usual_dof)
    return ((1 - other) * root - (1 - own)) / math.sqrt(other * root**2 + own)
