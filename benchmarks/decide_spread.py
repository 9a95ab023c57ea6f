"""What a candidate's own spread does to the rule `confirmed`: nulls that are wilder than the baseline, gamblers, a wild best.

    python benchmarks/decide.py             all of it, with the table of the rules
    python benchmarks/decide_spread.py [--nights 100] [--set OWN=0 ...]     this part alone, also with other constants of
                                                                            decide.py; writes nothing

All in units of the baseline's sigma, by the functions that the loop calls (autoresearch/loop/night.py). A null has the best's mean;
only its spread, or the shape of it, is another. Whatever of them is kept is a false keep.
"""

import argparse
import random
from collections.abc import Callable
from itertools import starmap
from typing import NamedTuple

from autoresearch.loop.night import Night
from autoresearch.study import decide

Draw = Callable[[random.Random], float]


class Idea(NamedTuple):
    level: float  # the mean of its scores
    spread: float = 1.0
    draw: Draw | None = None  # of a score about the level, where it is not normal


def study(rng: random.Random, is_known: bool = False) -> Night:
    """Fresh: the baseline ran 3 times. is_known: 9 times, and ten other commits 3 times each."""
    known = {"best_runs": 9, "other_runs": (3,) * 10} if is_known else {}

    def score(idea: Idea) -> float:
        return idea.level + (idea.draw(rng) if idea.draw else rng.gauss(0.0, idea.spread))

    return Night("confirmed", score, Idea(0.0), **known)


def two_point(share: float, low: float) -> Draw:
    """Mean 0: that share of the runs is at `low`, the others are as much too high; sigma 1 about either."""
    return lambda rng: rng.gauss(low if rng.random() < share else -low * share / (1 - share), 1.0)


def lucky_first(low: float) -> Callable[[random.Random], Draw]:
    """The first run is at `low`, each later one a null."""

    def fresh(rng: random.Random) -> Draw:
        runs = iter([low])
        return lambda rng: rng.gauss(next(runs, 0.0), 1.0)

    return fresh


def fixed_seed(rng: random.Random) -> Draw:
    """A train.py that ignores its seed: the luck of one seed, each time again."""
    level = rng.gauss(0.0, 1.0)
    return lambda rng: level


RATIOS: dict[str, tuple[float, ...]] = {
    "0.2": (0.2,),
    "1": (1.0,),
    "2": (2.0,),
    "3": (3.0,),
    "5": (5.0,),
    "10": (10.0,),
    "100": (100.0,),
}
RATIOS["1, 2, 5 or 10"] = (1.0, 2.0, 5.0, 10.0)
GAMBLERS: dict[str, Callable[[random.Random], Draw]] = {
    **{f"first run at -{low:g}, then a null": lucky_first(-low) for low in (2.0, 4.0, 8.0)},
    "20 % of runs at -4": lambda rng: two_point(0.2, -4.0),
    "20 % of runs at -8": lambda rng: two_point(0.2, -8.0),
    "50 % of runs at -5": lambda rng: two_point(0.5, -5.0),
    "50 % of runs at -10": lambda rng: two_point(0.5, -10.0),
    "80 % of runs at -2": lambda rng: two_point(0.8, -2.0),
    "90 % of runs at -2": lambda rng: two_point(0.9, -2.0),
    "seed ignored": fixed_seed,
}


def night_of_nulls(ratios: tuple[float, ...], experiments: int, seed: int) -> tuple[int, int, int]:
    """(tried, kept, runs): a night of nothing else."""
    rng = random.Random(f"nulls {ratios} {seed}")
    night = study(rng)
    before = night.runs
    kept = sum(night.experiment(Idea(0.0, rng.choice(ratios))) == "keep" for _ in range(experiments))
    return experiments, kept, night.runs - before


def single(name: str, gain: float, is_known: bool, seed: int) -> tuple[int, int, int]:
    """(1, kept, runs): one experiment, a ratio or a gambler, against the baseline."""
    rng = random.Random(f"single {name} {seed}")
    night = study(rng, is_known)
    before = night.runs
    draw = GAMBLERS[name](rng) if name in GAMBLERS else None
    idea = Idea(-gain, 1.0 if draw else rng.choice(RATIOS[name]), draw)
    return 1, night.experiment(idea) == "keep", night.runs - before


