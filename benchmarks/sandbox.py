"""What the sandbox costs: the time to enter a cell, the start of a worker, and training speed in and out of it.

    python benchmarks/sandbox.py                              the first two, in some seconds
    python benchmarks/sandbox.py --pairs 5 --seconds 10       and trainings, in and out by turns, on the CPU

Prints medians and writes benchmarks/results/sandbox.json. Speed is compared within pairs, so that a machine that gets slower hits
both alike.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoresearch import constants
from autoresearch.child import Worker
from autoresearch.conformance.bench import prepared_text
from autoresearch.hardware import registry
from autoresearch.loop import experiment
from autoresearch.loop.setup import Setup
from autoresearch.sandbox import levels, policy, room

SIZES = {"DEPTH": 4, "ASPECT_RATIO": 48, "HEAD_DIM": 48, "DEVICE_BATCH_SIZE": 16, "TOTAL_BATCH_SIZE": 4096}
ENTER = """
import sys, time
from pathlib import Path
from autoresearch.sandbox import linux, policy
start = time.perf_counter()
cell = policy.cell(2, Path(sys.argv[1]), [])
computed = time.perf_counter()
linux.apply(cell)
print(computed - start, time.perf_counter() - computed)
"""
NOTHING = "autoresearch.sandbox.attacks"  # a worker that answers one question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--backend", default="cpu")
    arguments = parser.parse_args()
    reach = levels.reach()
    found = {"system": platform.platform(), "python": platform.python_version(), "reach": reach.to_dict()}
    with tempfile.TemporaryDirectory() as folder:
        found |= entering(Path(folder), arguments.repeats) | starting(Path(folder), arguments.repeats, reach.level)
        print(json.dumps(found, indent=1))
        if arguments.pairs:
            found["training"] = training(Path(folder), arguments)
            print(json.dumps(found["training"], indent=1))
    path = Path(__file__).parent / "results" / "sandbox.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def entering(folder: Path, repeats: int) -> dict:
    """Milliseconds to compute a cell (in the harness) and to enter it (in the worker), each in a fresh process."""
    times = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", ENTER, str(folder)], capture_output=True, text=True, check=True)
        times.append([1e3 * float(word) for word in done.stdout.split()])
    return {"compute_ms": spread([one[0] for one in times]), "enter_ms": spread([one[1] for one in times])}


def starting(folder: Path, repeats: int, most: int) -> dict:
    """Milliseconds from a worker's start to its first answer and its end, at each level."""
    times: dict[int, list[float]] = {level: [] for level in range(most + 1) if level != 1}
    for index in range(repeats):
        for level, found in times.items():
            run = folder / f"{index}-{level}"
            run.mkdir()
            start = time.perf_counter()
            cell = policy.cell(level, room.make(run / "work"), [])
            job = {"type": "attempt", "name": "standard_library", "targets": {}}
            with Worker(job, run, NOTHING, cell=cell) as worker:
                worker.wait("done", 60, "late")
            found.append(1e3 * (time.perf_counter() - start))
    return {"worker_ms": {level: spread(found) for level, found in times.items()}}


def training(folder: Path, arguments) -> dict:
    """Tokens a second, in and out by turns, after one training that is not counted: it fills the compile cache."""
    backend = registry.scan()[arguments.backend]
    source = backend.train_py.read_text(encoding="utf-8")
    own = constants.read(source)
    text = constants.write(source, {name: value for name, value in SIZES.items() if name in own})
    level = levels.reach().level
    speeds: dict[int, list[float]] = {0: [], level: []}
    starts: dict[int, list[float]] = {0: [], level: []}
    for pair in range(arguments.pairs + 1):
        for one in (level,) if pair == 0 else (0, level) if pair % 2 else (level, 0):
            setup = Setup(backend, prepared_text(), 256, 2000, arguments.seconds, 600.0, sandbox=one)
            result = experiment.execute(setup, text, 1, folder / f"train-{pair}-{one}")
            assert result.ok, result
            if pair:
                speeds[one].append(result.total_tokens / result.training_seconds)
                starts[one].append(result.startup_seconds)
            print(f"pair {pair} level {one}: {result.total_tokens / result.training_seconds:,.0f} tokens/s", flush=True)
    ratios = [inside / outside for inside, outside in zip(speeds[level], speeds[0], strict=True)]
    return {
        "backend": arguments.backend, "seconds": arguments.seconds, "level": level, "ratio_in_to_out": spread(ratios),
        "tokens_per_second": {one: spread(found) for one, found in speeds.items()},
        "startup_seconds": {one: spread(found) for one, found in starts.items()},
    }  # fmt: skip


def spread(values: list[float]) -> dict:
    return {
        "median": round(statistics.median(values), 4), "least": round(min(values), 4), "most": round(max(values), 4),
        "count": len(values),
    }  # fmt: skip


if __name__ == "__main__":
    main()
