"""How long a study with a long ledger takes to be opened again, after a clean end and after a kill.

    python benchmarks/recovery.py [--lines 10000] [--out FILE.json]

A real workspace: every experiment of the ledger has its commit and its ref. Opening checks each line, folds them, looks for each
commit, makes each ref that is missing, and brings branch, index, work tree and results.tsv in line. Each opening is measured in a
process of its own, without the time to start Python and to import.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pygit2

from autoresearch import constants, durable
from autoresearch.commands.bars import bars
from autoresearch.hardware.devices import detect
from autoresearch.measure.summary import RunResult
from autoresearch.propose.proposals import program_key
from autoresearch.study import new, terms, workspace
from autoresearch.study.ledger import Ledger
from autoresearch.study.session import opened
from autoresearch.study.store import Store

OPTIONS = {"profile": "null", "backend": "null", "corpus": "stdlib", "tag": "recovery", "decide": "strict", "autotune": "off"}
LIMIT_SECONDS = 1.0


class Silent:
    def event(self, event: dict) -> None: ...

    def progress(self, number: int, run: int, progress) -> None: ...


def fill(folder: Path, lines: int) -> int:
    """A ledger of that many lines, and its commits. The number of experiments: one in ten is kept."""
    study = workspace.load(folder)
    store, ledger = Store(folder, study.tag), Ledger(study.events)
    text = (folder / "train.py").read_text(encoding="utf-8")
    sync, durable.sync_file = durable.sync_file, lambda descriptor: None  # of the filling only
    pygit2.settings.enable_fsync_gitdir(False)
    ledger.append("study", tag=study.tag, seed=study.seed, decide=study.decide, terms=(folder / "study.toml").read_text("utf-8"))
    parent, best, number = store.tip, 9.0, 0
    while len(ledger.events) + 4 <= lines:
        edited = constants.write(text, {"ROPE_BASE": 10_000.0 + number})
        commit, blob = store.propose(parent, edited, f"experiment {number}")
        keeps = number % 10 == 0
        score, seed, run = best - 1e-4 if keeps else best + 1e-4, study.seed + number, f"{number:04d}-1"
        words = {"description": f"ROPE_BASE = {10_000.0 + number}", "reasoning": "measured", "agent": "search", "cost_usd": 0.0}
        ledger.append("start", n=number, commit=commit, parent=parent, blob=blob, key=program_key(edited), **words)
        ledger.append("begin", n=number, k=1, seed=seed, folder=run, conditions={})
        result = RunResult("ok", seed, val_bpb=score, training_seconds=300.0, total_seconds=330.0, num_steps=1000)
        ledger.append("run", n=number, k=1, folder=run, **result.to_json())
        verdict = "keep" if keeps else "discard"
        ledger.append("verdict", n=number, commit=commit, verdict=verdict, state=verdict, reason="", val_bpb=score, scores=[score])
        (study.runs / run).mkdir(parents=True)
        (study.runs / run / "log.txt").touch()
        if keeps:
            parent, best = commit, score
        number += 1
    while len(ledger.events) < lines:
        ledger.append("pause", reason="to fill up")
    durable.sync_file = sync
    return number


def open_once(folder: Path) -> float:
    study = workspace.load(folder)
    setup = terms.setup(study, detect.detect("null").backend, None, 0)
    started = time.perf_counter()
    with opened(study, setup, Silent()) as session:
        seconds = time.perf_counter() - started
        assert session.state.best is not None
    return seconds


def measured(folder: Path, times: int) -> list[float]:
    command = [sys.executable, __file__, "--open", str(folder)]
    return [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open:
        print(open_once(chosen.open))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        new.make(folder, OPTIONS, lambda line: None, partial(bars, quiet=True, plain=True), 0)
        experiments = fill(folder, chosen.lines)
        first = measured(folder, 1)[0]  # no ref is there yet
        again = measured(folder, 5)
    row = {"lines": chosen.lines, "experiments": experiments, "all_refs_missing_seconds": first,
           "seconds": statistics.median(again), "worst_seconds": max(again)}  # fmt: skip
    print(json.dumps(row, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    sys.exit(row["seconds"] > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