def after_wild_best(ratio: float, seed: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(tried, kept) of three kinds, after a commit of that spread was kept for a gain of three times its spread.

    Nulls as narrow as the baseline and as wide as that best, until one is kept; a narrow one that gains twice that spread, up to
    ten times; and, once that is kept, five gains of 2 sigma.
    """
    rng = random.Random(f"wild {ratio} {seed}")
    night = study(rng)
    level = -3 * ratio
    while night.experiment(Idea(level, ratio)) != "keep":
        pass
    rows = [[0, 0], [0, 0], [0, 0]]

    def tried(row: list[int], idea: Idea) -> bool:
        row[0] += 1
        row[1] += (kept := night.experiment(idea) == "keep")
        return kept

    any(tried(rows[0], Idea(level, rng.choice((1.0, ratio)))) for _ in range(30))
    if any(tried(rows[1], Idea(level - 2 * ratio)) for _ in range(10)):
        for _ in range(5):
            tried(rows[2], Idea(night.best.level - 2.0))
    return tuple(map(tuple, rows))


def tables(nights: int, experiments: int, spread_over: Callable = starmap) -> dict:
    """spread_over: itertools.starmap, or that of a pool. A single experiment is tried 40 times as often as there are nights."""

    def of(function: Callable, count: int, *options) -> dict:
        rows = list(spread_over(function, [(*options, seed) for seed in range(count)]))
        tried, kept, runs = (sum(row[k] for row in rows) for k in range(3))
        return {"kept_percent": 100 * kept / tried, "runs_per_experiment": runs / tried, "experiments": tried}

    def singles(names: list[str], gain: float) -> dict:
        knowledge = (("fresh", False), ("known", True))
        return {name: {word: of(single, 40 * nights, name, gain, known) for word, known in knowledge} for name in names}

    found = {
        "nights_of_nulls": {name: of(night_of_nulls, nights, ratios, experiments) for name, ratios in RATIOS.items()},
        "single_nulls": singles([*RATIOS, *GAMBLERS], 0.0),
        "single_gain_2_sigma": singles(["0.2", "1", "2"], 2.0),
        "after_wild_best": {},
    }
    for ratio in (5.0, 10.0, 30.0):
        rows = list(spread_over(after_wild_best, [(ratio, seed) for seed in range(nights)]))
        sums = [[sum(row[kind][k] for row in rows) for k in range(2)] for kind in range(3)]
        names = ("nulls_kept_percent", "gain_of_twice_its_spread_kept_percent", "later_gains_of_2_sigma_kept_percent")
        found["after_wild_best"][f"{ratio:g}"] = {name: 100 * kept / tried for name, (tried, kept) in zip(names, sums, strict=True)}
    return found


def show(found: dict) -> None:
    print(f"\n{'spread of every null / sigma':<36}{'kept %, nights of nulls':>24}{'runs':>7}")
    for name, row in found["nights_of_nulls"].items():
        print(f"{name:<36}{row['kept_percent']:>24.2f}{row['runs_per_experiment']:>7.2f}")
    for part, title in (("single_nulls", "one null"), ("single_gain_2_sigma", "one gain of 2 sigma")):
        print(f"\n{title + ' alone':<36}{'kept %, fresh':>24}{'runs':>7}{'kept %, known':>16}{'runs':>7}")
        for name, row in found[part].items():
            cells = [f"{row[known][key]:.2f}" for known in ("fresh", "known") for key in ("kept_percent", "runs_per_experiment")]
            print(f"{name:<36}{cells[0]:>24}{cells[1]:>7}{cells[2]:>16}{cells[3]:>7}")
    for ratio, row in found["after_wild_best"].items():
        words = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in row.items())
        print(f"\nafter a best of spread {ratio}: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    for name, value in (words.split("=") for words in options.set):
        setattr(decide, name, type(getattr(decide, name))(value))
    show(tables(options.nights, options.experiments))


if __name__ == "__main__":
    main()
