"""From numbers to keep, discard, or "run it again". Pure: no files, no clock, no randomness.

`strict` is the plain ratchet: any better number is kept. Where the seed alone moves the score, that keeps noise.

`confirmed` (default) keeps what is better than the seed's effect, by a sequential test:
  1. The baseline runs BASELINE_RUNS times. The spread between runs of one commit, pooled over the baseline and what was kept, is
     the noise: sigma with its degrees of freedom.
  2. After each run, the mean of the candidate's scores is compared with the mean of the best's. A first run has to be better by
     SCREEN standard errors of the difference, else the candidate is discarded: a loser costs one run. From the second run on the
     lead has to be at least half of AIM sigma, less an allowance that shrinks as more is known (Wald's lower line).
  3. From LEAST_RUNS on, two bounds have to be passed for a keep, both points of Student's t since spreads are estimates:
     - The noise: KEEP standard errors of the difference, the best's from its own spread where that is larger than sigma.
     - The candidate's own spread: OWN standard errors of its mean, by its own scores alone. A candidate chooses its spread, so
       no other's may stand for it. A lucky first score, which let it in, raises the mean and that standard error alike: alone it
       is worth 1 standard error, however lucky.
     Where the metric has a least gain that is worth a keep, that is a third bound, also of `strict`; and a candidate that falls
     short of it by KEEP standard errors is discarded, since more runs would not bring it there.
  4. In between more is measured, on new seeds: the best again (`again`) while it has fewer than BEST_EXTRA runs more than the
     candidate and the noise may be what holds it back, else the candidate (`more`). The best's runs count from then on against
     every candidate. After MAX_RUNS without a decision it is inconclusive, which is rolled back as a discard is.
  5. What was kept runs CHECK_RUNS times more. The scores that made it a keep were chosen by chance too, so they are too good.
     They take part in later tests, where they make the next keep harder, never easier; but what is reported of a kept commit
     (`fair_scores` in noise.py) are the runs since then alone.

The constants were chosen by simulation, and the error rates are simulated with these same functions (benchmarks/decide.py,
docs/design/noise.md): fewer than 1 false keep in 100 experiments that change nothing but the spread, and a gain of 2 sigma kept
4 times in 5. Not covered: a candidate that is slightly better in most runs and far worse in few. As many runs as there are see
that only with luck.
"""

import math
from dataclasses import dataclass
from typing import Literal

from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Noise, mean, student_t, variance

Rule = Literal["confirmed", "strict"]

BASELINE_RUNS: dict[Rule, int] = {"confirmed": 3, "strict": 1}
SCREEN = 0.6  # standard errors
AIM, SLACK = 2.0, 0.55  # sigma: the gain that the test is made for; the allowance where the information is 1 run
KEEP, OWN = 2.4, 2.95  # standard errors, for the normal distribution: by the noise, by the candidate's own spread
LEAST_RUNS, MAX_RUNS = 5, 11  # of a candidate: to be kept; in all
BEST_EXTRA = 2
FALSE_KEEP_SHARE = 0.005  # of `confirmed`, simulated (docs/design/noise.md): the most of any spread that was tried
CHECK_RUNS: dict[Rule, int] = {"confirmed": 2, "strict": 0}  # of a kept commit, before the next experiment
# The most trainings that one experiment may cost: its own, those of the best on its behalf, and the check.
MOST_RUNS: dict[Rule, int] = {"confirmed": 2 * MAX_RUNS + BEST_EXTRA + CHECK_RUNS["confirmed"], "strict": 1}


@dataclass(frozen=True)
class Decision:
    # more: run the candidate on a new seed; again: run the best on a new seed
    verdict: Literal["keep", "discard", "inconclusive", "more", "again"]
    reason: str  # one line, with the numbers


def decide(
    rule: Rule, best: list[float], noise: Noise | None, scores: list[float], can_rerun: bool = True, metric: Metric = VAL_BPB
) -> Decision:  # fmt: skip
    """What to do with a candidate that has `scores` so far (at least one), against the best's scores. Lower is better.

    can_rerun: whether the best can be run again; without that the test goes on with what is known of it.
    """
    if rule == "strict":
        return _strict(best, scores[0], metric)
    assert noise is not None, "a confirmed study's baseline has measured the noise"
    return _confirmed(best, noise, scores, can_rerun, metric)


def _strict(best: list[float], score: float, metric: Metric) -> Decision:
    gap, least = mean(best) - score, metric.least_gain
    found, than = metric.text(score), f"than the best's {metric.text(mean(best))}"
    if gap <= 0:
        return Decision("discard", f"{found} is not {metric.better} {than}")
    if gap < least:
        return Decision("discard", f"{found} is {metric.better} {than} by {metric.amount(gap)}, and {_least(metric)}")
    return Decision("keep", f"{found} is {metric.better} {than} by {metric.amount(gap)}")


def _least(metric: Metric) -> str:
    return f"{metric.amount(metric.least_gain)} is the least gain worth a keep"


def _confirmed(best: list[float], noise: Noise, scores: list[float], can_rerun: bool, metric: Metric) -> Decision:
    n, m = len(scores), len(best)
    root = math.sqrt(n * m / (n + m))  # of the information
    gap, least = mean(best) - mean(scores), metric.least_gain
    lower = SCREEN * noise.sigma / root if n == 1 else noise.sigma * (AIM / 2 - SLACK / root**2)
    lower = max(lower, least - KEEP * noise.sigma / root)
    runs = f"{metric.text(mean(scores))} is the mean of {n} runs" if n > 1 else metric.text(scores[0])
    side = metric.better if gap > 0 else metric.worse
    summary = f"{runs} against the best's {metric.text(mean(best))} of {m}: {side} by {metric.amount(abs(gap))}"
    known = f"sigma {metric.amount(noise.sigma)}, {noise.dof} degrees of freedom"
    if gap < lower:
        return Decision("discard", f"{summary}, and {metric.amount(lower)} is asked for to go on ({known})")
    by_noise = by_spread = math.inf
    if n >= LEAST_RUNS:
        by_noise = student_t(KEEP, noise.dof) * math.sqrt(noise.sigma**2 / n + max(noise.sigma**2, variance(best)) / m)
        by_spread = student_t(OWN, n - 1) * math.sqrt(variance(scores) / n)
    bounds = f"{metric.amount(by_noise)} is asked for by the noise ({known}) and {metric.amount(by_spread)} by its own spread"
    bounds += f"; {_least(metric)}" if least else ""
    if gap > max(by_noise, by_spread) and gap >= least:
        return Decision("keep", f"{summary}; {bounds}")
    if can_rerun and m < n + BEST_EXTRA and gap <= by_noise:
        return Decision("again", f"{summary}: the best runs again")
    if n < MAX_RUNS:
        return Decision("more", f"{summary}: a new seed must agree")
    return Decision("inconclusive", f"{summary}, but {bounds}")
