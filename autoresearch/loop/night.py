"""A study without processes, for what a keep rule is worth: how often it keeps nothing, what it sees, what it costs. Pure.

Scores come from a function. What is decided, and what runs again, is asked of the functions that the real loop asks (decide.py),
in the same order (loop.py).
"""

import random
from collections.abc import Callable
from typing import Any

from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Noise, fair_scores, noise_group, pooled_noise
from autoresearch.study import decide
from autoresearch.study.decide import Rule


class Night:
    """score(candidate) is one run of it; lower is better. A candidate is whatever score takes: a level, a text.

    best_runs: of the start, before the first experiment; other_runs: of other commits with the same noise, so many of each.
    """

    def __init__(
        self, rule: Rule, score: Callable[[Any], float], start: Any, best_runs: int | None = None, other_runs: tuple[int, ...] = (),
        metric: Metric = VAL_BPB,
    ):  # fmt: skip
        self.rule, self.score, self.metric = rule, score, metric
        self.runs = 0
        self.best = start
        self.scores = self._run_often(start, best_runs or decide.BASELINE_RUNS[rule])  # of the best, up to its verdict
        self.again: list[float] = []  # and since then
        self.was_chosen = False
        self.last: list[float] = []  # of the last experiment
        self._groups = [self._run_often(start, count) for count in other_runs if count > 1]

    @property
    def noise(self) -> Noise | None:
        return pooled_noise([*self._groups, noise_group(self.scores, self.again, self.was_chosen)], self.metric)

    @property
    def reported(self) -> list[float]:
        """The scores that the best is reported by."""
        return fair_scores(self.scores, self.again, self.was_chosen)

    def experiment(self, candidate: Any) -> str:
        """Its verdict."""
        self.last = scores = [self._run(candidate)]
        while (verdict := self.judge(scores)) in ("more", "again"):
            if verdict == "again":
                self.again.append(self._run(self.best))
            else:
                scores.append(self._run(candidate))
        if verdict == "keep":
            self._groups.append(noise_group(self.scores, self.again, self.was_chosen))
            self.best, self.scores, self.was_chosen = candidate, scores, True
            self.again = self._run_often(candidate, self.checks)
        return verdict

    @property
    def checks(self) -> int:
        return decide.CHECK_RUNS[self.rule]

    def judge(self, scores: list[float]) -> str:
        return decide.decide(self.rule, self.scores + self.again, self.noise, scores, metric=self.metric).verdict

    def _run(self, candidate: Any) -> float:
        self.runs += 1
        return self.score(candidate)

    def _run_often(self, candidate: Any, count: int) -> list[float]:
        return [self._run(candidate) for _ in range(count)]


def gaussian(rng: random.Random) -> Callable[[float], float]:
    """For a Night whose candidates are levels, in units of the noise's sigma."""
    return lambda level: rng.gauss(level, 1.0)


def seen_gain(rule: Rule, best_runs: int, other_runs: tuple[int, ...], power: float = 0.8, nights: int = 600) -> float:
    """The smallest gain, in sigma and to about 0.1, that the rule keeps with that power when so many runs are known."""

    def share_kept(gain: float) -> float:
        studies = (Night(rule, gaussian(random.Random(seed)), 0.0, best_runs, other_runs) for seed in range(nights))
        return sum(study.experiment(-gain) == "keep" for study in studies) / nights

    low, high = 0.0, 20.0
    while high - low > 0.05:
        middle = (low + high) / 2
        low, high = (low, middle) if share_kept(middle) >= power else (middle, high)
    return high
