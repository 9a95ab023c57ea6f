"""Fits the law of val_bpb that `--profile auto` plans by (autoresearch/hardware/autotune/law.toml), and says how far it is off.

    python benchmarks/fit_plan.py [--write]          needs scipy: pip install -e '.[benchmarks]'

Data: this project's own runs (results/runs.jsonl, made by grid.py), autotune's trials of 20 and 60 s (results/auto.jsonl, made by
auto.py) and the published runs that tell sizes, tokens and steps (reference/devices.csv). Each text has a factor of its own
(stdlib's is 1), and so have its first 100 kB, on which trials are scored; all else is shared. Runs of one layer take no part: one
layer can't look for what came before (arXiv 2209.11895), which is no matter of its number of parameters. Own runs of
HELD_OUT_SECONDS and more take no part in the fit either: they are what it is checked on. --write writes law.toml.
"""

import argparse
import csv
import json
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from autoresearch.hardware.autotune.sizes import CAPACITY_EXPONENT, DATA_EXPONENT, LAW, LONGEST, NOISE_EXPONENT

HERE = Path(__file__).parent
OWN_TEXT = "stdlib"
HELD_OUT_SECONDS = 200
SAME_MODEL = 2  # grid.py's CODE, from which on train.py is what it is now
LOSS_SCALE = 0.05  # of the soft L1 loss: a run that is off by more, as a throttled one is, weighs less
# floor, capacity, data, steps, noise; exponents of seq_len, its growth, of vocab_size
START = (0.7, 4.0, 32.0, 20.0, 0.05, 0.0, 0.0, 0.0)
# Published: other programs, other schedules. Trials: many of them, on little text.
WEIGHTS = {"own": 1.0, "trial": 0.5, "published": 0.5}
NAMES = ("floor", "capacity", "data", "steps", "noise", "seq_len_exponent", "seq_len_growth", "vocab_exponent")
SHAPE = ("depth", "width", "seq_len", "vocab_size", "batch")
QUANTITIES = ("depth", "width", "seq_len", "vocab_size", "tokens", "steps")


@dataclass(frozen=True)
class Run:
    kind: str  # of WEIGHTS
    name: str
    corpus: str
    seconds: float
    quantities: dict[str, float]
    val_bpb: float

    @property
    def weight(self) -> float:
        return WEIGHTS[self.kind]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write autoresearch/hardware/autotune/law.toml")
    parser.add_argument("--all", action="store_true", help="fit the longest runs too, which else only check the law")
    options = parser.parse_args()
    runs = [run for run in (*own_runs(), *trials(), *published_runs()) if run.quantities["depth"] > 1]
    fitted = runs if options.all else [run for run in runs if run.seconds < HELD_OUT_SECONDS or run.kind != "own"]
    held_out = [run for run in runs if run not in fitted]
    found, error = fit(fitted), left_out_error(fitted)
    report(fitted, held_out, found, error)
    if options.write:
        LAW.write_text(as_toml(fitted, found, error), encoding="utf-8")


