"""From numbers to keep, discard, or "run it again". Pure: no files, no clock, no randomness.

`strict` is the plain ratchet: any lower number is kept. Where the seed alone moves val_bpb, that keeps noise.

`confirmed` (default) keeps what is better than the seed's effect:
  1. The baseline runs BASELINE_RUNS times. The spread between runs of the same commit, pooled over the study, is the
     noise: sigma with its degrees of freedom, 2 after the baseline and one more for every candidate measured on two new
     seeds.
  2. Screen: a candidate whose first score is not lower than the best's mean by SCREEN standard errors is discarded
     after that one run.
  3. Confirm: a candidate that passes runs on a new seed; when that score is not lower than the best's mean, it is
     discarded. Otherwise it runs on a third seed, and the mean of the two new scores is compared with the best's mean
     by a one-sided test at 5 % with Student's t: sigma is an estimate, and from 3 runs a poor one, which the t points
     (2.92 at 2 degrees of freedom, 1.64 at infinity) take into account. Lower by the margin: keep. Lower, but by less:
     inconclusive, which is rolled back as a discard is.
The first score took part in choosing the candidate, so it is too good on average; it counts neither in the test nor,
after a keep, for the best: what a kept candidate is measured by from then on are its two new scores. Those passed a
test too, which leaves a smaller bias of the same direction: it makes the next keep harder, never easier.

Simulated (tests/unit/test_loop_decide.py, Gaussian noise): 100 experiments that change nothing give 0.5 false keeps on
average and cost 1.26 runs each. With the noise known from the baseline alone an improvement of 4 sigma is kept 87 times
in 100; once 10 more pairs were seen, one of 3 sigma 91 times, one of 2 sigma 62 times.
"""

import math
from dataclasses import dataclass

BASELINE_RUNS = {"confirmed": 3, "strict": 1}
SCREEN = 0.5  # standard errors of (one run - the best's mean): lets 89 % of 2-sigma improvements pass, and 31 % of nothings
# Two scores of the same weights differ by 1e-5 already: logits reach the scorer as float16.
SIGMA_FLOOR = 1e-5

# Student's t, one-sided 5 % points by degrees of freedom (any table of the t distribution).
_T_95 = {
    1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895, 8: 1.860, 9: 1.833, 10: 1.812,
    12: 1.782, 15: 1.753, 20: 1.725, 30: 1.697, 40: 1.684, 60: 1.671, 120: 1.658,
}  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """The standard deviation of val_bpb between seeds, and how well it is known."""

    sigma: float
    dof: int  # degrees of freedom of the estimate


@dataclass(frozen=True)
class Decision:
    verdict: str  # keep, discard, inconclusive, or more: run it on another seed
    reason: str  # one line, with the numbers


def decide(rule: str, best: list[float], noise: Noise | None, scores: list[float]) -> Decision:
    """What to do with a candidate that has `scores` so far (at least one), against the best's scores. Lower is better."""
    if rule == "strict":
        return _strict(best, scores[0])
    assert noise is not None, "a confirmed study's baseline has measured the noise"
    return _confirmed(best, noise, scores)


def fair_scores(rule: str, scores: list[float]) -> list[float]:
    """Those of a candidate's scores that are its measure: without the first, which was what made it be run again."""
    return scores[1:] if rule == "confirmed" and len(scores) > 1 else scores


def pooled_noise(groups: list[list[float]]) -> Noise | None:
    """The noise from groups of scores, each of one commit on several seeds; None when no commit has two.

    A second score is only followed by a third when it is low enough, which leaves the estimate unbiased for a candidate
    that equals the best (a half-normal has the square of the whole) and hardly touches any other.
    """
    dof = sum(len(group) - 1 for group in groups if len(group) > 1)
    if dof == 0:
        return None
    squares = sum((score - mean(group)) ** 2 for group in groups if len(group) > 1 for score in group)
    return Noise(max(math.sqrt(squares / dof), SIGMA_FLOOR), dof)


def mean(scores: list[float]) -> float:
    return math.fsum(scores) / len(scores)


def _strict(best: list[float], score: float) -> Decision:
    gap = mean(best) - score
    if gap > 0:
        return Decision("keep", f"{score:.6f} is lower than the best's {mean(best):.6f} by {gap:.6f}")
    return Decision("discard", f"{score:.6f} is not lower than the best's {mean(best):.6f}")


def _confirmed(best: list[float], noise: Noise, scores: list[float]) -> Decision:
    goal = mean(best)
    first, *new = scores
    if not new:
        screen = SCREEN * noise.sigma * math.sqrt(1 + 1 / len(best))
        if first >= goal - screen:
            return Decision("discard", f"{first:.6f} is not lower than the best's {goal:.6f} by {screen:.6f}")
        return Decision("more", f"{first:.6f} looks better than the best's {goal:.6f}: a new seed must agree")
    if len(new) == 1:
        if new[0] >= goal:
            return Decision("discard", f"a new seed gave {new[0]:.6f}, not lower than the best's {goal:.6f}")
        return Decision("more", f"a new seed gave {new[0]:.6f}, the best has {goal:.6f}: one more")
    gap = goal - mean(new)
    margin = _t_95(noise.dof) * noise.sigma * math.sqrt(1 / len(new) + 1 / len(best))
    numbers = f"mean {mean(new):.6f} of {len(new)} new seeds against {goal:.6f}: lower by {gap:.6f}"
    asked = f"{margin:.6f} asked for (sigma {noise.sigma:.6f}, {noise.dof} degrees of freedom)"
    if gap > margin:
        return Decision("keep", f"{numbers}, {asked}")
    return Decision("inconclusive", f"{numbers}, but {asked}")


def _t_95(dof: int) -> float:
    """The table's point at dof, or at the next smaller one: never too lenient."""
    return _T_95[max(known for known in _T_95 if known <= dof)]
