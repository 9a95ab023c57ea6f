"""False keeps, power, runs and bias of the keep rules, by nights that are simulated with the functions that the loop itself calls.

    python benchmarks/decide.py [--nights 500] [--experiments 100] [--processes 1] [--out benchmarks/results/decide.json]
    python benchmarks/decide.py --nights 100 --out /tmp/decide.json         a look at all of it in about a minute
    python benchmarks/decide.py --curve [--nights 900]      what power costs: the same rule with other constants; writes nothing

A run's score is the level of its train.py plus normal noise, as on the null backend (landscape.noise_bpb), in units of its sigma.
`strict` keeps any lower number. `three runs` is the common bootstrap: a lower number is run twice more, and kept when the mean of
the three is lower than the best's, which is never measured again. `confirmed` is ours (autoresearch/study/decide.py).

Candidates there have the baseline's spread; decide_spread.py, whose tables are part of this, has those that have another.

Nights: `nulls` has experiments that change nothing. `realistic` is drawn from MIX: most ideas make it worse, few are good.
"""

import argparse
import functools
import json
import multiprocessing
import random
import time
from collections import defaultdict
from pathlib import Path

import decide_spread

from autoresearch.loop.night import Night, gaussian
from autoresearch.noise import mean
from autoresearch.study import decide

# Share of the ideas, and what they are worth in sigma; `worse` is exponential with a mean of 4 sigma. In a published night of 125
# experiments on an H100, 22 looked better, and 8 by more than the seed's sigma.
MIX = (("worse", 0.60), (0.0, 0.30), (1.0, 0.03), (2.0, 0.03), (3.0, 0.02), (6.0, 0.02))
WORSE_MEAN = 4.0
# For --curve: constants of decide.py. The first are the shipped ones.
CONSTANTS = ("SCREEN", "SLACK", "KEEP", "OWN", "LEAST_RUNS", "MAX_RUNS")
SETTINGS = (
    (0.6, 0.55, 2.4, 2.95, 5, 11), (0.8, 0.55, 2.4, 2.95, 5, 11), (0.8, 0.35, 2.4, 2.9, 4, 9), (1.0, 0.2, 2.4, 2.85, 4, 8),
    (1.25, 0.1, 2.35, 2.8, 3, 7), (1.5, 0.0, 2.3, 2.75, 3, 6),
)  # fmt: skip


class ThreeRuns(Night):
    """The common bootstrap, on the same scores."""

    checks = 0

    def judge(self, scores: list[float]) -> str:
        if mean(scores) >= mean(self.scores):
            return "discard"
        return "more" if len(scores) < 3 else "keep"

    @property
    def reported(self) -> list[float]:
        return self.scores


def draw(rng: random.Random, kind: str) -> float | str:
    """The kind of an idea in a night of that kind."""
    return 0.0 if kind == "nulls" else rng.choices([name for name, _ in MIX], [share for _, share in MIX])[0]


def night(rule: str, kind: str, experiments: int, seed: int, noise_runs: int = 0) -> dict:
    """What happened, by kind of idea: [tried, kept, runs]; and how wrong the best was reported."""
    rng = random.Random(f"{rule} {kind} {seed} {noise_runs}")
    of_rule = ThreeRuns if rule == "three runs" else Night
    study = of_rule("strict" if rule == "three runs" else rule, gaussian(rng), 0.0, noise_runs or None)
    table = defaultdict(lambda: [0, 0, 0])
    for _ in range(experiments):
        idea, before = draw(rng, kind), study.runs
        verdict = study.experiment(study.best - (-rng.expovariate(1 / WORSE_MEAN) if idea == "worse" else idea))
        row = table[idea]
        row[0] += 1
        row[1] += verdict == "keep"
        row[2] += study.runs - before
    error = mean(study.reported) - study.best
    noise = study.noise
    return {
        "ideas": dict(table), "kept": study.was_chosen, "error": error, "reported_runs": len(study.reported),
        "sigma": noise and noise.sigma, "dof": noise and noise.dof, "gain": -study.best,
    }  # fmt: skip