def own_runs() -> list[Run]:
    lines = (HERE / "results" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for table in map(json.loads, lines):
        if table.get("code", 0) < SAME_MODEL or table["set"]:  # another train.py: its scores are others
            continue
        name = "x".join(str(table[key]) for key in SHAPE)
        seconds, quantities = table["train_seconds"], {key: float(table[key]) for key in QUANTITIES}
        found.append(Run("own", f"{name}, {seconds:g} s", table["corpus"], seconds, quantities, table["val_bpb"]))
    return found


def trials() -> list[Run]:
    """Autotune's, and the full trainings of what it took."""
    found = []
    for line in (HERE / "results" / "auto.jsonl").read_text(encoding="utf-8").splitlines():
        table = json.loads(line)
        quantities, seconds = {key: float(table[key]) for key in QUANTITIES}, table["train_seconds"]
        name = f"{'x'.join(str(table[key]) for key in SHAPE)}, {seconds:g} s"
        found.append(Run("own", name, table["corpus"], seconds, quantities, table["val_bpb"]))
        for one in table["trials"]:
            quantities = {key: float(one[key]) for key in QUANTITIES[:-1]} | {"steps": one["tokens"] / one["batch"]}
            name = f"{'x'.join(str(one[key]) for key in SHAPE)}, {one['seconds']:g} s"
            found.append(Run("trial", name, f"{table['corpus']}, 100 kB", one["seconds"], quantities, one["val_bpb"]))
    return found


def published_runs() -> list[Run]:
    """Rows with sizes, a speed or a number of steps, and a score that a trained model can have."""
    lines = (HERE / "reference" / "devices.csv").read_text(encoding="utf-8").splitlines()
    found = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        needed = ("depth", "width", "seq_len", "vocab", "total_batch", "val_bpb")
        if not all(row[key] for key in needed) or not (row["steps"] or row["tok_per_s"]):
            continue
        batch = float(row["total_batch"])
        steps = float(row["steps"] or float(row["tok_per_s"]) * float(row["budget_s"]) / batch)
        if steps < 50:  # 26 steps: not trained
            continue
        quantities = {"depth": row["depth"], "width": row["width"], "seq_len": row["seq_len"], "vocab_size": row["vocab"]}
        quantities = {key: float(value) for key, value in quantities.items()} | {"tokens": steps * batch, "steps": steps}
        seconds, score = float(row["budget_s"]), float(row["val_bpb"])
        found.append(Run("published", row["device"], row["corpus"], seconds, quantities, score))
    return found


def texts(runs: list[Run]) -> list[str]:
    return sorted({run.corpus for run in runs})


@dataclass(frozen=True)
class Found:
    """Coefficients in the order of START, and ln(factor) of each text."""

    values: tuple[float, ...]
    factors: dict[str, float]

    def predict(self, run: Run) -> float:
        floor, capacity, data, steps, noise, seq_len_exponent, seq_len_growth, vocab_exponent = self.values
        q = run.quantities
        params = 12 * q["depth"] * q["width"] ** 2
        total = floor + capacity / params**CAPACITY_EXPONENT + data / q["tokens"] ** DATA_EXPONENT + steps / q["steps"]
        total += noise * (2048 * q["steps"] / q["tokens"]) ** NOISE_EXPONENT
        exponent = seq_len_exponent + seq_len_growth * np.log(min(q["tokens"], LONGEST) / 1e6)
        total *= (q["seq_len"] / 256) ** exponent * (q["vocab_size"] / 2048) ** vocab_exponent
        return total * float(np.exp(self.factors[run.corpus]))


def fit(runs: list[Run]) -> Found:
    """Soft L1 of the relative errors; floor, capacity, data, steps and noise can't be below 0."""
    names = [name for name in texts(runs) if name != OWN_TEXT]

    def unpacked(values) -> Found:
        return Found((*np.exp(values[:5]), *values[5:8]), {OWN_TEXT: 0.0} | dict(zip(names, values[8:], strict=True)))

    def errors(values):
        found = unpacked(values)
        return [np.sqrt(run.weight) * np.log(found.predict(run) / run.val_bpb) for run in runs]

    start = [*np.log(START[:5]), *START[5:], *(0.2 for _ in names)]
    return unpacked(least_squares(errors, start, loss="soft_l1", f_scale=LOSS_SCALE).x)


def left_out_error(runs: list[Run]) -> tuple[float, float]:
    """(mean, median) relative error of the own runs, each predicted from all others."""
    errors = []
    for run in runs:
        if (run.kind, run.corpus) == ("own", OWN_TEXT):
            errors.append(abs(fit([one for one in runs if one is not run]).predict(run) / run.val_bpb - 1))
    return statistics.mean(errors), statistics.median(errors)


def report(fitted: list[Run], held_out: list[Run], found: Found, error: tuple[float, float]) -> None:
    print(" ".join(f"{name} {value:.4g}" for name, value in zip(NAMES, found.values, strict=True)), found.factors)
    print(f"own runs, each left out: mean error {error[0]:.1%}, median {error[1]:.1%}")
    for title, runs in (("fitted", fitted), ("held out", held_out)):
        for run in runs:
            value = found.predict(run)
            off = value / run.val_bpb - 1
            print(f"{title:<9} {run.corpus:<12} {run.name:<40} {run.val_bpb:.4f} predicted {value:.4f} {off:+.1%}")


def as_toml(fitted: list[Run], found: Found, error: tuple[float, float]) -> str:
    ranges = {key: sorted(run.quantities[key] for run in fitted) for key in ("depth", "width", "seq_len", "vocab_size")}
    ranges["batch_tokens"] = sorted(run.quantities["tokens"] / run.quantities["steps"] for run in fitted)
    counts = Counter(run.kind for run in fitted)
    lines = [
        "# The law of sizes.py. Written by `python benchmarks/fit_plan.py --write`:",
        f"# {counts['own']} runs (benchmarks/results/runs.jsonl) and {counts['trial']} trials (auto.jsonl) of this project,",
        f"# {counts['published']} published runs",
        "# (benchmarks/reference/devices.csv), which have a factor of their own for each text.",
        *(f"{name} = {value:.4f}" for name, value in zip(NAMES, found.values, strict=True)),
        f"error = {error[1]:.4f}  # relative: the median over the project's runs, each left out of the fit",
        "",
        "[ranges]  # of the runs it was fitted to",
        *(f"{key} = [{values[0]:.0f}, {values[-1]:.0f}]" for key, values in ranges.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
