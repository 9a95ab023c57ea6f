"""Fits the law of val_bpb that `--profile auto` plans by (autoresearch/hardware/law.toml), and says how far it is off.

    python benchmarks/fit_plan.py [--write]

Data: this project's own runs (results/runs.jsonl, made by grid.py) and the published ones that tell sizes, tokens and steps
(reference/devices.csv). Each text has a constant of its own; floor and exponents are shared. The floor is the one of FLOORS whose
runs left out one at a time are predicted best. Runs of HELD_OUT_SECONDS and more take no part in the fit: they are what it is
checked on. --write writes law.toml.
"""

import argparse
import csv
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoresearch.hardware.sizes import LAW

HERE = Path(__file__).parent
OWN_TEXT = "stdlib"
HELD_OUT_SECONDS = 200
FLOORS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7)
PUBLISHED_WEIGHT = 0.5  # of a row: other programs, other schedules
QUANTITIES = ("depth", "width", "seq_len", "vocab_size", "tokens", "steps")


@dataclass(frozen=True)
class Run:
    name: str
    corpus: str
    seconds: float
    quantities: dict[str, float]
    val_bpb: float
    weight: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write autoresearch/hardware/law.toml")
    options = parser.parse_args()
    runs = [*own_runs(), *published_runs()]
    fitted = [run for run in runs if run.seconds < HELD_OUT_SECONDS or run.corpus != OWN_TEXT]
    held_out = [run for run in runs if run not in fitted]
    floor = min(FLOORS, key=lambda value: left_out_error(fitted, value)[0])
    coefficients = fit(fitted, floor)
    report(fitted, held_out, floor, coefficients)
    if options.write:
        LAW.write_text(as_toml(fitted, held_out, floor, coefficients), encoding="utf-8")


def own_runs() -> list[Run]:
    lines = (HERE / "results" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for table in map(json.loads, lines):
        name = "x".join(str(table[key]) for key in ("depth", "width", "seq_len", "vocab_size", "batch"))
        seconds, quantities = table["train_seconds"], {key: float(table[key]) for key in QUANTITIES}
        found.append(Run(f"{name}, {seconds:g} s", table["corpus"], seconds, quantities, table["val_bpb"], 1.0))
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
        found.append(Run(row["device"], row["corpus"], float(row["budget_s"]), quantities, float(row["val_bpb"]), PUBLISHED_WEIGHT))
    return found


def texts(runs: list[Run]) -> list[str]:
    return sorted({run.corpus for run in runs})


def fit(runs: list[Run], floor: float) -> dict[str, float]:
    """Weighted least squares of ln(val_bpb - floor): a constant for each text, an exponent for each quantity."""
    names = texts(runs)
    rows = [[float(run.corpus == name) for name in names] + [np.log(run.quantities[key]) for key in QUANTITIES] for run in runs]
    weights = np.sqrt([run.weight for run in runs])
    goal = np.log([run.val_bpb - floor for run in runs])
    solution, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], goal * weights, rcond=None)
    return dict(zip([*names, *QUANTITIES], map(float, solution), strict=True))


def predicted(run: Run, floor: float, coefficients: dict[str, float]) -> float:
    constant = coefficients[run.corpus]
    return floor + float(np.exp(constant + sum(coefficients[key] * np.log(value) for key, value in run.quantities.items())))


def left_out_error(runs: list[Run], floor: float) -> tuple[float, float]:
    """(mean, median) relative error of the own runs, each predicted from all others."""
    errors = []
    for run in runs:
        if run.corpus == OWN_TEXT:
            others = [one for one in runs if one is not run]
            errors.append(abs(predicted(run, floor, fit(others, floor)) / run.val_bpb - 1))
    return statistics.mean(errors), statistics.median(errors)


def report(fitted: list[Run], held_out: list[Run], floor: float, coefficients: dict[str, float]) -> None:
    print(f"floor {floor}; " + ", ".join(f"{name} {value:+.3f}" for name, value in coefficients.items()))
    mean, median = left_out_error(fitted, floor)
    print(f"own runs, each left out: mean error {mean:.1%}, median {median:.1%}")
    for title, runs in (("fitted", fitted), ("held out", held_out)):
        for run in runs:
            value = predicted(run, floor, coefficients)
            error = value / run.val_bpb - 1
            print(f"{title:<9} {run.corpus:<12} {run.name:<40} {run.val_bpb:.4f} predicted {value:.4f} {error:+.1%}")


def as_toml(fitted: list[Run], held_out: list[Run], floor: float, coefficients: dict[str, float]) -> str:
    _, error = left_out_error(fitted, floor)
    ranges = {key: sorted(run.quantities[key] for run in fitted) for key in QUANTITIES}
    ranges["batch_tokens"] = sorted(run.quantities["tokens"] / run.quantities["steps"] for run in fitted)
    own = sum(run.corpus == OWN_TEXT for run in fitted)
    lines = [
        "# ln(val_bpb - floor) = constant + sum of exponent * ln(quantity). Written by `python benchmarks/fit_plan.py --write`:",
        f"# {own} runs of this project on {OWN_TEXT} (benchmarks/results/runs.jsonl) and {len(fitted) - own} published ones",
        "# (benchmarks/reference/devices.csv), which share floor and exponents and have a constant of their own.",
        f"floor = {floor}",
        f"constant = {coefficients[OWN_TEXT]:.4f}",
        f"error = {error:.4f}  # relative: the median over the project's runs, each left out of the fit",
        "",
        "[exponents]",
        *(f"{key} = {coefficients[key]:.4f}" for key in QUANTITIES),
        "",
        "[ranges]  # of the runs it was fitted to",
        *(f"{key} = [{values[0]:.0f}, {values[-1]:.0f}]" for key, values in ranges.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
