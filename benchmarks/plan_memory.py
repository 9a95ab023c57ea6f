"""How much a training process holds on this CPU, beside what the planner says: the source of its heap factor.

    python benchmarks/plan_memory.py [--rows 16 64] [--eager]

Each row count runs in a process of its own (the figure is the most that a process has held): a warm-up and six steps of the profile
cpu, from an empty compile cache. Compiled, that is about a minute each.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from autoresearch import constants
from autoresearch.hardware.autotune.stopwatch import Stopwatch
from autoresearch.hardware.devices import detect
from autoresearch.hardware.planner import memory, predict, profiles
from autoresearch.hardware.planner.model import Sizes

STEPS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    choice = detect.detect("cpu")
    for rows in options.rows:
        measure(choice, rows, options.eager)


def measure(choice, rows: int, eager: bool) -> None:
    profile = profiles.load("cpu")
    batch = {"DEVICE_BATCH_SIZE": rows, "TOTAL_BATCH_SIZE": rows * profile.data.seq_len}
    profile = replace(profile, train=profile.train | batch)
    train_py = constants.write(choice.backend.train_py.read_text(encoding="utf-8"), profile.train)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        variables = {"AUTORESEARCH_COMPILE_CACHE": folder} | ({"CXX": "no-compiler"} if eager else {})
        sizes = (profile.data.vocab_size, profile.data.seq_len)
        with Stopwatch(choice.backend, train_py, *sizes, Path(folder) / "run", variables=variables) as watch:
            for _ in range(STEPS):
                watch.seconds("step")
            held = watch.peak_memory_bytes()
    machine = predict.Machine.of(replace(choice.facts, compile=not eager))
    sizes = Sizes.of(profile, train_py)
    figures = {
        "tensors": memory.training_bytes(sizes, machine.layout),
        "process": held,
        "predicted": predict.train_memory(sizes, machine).value,
    }
    kind = "eager" if eager else "compiled"
    print(f"{rows} rows, {kind}: " + ", ".join(f"{name} {value / 2**20:,.0f} MB" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
