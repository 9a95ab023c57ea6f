"""A limit is judged by noisy figures: what becomes of a candidate whose true figure lies near it, by several rules.

    python benchmarks/limits.py [--draws N]

The candidate's score wins, so that its figure alone decides; a keep is made from 5 runs (decide.LEAST_RUNS). The figure's noise is
log-normal with a relative standard deviation of SIGMA, of which the study knows an estimate alone: from 3 runs of the baseline
(2 degrees of freedom), or from a baseline and some keeps (12). A stall makes one run in twenty half as slow again.
Prints, for a true figure so many SIGMA above (+) or below (-) the limit: the share that passes, and the runs that it costs.
"""

import argparse

import numpy as np

from autoresearch.loop.next_step import SLACK
from autoresearch.study.decide import LEAST_RUNS

SIGMA = 0.05
OFFSETS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
Rule = tuple[bool, float]  # the median decides, else each run; how many spreads a look before the last lets pass
RULES: dict[str, Rule] = {
    "every run within": (False, 0.0),
    "median at each look": (True, 0.0),
    f"median, {SLACK:g} spreads let pass before the last": (True, SLACK),
    "median, at the last look alone": (True, np.inf),
}


def simulate(rule: Rule, offset: float, dof: int, stalls: float, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """(share that passes, mean runs)."""
    uses_median, slack = rule
    logs = SIGMA * (offset + rng.standard_normal((draws, LEAST_RUNS))) + np.log(1.5) * (rng.random((draws, LEAST_RUNS)) < stalls)
    spread = SIGMA * np.sqrt(rng.chisquare(dof, draws) / dof)
    alive, runs = np.ones(draws, bool), np.zeros(draws)
    for n in range(1, LEAST_RUNS + 1):
        runs += alive
        figure = np.median(logs[:, :n], axis=1) if uses_median else logs[:, :n].max(axis=1)
        allowed = np.zeros(draws) if n == LEAST_RUNS or not slack else np.log1p(slack * spread)
        alive &= figure <= allowed
    return float(alive.mean()), float(runs.mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=200_000)
    draws = parser.parse_args().draws
    rng = np.random.default_rng(0)
    for dof, stalls in ((2, 0.0), (12, 0.0), (2, 0.05)):
        print(f"\n{dof} degrees of freedom, stalls in {stalls:.0%} of the runs: passes, runs\n")
        print("| rule | " + " | ".join(f"{offset:+g}" for offset in OFFSETS) + " |")
        print("|---" * (len(OFFSETS) + 1) + "|")
        for name, rule in RULES.items():
            cells = (simulate(rule, offset, dof, stalls, draws, rng) for offset in OFFSETS)
            print(f"| {name} | " + " | ".join(f"{100 * passed:.1f} %, {runs:.1f}" for passed, runs in cells) + " |")


if __name__ == "__main__":
    main()
