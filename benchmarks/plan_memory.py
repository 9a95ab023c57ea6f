"""How much a training process holds on this CPU, beside what the planner says: the source of its two heap factors.

    python benchmarks/plan_memory.py [--rows 16 64] [--eager]

Each row count runs in a process of its own (the figure is the most that a process has held): a warm-up and six steps of the profile
cpu. Compiled, that is about a minute each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace

import train_speed

from autoresearch.hardware import memory, predict, profiles
from autoresearch.hardware.facts import Facts
from autoresearch.hardware.model import Sizes
from autoresearch.paths import shipped

STEPS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.rows[0], options.eager)
        return
    for rows in options.rows:
        command = [sys.executable, __file__, "--child", "--rows", str(rows), *["--eager"] * options.eager]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            environment = {**os.environ, "AUTORESEARCH_COMPILE_CACHE": cache}
            subprocess.run(command, check=True, env=environment)


def measure(rows: int, eager: bool) -> None:
    profile = profiles.load("cpu")
    batch = {"DEVICE_BATCH_SIZE": rows, "TOTAL_BATCH_SIZE": rows * profile.data["seq_len"]}
    profile = replace(profile, train=profile.train | batch)
    train = train_speed.load_train(profile)
    if eager:
        train.runtime.compile, train.runtime.compile_on = lambda function: function, False
    trainer, get_batch = train_speed.new_trainer(train, profile)
    trainer.warm_up(get_batch)
    for _ in range(STEPS):
        trainer.step(get_batch, 0.5)
    machine = predict.Machine.of(Facts.from_dict(train.runtime.probe()))
    sizes = Sizes.of(profile, (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8"))
    figures = {
        "tensors": memory.training_bytes(sizes, machine.layout),
        "process": train.runtime.peak_memory_bytes(),
        "predicted": predict.train_memory(sizes, machine).value,
    }
    kind = "eager" if eager else "compiled"
    print(f"{rows} rows, {kind}: " + ", ".join(f"{name} {value / 2**20:,.0f} MB" for name, value in figures.items()))


if __name__ == "__main__":
    main()
