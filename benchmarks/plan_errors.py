"""How far the planner's predictions are from published runs: memory row by row, then speed row by row, with medians.

    python benchmarks/plan_errors.py [--save] [--fit]

The published rows are benchmarks/reference/*.csv (their headers name the sources); machines.toml beside them says which entry of
the backends' peaks.toml a device is. --save writes benchmarks/results/plan_errors.json. --fit searches the two coefficients of the
roofline that are fitted, over the rows that machines.toml does not explain otherwise, and prints them; it changes nothing.
"""

import argparse
import csv
import itertools
import json
import math
import statistics
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import memory, predict, speed
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine
from autoresearch.paths import shipped

REFERENCE = Path(__file__).parent / "reference"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    if options.fit:
        fit()
        return
    figures = {"memory": list(memory_rows()), "speed": list(speed_rows())}
    figures |= {"memory_summary": summary(figures["memory"]), "speed_summary": summary(figures["speed"])}
    print(table(figures["memory"], "MB"), f"\n{figures['memory_summary']}\n", sep="\n")
    print(table(figures["speed"], "tokens/s"), f"\n{figures['speed_summary']}", sep="\n")
    if options.save:
        (RESULTS / "plan_errors.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def read(name: str) -> list[dict[str, str]]:
    lines = (REFERENCE / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def upstream_sizes(row: dict[str, str], batch_tokens: int | None = None) -> Sizes:
    """Sizes of a row of either table; what it does not say is upstream's default."""
    depth, width, rows = int(row["depth"]), int(row["width"]), int(row["device_batch"] or 0)
    seq_len = int(row.get("seq_len") or 2048)
    total = batch_tokens or int(row.get("total_batch") or 0) or rows * seq_len
    rows = rows or min(128, max(1, total // seq_len))
    return Sizes(
        depth=depth, width=width, head_dim=128, gqa_ratio=1, mlp_ratio=float(row.get("mlp_ratio") or 4), window_pattern="SSSL",
        short_window=0.5, seq_len=seq_len, vocab_size=int(row.get("vocab") or 8192), rows=rows, batch_tokens=total,
    )  # fmt: skip


def memory_rows() -> Iterator[dict]:
    """Every row of memory_sweep.csv. The tokens of a step are not published with it: one pass, or with upstream's default two
    of 128 rows, makes a difference of a gradient (0.3 % there).
    """
    for row in read("memory_sweep.csv"):
        predicted = memory.training_bytes(upstream_sizes(row), memory.UPSTREAM) / 2**20
        name = f"depth {row['depth']}, width {row['width']}, {row['device_batch']} rows, mlp {row['mlp_ratio']}"
        yield _row(name, float(row["peak_memory_mb"]), predicted, row["source"])


def speed_rows() -> Iterator[dict]:
    """Every row of devices.csv with tokens/s, then the CPU that benchmarks/train_speed.py measured."""
    machines = tomllib.loads((REFERENCE / "machines.toml").read_text(encoding="utf-8"))
    known = {one["device"]: one for one in machines["machine"]}
    unknown = {one["device"]: one["reason"] for one in machines["unknown"]}
    for row in read("devices.csv"):
        if not row["tok_per_s"]:
            continue
        name = f"{row['device']}, depth {row['depth'] or 'n/a'}, width {row['width'] or 'n/a'}, {row['seq_len'] or 'n/a'} tokens"
        published, one = float(row["tok_per_s"]), known.get(row["device"])
        if one is None:
            yield _row(name, published, None, f"n/a: {unknown[row['device']]}")
            continue
        estimate = predict.tokens_per_second(upstream_sizes(row), machine(one))
        yield _row(name, published / one.get("count", 1), estimate.value, one.get("miss", ""))
    yield from cpu_rows()


def cpu_rows() -> Iterator[dict]:
    """What train_speed.py has saved of CPUs."""
    for path in sorted(RESULTS.glob("train_speed-cpu-*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        facts = Facts(
            ok=True, device=measured["device"], matmul_tflops=max(measured["product_tflops"].values()), cores=measured["cores"],
            dtype=measured["dtype"], compile=True, attention="blocks", processors=True,
        )  # fmt: skip
        cpu = Machine.of(facts, {"bandwidth": measured["copy_gb_per_second"] * 1e9})
        predicted = predict.tokens_per_second(Sizes(**measured["sizes"]), cpu).value
        name = f"{measured['device']}, {measured['dtype']}, profile {measured['profile']}"
        yield _row(name, measured["tokens_per_second"], predicted, "both limits measured in the same run")


def machine(one: dict) -> Machine:
    """From the backend's peaks.toml, as its probe would."""
    backend, _, name = one["peaks"].partition(": ")
    table = tomllib.loads((shipped("backends") / backend / "peaks.toml").read_text(encoding="utf-8"))
    entry = next(entry for entry in (*table.get("card", ()), *table.get("chip", ())) if entry["name"] == name)
    tflops = entry.get("tflops") or entry["gigaflops_per_core"] * one["gpu_cores"] / 1000
    facts = Facts(
        ok=True, device=name, dtype="bfloat16", compile=one.get("compile", True), attention=one["attention"],
        peak_flops=tflops * 1e12, peak_bandwidth=entry["bandwidth_gb_s"] * 1e9,
    )  # fmt: skip
    return Machine.of(facts)


def summary(rows: list[dict]) -> dict:
    """Of the absolute errors; `explained` rows are those with a reason of their own to miss, kept apart."""
    compared = [row for row in rows if row["error"] is not None]
    plain = [abs(row["error"]) for row in compared if not is_explained(row)]
    return {
        "rows": len(rows),
        "compared": len(compared),
        "median_of_all": round(statistics.median(abs(row["error"]) for row in compared), 4),
        "median": round(statistics.median(plain), 4),
        "worst": round(max(plain), 4),
        "explained": sum(map(is_explained, compared)),
    }


def is_explained(row: dict) -> bool:
    machines = tomllib.loads((REFERENCE / "machines.toml").read_text(encoding="utf-8"))["machine"]
    return any(row["remark"] == one.get("miss") for one in machines)


def table(rows: list[dict], unit: str) -> str:
    lines = [f"| run | published {unit} | predicted | error | |", "|---|---|---|---|---|"]
    for row in rows:
        predicted, error = ("n/a", "n/a") if row["error"] is None else (f"{row['predicted']:,.0f}", f"{row['error']:+.1%}")
        lines.append(f"| {row['run']} | {row['published']:,.0f} | {predicted} | {error} | {row['remark']} |")
    return "\n".join(lines)


def fit() -> None:
    """Least squares of the logarithms, so that half and double are as far off."""
    best = []
    for matmul, attention in itertools.product((x / 20 for x in range(12, 21)), (x / 20 for x in range(4, 17))):
        predict.MATMUL_OF_DATA_SHEET, speed.ACCELERATOR = matmul, replace(speed.ACCELERATOR, attention=attention)
        rows = [row for row in speed_rows() if row["error"] is not None and not is_explained(row)]
        errors = [abs(math.log(row["predicted"] / row["published"])) for row in rows]
        best.append((statistics.fmean(error**2 for error in errors) ** 0.5, max(errors), matmul, attention))
    for error, worst, matmul, attention in sorted(best)[:8]:
        print(f"typical {error:.3f}, worst {worst:.3f}: MATMUL_OF_DATA_SHEET {matmul}, attention {attention}")
    fit_cpu()


def fit_cpu() -> None:
    """What a CPU reaches of its limits: least squares of the relative errors of the step times in runs.jsonl."""
    measured = json.loads((RESULTS / "train_speed-cpu-float32.json").read_text(encoding="utf-8"))
    flops, bandwidth = 1e12 * max(measured["product_tflops"].values()), 1e9 * measured["copy_gb_per_second"]
    rows, steps = [], []
    for run in map(json.loads, (RESULTS / "runs.jsonl").read_text(encoding="utf-8").splitlines()):
        depth, width, head_dim, seq_len, batch = (run[key] for key in ("depth", "width", "head_dim", "seq_len", "batch"))
        rows_in_pass = min(4096, batch) // seq_len  # as grid.py has it
        sizes = Sizes(depth, width, head_dim, 1, 4, "L", 0.5, seq_len, run["vocab_size"], rows_in_pass, batch)
        sums = dict.fromkeys(("products", "attention", "Muon"), 0.0)
        parts = speed.parts(sizes, 4, True, "blocks", speed.IDEAL)
        for part in parts:
            sums[part.name if part.name in sums else "products"] += part.flops / flops
        traffic = sum(part.bytes for part in parts) / bandwidth
        rows.append([*sums.values(), traffic, speed.kernels(sizes, True)])
        steps.append(run["training_seconds"] / run["steps"])
    table, goal = np.array(rows), np.array(steps)
    solution, *_ = np.linalg.lstsq(table / goal[:, None], np.ones(len(goal)), rcond=None)
    names = ("products", "attention", "muon", "traffic")
    shares = ", ".join(f"{name} {1 / value:.2f}" for name, value in zip(names, solution, strict=False))
    errors = np.abs(table @ solution / goal - 1)
    error = f"mean error {errors.mean():.1%}, worst {errors.max():.1%}"
    print(f"CPU, {len(goal)} runs: {shares}, launch {1e6 * solution[4]:.0f} us; {error}")


def _row(run: str, published: float, predicted: float | None, remark: str) -> dict:
    error = None if predicted is None else predicted / published - 1
    rounded = None if predicted is None else round(predicted, 1)
    return {"run": run, "published": published, "predicted": rounded, "error": error, "remark": remark}


if __name__ == "__main__":
    main()
