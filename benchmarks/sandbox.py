"""What the sandbox costs: the time to enter a cell, the start of a worker, and training speed in and out of it.

    python benchmarks/sandbox.py                  the first two, in some seconds
    python benchmarks/sandbox.py --rounds 60      and training steps, in and out by turns, on the CPU
    python benchmarks/sandbox.py --trainings 10   only whole trainings of 20 s, in and out by turns: results/sandbox_trainings.json
    python benchmarks/sandbox.py --readable       only counts the files by whose reading something stays behind

Prints medians and writes benchmarks/results/sandbox.json. Each round has steps of every level, so that a machine that gets slower
hits all alike; two processes outside of any cell show what the comparison is worth.
"""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoresearch import constants
from autoresearch.checks import trial
from autoresearch.child import Worker
from autoresearch.data.prepare import prepare
from autoresearch.hardware.autotune import stopwatch
from autoresearch.hardware.devices import registry
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.run import experiment
from autoresearch.run.setup import Setup
from autoresearch.sandbox import levels, policy, workdir
from autoresearch.sandbox.lookups import Lookups
from autoresearch.task.registry import on_text

SIZES = {"DEPTH": 4, "ASPECT_RATIO": 48, "HEAD_DIM": 48, "DEVICE_BATCH_SIZE": 16, "TOTAL_BATCH_SIZE": 4096}
TRAIN_SECONDS = 20.0
DAY_SECONDS = 86_400.0
STEPS_AT_ONCE = 5  # the fastest of these counts
ENTER = """
import os, sys, time
from pathlib import Path
from autoresearch.sandbox import linux, policy
door = sys.argv[2:]
start = time.perf_counter()
cell = policy.cell(2, Path(sys.argv[1]), [])
computed = time.perf_counter()
if door:
    linux.apply(cell, int(door[0]))
entered = time.perf_counter()
COUNT = 10_000
for number in range(COUNT):
    os.access(f"/usr/{number}", 0)
looked = time.perf_counter()
import torch._inductor.compile_fx
print(computed - start, entered - computed, (looked - entered) / COUNT, time.perf_counter() - looked)
"""
NOTHING = "autoresearch.checks.attacks"  # a worker that answers one question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--trainings", type=int, default=0, help="pairs, at least 2")
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--readable", action="store_true")
    arguments = parser.parse_args()
    if arguments.readable:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(readable(policy.cell(2, workdir.make(Path(folder, "run", "work")), [])), indent=1))
        return
    reach, results = levels.reach(), Path(__file__).parent / "results"
    if arguments.trainings:
        with tempfile.TemporaryDirectory() as folder:
            write(results / "sandbox_trainings.json", trainings(Path(folder), arguments, reach.level))
        return
    found = {"system": platform.platform(), "python": platform.python_version(), "reach": reach.to_dict()}
    with tempfile.TemporaryDirectory() as folder:
        found |= entering(Path(folder), arguments.repeats) | starting(Path(folder), arguments.repeats, reach.level)
        if arguments.rounds:
            found["training"] = training(Path(folder), arguments, [level for level in (2, 3) if level <= reach.level])
    write(results / "sandbox.json", found)


def write(path: Path, found: dict) -> None:
    text = json.dumps(found, indent=1)
    print(text)
    path.write_text(text + "\n", encoding="utf-8")


def trainings(folder: Path, arguments, level: int) -> dict:
    """Tokens a second of whole runs of train.py by the harness, each in a new process; one pair a round, in turning order."""
    backend, prepared = registry.scan()[arguments.backend], prepare("stdlib", 2048)
    text = written(backend)
    speeds: dict[int, list[float]] = {0: [], level: []}
    for index in range(-1, arguments.trainings):  # the first pair fills the compile cache, and does not count
        for one in (0, level) if index % 2 else (level, 0):
            setup = Setup(backend, on_text(prepared, Data("", prepared.vocab_size, 256, 20_000)), TRAIN_SECONDS, 600.0, sandbox=one)
            result = experiment.execute(setup, text, index + 2, folder / f"{index}-{one}")
            assert result.ok, result
            if index >= 0:
                speeds[one].append(result.total_tokens / result.training_seconds)
    ratios = [inside / outside for inside, outside in zip(speeds[level], speeds[0], strict=True)]
    return {
        "backend": arguments.backend, "level": level, "train_seconds": TRAIN_SECONDS, "trainings": arguments.trainings,
        "tokens_per_second": {"outside": spread(speeds[0]), "inside": spread(speeds[level])},
        "inside_to_outside": spread(ratios) | {
            "mean": round(statistics.mean(ratios), 4), "standard_error": round(statistics.stdev(ratios) / len(ratios) ** 0.5, 4),
        },
    }  # fmt: skip


def readable(cell: policy.Cell) -> dict:
    """Files that a cell may read; those whose next reading leaves a time (level 2); those of which nothing is in the cache."""
    noted = cold = count = 0
    tops = [Path(top) for top in cell.reads if not top.startswith(("/proc", "/sys", "/dev"))]
    for top in tops:
        for folder, _, names in os.walk(top) if not set(tops) & set(top.parents) else ():
            for name in names:
                found = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(found.st_mode) and found.st_size:
                    count += 1
                    noted += found.st_atime <= max(found.st_mtime, found.st_ctime) or found.st_atime < time.time() - DAY_SECONDS
                    cold += cached_pages(os.path.join(folder, name)) == 0
    return {"files": count, "reading_is_noted": noted, "not_in_the_cache": cold}


