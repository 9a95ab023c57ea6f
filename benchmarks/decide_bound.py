"""What no keep rule can beat: the fewest runs for a power and a share of false keeps, were the best's level and sigma known.

    python benchmarks/decide_bound.py

One candidate, on the mix of ideas of benchmarks/decide.py, whose scores are normal around its level; a keep needs two runs. The
rule that minimises runs + PRICE_FALSE x (nulls kept) - PRICE_GAIN x (2 sigma ones kept) is found by backward induction over the
sum of the scores, and then played. A real rule has to learn the level after every keep, and sigma, and checks what it kept.
"""

import numpy as np
from decide import MIX, WORSE_MEAN

MOST, GRID = 8, np.linspace(-8, 30, 1521)  # runs of a candidate; sums of its gains, in sigma
PLAYED = 200_000
PRICES = [(false, gain) for false in (2, 3, 4) for gain in (0.2, 0.3, 0.5, 0.7, 0.85)]


def ideas() -> tuple[np.ndarray, np.ndarray]:
    """(gains, shares): the mix, its exponential part at 40 quantiles."""
    gains, shares = [], []
    for idea, share in MIX:
        found = WORSE_MEAN * np.log1p(-(np.arange(40) + 0.5) / 40) if idea == "worse" else np.array([idea])
        gains += found.tolist()
        shares += [share / len(found)] * len(found)
    return np.array(gains), np.array(shares)


def solve(price_false: float, price_gain: float) -> list[np.ndarray]:
    """For each number of runs: 0 discard, 1 go on, 2 keep, on GRID."""
    gains, shares = ideas()
    steps = np.linspace(-6, 6, 241)
    weights = np.exp(-(steps**2) / 2)
    weights /= weights.sum()
    rules, value = [], None
    for n in range(MOST, 0, -1):
        # Likelihood ratios against a gain of 0, under which GRID's sums are normal.
        ratio = np.exp(np.clip(np.outer(gains, GRID) - n * gains[:, None] ** 2 / 2, -60, 60))
        keep = price_false * ratio[gains == 0][0] - price_gain * ratio[gains == 2][0] if n > 1 else np.full_like(GRID, np.inf)
        go_on = np.full_like(GRID, np.inf)
        if value is not None:
            go_on = shares @ ratio + weights @ np.array([np.interp(GRID + step, GRID, value) for step in steps])
        value = np.minimum(np.minimum(keep, go_on), 0)
        rules.insert(0, np.where(value == go_on, 1, np.where(value == keep, 2, 0)))
    return rules


def play(rules: list[np.ndarray], gains: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """(share kept, runs) of candidates of those gains [PLAYED]."""
    sums, runs, alive, kept = np.zeros(PLAYED), np.zeros(PLAYED), np.ones(PLAYED, bool), np.zeros(PLAYED, bool)
    for rule in rules:
        sums += np.where(alive, rng.standard_normal(PLAYED) + gains, 0)
        runs += alive
        action = rule[np.clip(np.round((sums - GRID[0]) / (GRID[1] - GRID[0])), 0, len(GRID) - 1).astype(int)]
        kept |= alive & (action == 2)
        alive &= action == 1
    return float(kept.mean()), float(runs.mean())


def main() -> None:
    rng = np.random.default_rng(0)
    print("false keeps / 100 nulls   power 2 sigma %   runs an experiment   of a null")
    for prices in PRICES:
        rules = solve(*prices)
        runs = 0.0
        for idea, share in MIX:
            gains = -rng.exponential(WORSE_MEAN, PLAYED) if idea == "worse" else np.full(PLAYED, idea)
            share_kept, mean_runs = play(rules, gains, rng)
            runs += share * mean_runs
            if idea == 0.0:
                false_keeps, null_runs = share_kept, mean_runs
            if idea == 2.0:
                power = share_kept
        print(f"{100 * false_keeps:>23.2f}{100 * power:>18.1f}{runs:>21.3f}{null_runs:>12.2f}")


if __name__ == "__main__":
    main()
