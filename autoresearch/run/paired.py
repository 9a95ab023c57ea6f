"""From measurements in alternation to a score. Pure.

A candidate (B) is measured beside a reference (A): A B, B A, A B, ... What makes the machine slower for a while moves both of a
pair, and what makes it slower bit by bit goes both ways. Their change is the median over the pairs of ln(B / A), or of B - A where
a number is not above 0; the score is the reference's level, changed so. A median, since a burst spoils a pair and not the others.

With the reference's level as its own mean score, a candidate that is the same program scores that level but for noise, however fast
the machine is meanwhile; and a reference that is measured beside itself shows how large that noise is.
"""

import math
import statistics
from collections.abc import Sequence

from autoresearch.metric import Metric

PAIRS = 5  # of a run; docs/design/command.md compares 3 to 9
LOOKS = {10: 9, 20: 16, 30: 22}  # pairs of a confirming measure: how many have to be better; a coin passes 2 times in 100
CONSTANT = 2  # pairs after which a number that was the same each time is called one that does not vary


def order(pairs: int, seed: int) -> list[tuple[int, int]]:
    """Who is first and who second in each pair, 0 the reference: by turns, and by the seed which way the first goes."""
    return [(side, 1 - side) for side in ((seed + pair) % 2 for pair in range(pairs))]


def is_constant(reference: Sequence[float], values: Sequence[float]) -> bool:
    """Whether there is nothing more to learn: each has given one number only."""
    return len(values) >= CONSTANT and len(set(reference)) == 1 and len(set(values)) == 1


def level(values: Sequence[float], metric: Metric) -> float:
    """The score of measurements by themselves."""
    return metric.shown(statistics.median(values))


def score(reference: Sequence[float], values: Sequence[float], level: float, metric: Metric) -> float:
    """reference, values: what each pair gave, in the metric's own direction. level: the reference's score."""
    shown, pairs = metric.shown(level), list(zip(reference, values, strict=True))
    if min(*reference, *values, shown) > 0:
        shown *= math.exp(statistics.median(math.log(value / before) for before, value in pairs))
    else:
        shown += statistics.median(value - before for before, value in pairs)
    return metric.shown(shown)


def gain(reference: Sequence[float], values: Sequence[float], metric: Metric) -> tuple[float, float]:
    """(how far the values are better than the reference, its standard error), in the metric's unit."""
    each = [metric.shown(before) - metric.shown(value) for before, value in zip(reference, values, strict=True)]
    spread = statistics.stdev(each) if len(each) > 1 else math.inf
    return statistics.fmean(each), spread / math.sqrt(len(each))


def confirmation(reference: Sequence[float], values: Sequence[float], metric: Metric) -> bool | None:
    """Whether another measure shows a gain too: in how many of its pairs the values are better. None: more pairs are to say it.

    A coin passes one time in fifty (LOOKS), whatever the noise is like. Constant numbers need no more than CONSTANT pairs.
    """
    better = sum(metric.shown(value) < metric.shown(before) for before, value in zip(reference, values, strict=True))
    if is_constant(reference, values):
        return better > 0
    pairs = len(values)
    wanted = next(count for most, count in LOOKS.items() if pairs <= most)
    if better >= wanted:
        return True
    return False if better < pairs * 0.6 or pairs >= max(LOOKS) else None


def confirmation_words(reference: Sequence[float], values: Sequence[float], metric: Metric) -> str:
    """Why a gain is not confirmed."""
    was, now = (metric.text(level(side, metric)) for side in (reference, values))
    return f"it gains on the measure alone: the confirming one says {now} beside {was}, in {len(values)} pairs"