def cached_pages(path: str) -> int:
    with open(path, "rb") as file:
        whole, found = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()
        assert ctypes.CDLL(None).syscall(ctypes.c_long(451), file.fileno(), whole, found, 0) == 0, "cachestat wants Linux 6.5"
        return found[0]


def entering(folder: Path, repeats: int) -> dict:
    """To compute a cell, to enter it, to look a name up in it, to import PyTorch's compiler, each in a fresh process.

    The last two outside of a cell, too.
    """
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        asked = Lookups(lambda: None)
        compute, enter, inside, torch_inside = first(folder, asked)
        asked.close()
        _, _, outside, torch_outside = first(folder)
        figures = {
            "compute_ms": 1e3 * compute, "enter_ms": 1e3 * enter, "lookup_us": 1e6 * inside, "lookup_outside_us": 1e6 * outside,
            "import_s": torch_inside, "import_outside_s": torch_outside, "import_lookups": asked.count,
        }  # fmt: skip
        for name, figure in figures.items():
            found.setdefault(name, []).append(figure)
    return {name: spread(figures) for name, figures in found.items()}


def first(folder: Path, asked: Lookups | None = None) -> list[float]:
    doors = [asked.door] if asked else []
    command = [sys.executable, "-c", ENTER, str(folder), *map(str, doors)]
    variables = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=doors, env=variables) as process:
        if asked:
            asked.start()
        return [float(word) for word in process.stdout.read().split()]


def starting(folder: Path, repeats: int, most: int) -> dict:
    """Milliseconds from a worker's start to its first answer and its end, at each level."""
    times: dict[int, list[float]] = {level: [] for level in range(most + 1) if level != 1}
    for index in range(repeats):
        for level, found in times.items():
            run = folder / f"{index}-{level}"
            run.mkdir()
            start = time.perf_counter()
            cell = policy.cell(level, workdir.make(run / "work"), [])
            job = {"type": "attempt", "name": "standard_library", "targets": {}}
            with Worker(job, run, trial.PROTOCOL, NOTHING, cell=cell) as worker:
                worker.wait("done", 60, "late")
            found.append(1e3 * (time.perf_counter() - start))
    return {"worker_ms": {level: spread(found) for level, found in times.items()}}


def training(folder: Path, arguments, levels_tried: list[int]) -> dict:
    """Seconds of a training step. One warm process at each level, and one more outside of any cell to show the noise; they make
    steps in turn, in another order each round, so that each round is a comparison on the same machine.
    """
    backend = registry.scan()[arguments.backend]
    text = written(backend)
    with contextlib.ExitStack() as stack:
        ask = {}
        for name, level in ({"outside": 0, "outside again": 0} | {f"level {level}": level for level in levels_tried}).items():
            ask[name] = stack.enter_context(stepping(backend, text, folder / name.replace(" ", "-"), level))
        times: dict[str, list[float]] = {name: [] for name in ask}
        for index in range(arguments.rounds):
            names = list(ask)[index % len(ask) :] + list(ask)[: index % len(ask)]
            for name in names:
                times[name].append(min(ask[name]() for _ in range(STEPS_AT_ONCE)))
    ratios = {name: [one / outside for one, outside in zip(found, times["outside"], strict=True)] for name, found in times.items()}
    return {
        "backend": arguments.backend, "rounds": arguments.rounds, "steps_at_once": STEPS_AT_ONCE,
        "step_ms": {name: spread([1e3 * one for one in found]) for name, found in times.items()},
        "time_to_outside": {name: spread(found) for name, found in ratios.items() if name != "outside"},
    }  # fmt: skip


def written(backend) -> str:
    """Its train.py, with those of the SIZES that it knows."""
    source = backend.train_py.read_text(encoding="utf-8")
    own = constants.read(source)
    return constants.write(source, {name: value for name, value in SIZES.items() if name in own})


@contextlib.contextmanager
def stepping(backend, text: str, folder: Path, level: int):
    """A warm train.py in a cell: calling what this gives makes one step, and returns its seconds."""
    folder.mkdir()
    (folder / "train.py").write_text(text, encoding="utf-8", newline="")
    work = workdir.make(folder / "work", [workdir.layer(text)])
    job = {
        "type": "serve", "python_path": [str(path) for path in backend.python_path], "train_py": str(folder / "train.py"),
        "vocab_size": 320, "seq_len": 256, "folder": str(work), "offers": [],
    }  # fmt: skip
    cell = policy.cell(level, work, [*backend.python_path, folder / "train.py", workdir.layer(text)], needs=backend.sandbox)
    with Worker(job, folder, stopwatch.PROTOCOL, stopwatch.WORKER, cell=cell) as worker:
        worker.wait("warm", 600, "did not get warm")
        workdir.harvest(work, text)

        def step() -> float:
            worker.send({"type": "time", "piece": "step"})
            return float(worker.wait("timed", 60, "a step takes too long")["seconds"])

        step()
        yield step


def spread(values: list[float]) -> dict:
    return {
        "median": round(statistics.median(values), 4), "least": round(min(values), 4), "most": round(max(values), 4),
        "count": len(values),
    }  # fmt: skip


if __name__ == "__main__":
    main()