def summary(nights: list[dict]) -> dict:
    ideas: dict = defaultdict(lambda: [0, 0, 0])
    for one in nights:
        for idea, row in one["ideas"].items():
            ideas[idea] = [a + b for a, b in zip(ideas[idea], row, strict=True)]
    tried, kept, runs = (sum(row[k] for row in ideas.values()) for k in range(3))
    moved = [one for one in nights if one["kept"]]
    found = {
        "experiments": tried,
        "runs_per_experiment": runs / tried,
        "runs_per_keep": runs / kept if kept else None,
        "false_keeps_per_100_nulls": 100 * ideas[0.0][1] / ideas[0.0][0],
        "runs_per_null": ideas[0.0][2] / ideas[0.0][0],
        "gain_per_run_sigma": sum(one["gain"] for one in nights) / runs,
    }
    for idea, row in ideas.items():
        if idea == "worse":
            found |= {"worse_kept_percent": 100 * row[1] / row[0], "runs_per_worse": row[2] / row[0]}
        elif idea:
            found[f"power_{idea:g}_sigma_percent"] = 100 * row[1] / row[0]
            found[f"runs_per_{idea:g}_sigma"] = row[2] / row[0]
    if moved:
        errors = [one["error"] for one in moved]
        bias = sum(errors) / len(errors)
        found |= {
            "bias_of_reported_best_sigma": bias,
            "rms_error_of_reported_best_sigma": (sum(error**2 for error in errors) / len(errors)) ** 0.5,
            "printed_error_of_reported_best_sigma": sum(one["reported_runs"] ** -0.5 for one in moved) / len(moved),
        }
    return found


ROWS = (
    ("false keeps / 100 nulls", "false_keeps_per_100_nulls", ".2f"), ("power 1 sigma %", "power_1_sigma_percent", ".1f"),
    ("power 2 sigma %", "power_2_sigma_percent", ".1f"), ("power 3 sigma %", "power_3_sigma_percent", ".1f"),
    ("worse ones kept %", "worse_kept_percent", ".2f"), ("runs an experiment", "runs_per_experiment", ".2f"),
    ("runs a null", "runs_per_null", ".2f"), ("runs a worse one", "runs_per_worse", ".2f"),
    ("runs a 2 sigma one", "runs_per_2_sigma", ".2f"), ("runs a keep", "runs_per_keep", ".1f"),
    ("bias of the best, sigma", "bias_of_reported_best_sigma", "+.2f"),
    ("its printed error, sigma", "printed_error_of_reported_best_sigma", ".2f"),
    ("its rms error, sigma", "rms_error_of_reported_best_sigma", ".2f"), ("true gain a run, sigma", "gain_per_run_sigma", ".3f"),
)  # fmt: skip


def curve(nights: int, experiments: int) -> None:
    print("".join(f"{name:>11}" for name in CONSTANTS) + "   power 2 sigma %   runs an experiment   false keeps / 100 nulls")
    for setting in SETTINGS:
        for name, value in zip(CONSTANTS, setting, strict=True):
            setattr(decide, name, value)
        found = summary([night("confirmed", "realistic", experiments, seed) for seed in range(nights)])
        power, runs = found["power_2_sigma_percent"], found["runs_per_experiment"]
        words = "".join(f"{value:>11}" for value in setting)
        print(f"{words}{power:>18.1f}{runs:>21.2f}{found['false_keeps_per_100_nulls']:>26.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=500)
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--noise-runs", type=int, default=10, help="of `autoresearch noise` before the night, in the last column")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "decide.json")
    parser.add_argument("--curve", action="store_true", help="what power costs")
    options = parser.parse_args()
    if options.curve:
        return curve(options.nights, options.experiments)
    columns = [(rule, kind, 0) for kind in ("nulls", "realistic") for rule in ("strict", "three runs", "confirmed")]
    columns.append(("confirmed", "realistic", options.noise_runs))
    of_spreads = max(options.nights // 5, 1)  # nights of decide_spread.py
    counts = {"nights": options.nights, "nights_of_spreads": of_spreads, "experiments": options.experiments}
    table = counts | {"mix": MIX, "worse_mean": WORSE_MEAN, "columns": {}}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for rule, kind, noise_runs in columns:
            start = time.perf_counter()
            jobs = [(rule, kind, options.experiments, seed, noise_runs) for seed in range(options.nights)]
            name = f"{rule}, {kind}" + (f", {noise_runs} runs known" if noise_runs else "")
            table["columns"][name] = summary(pool.starmap(night, jobs, chunksize=100))
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        over_pool = functools.partial(pool.starmap, chunksize=50)
        table["spreads"] = decide_spread.tables(of_spreads, options.experiments, over_pool)
    width = 16
    for part in range(3):
        heads = [[*name.split(", "), "", ""][part] for name in table["columns"]]
        print(" " * 26 + "".join(f"{head:>{width}}" for head in heads))
    for title, key, form in ROWS:
        cells = [f"{found[key]:{form}}" if found.get(key) is not None else "" for found in table["columns"].values()]
        print(f"{title:<26}" + "".join(f"{cell:>{width}}" for cell in cells))
    decide_spread.show(table["spreads"])
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
