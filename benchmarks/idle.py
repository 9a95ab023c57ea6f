"""How much of a night the machine trains, beside an agent that thinks for a minute.

    python benchmarks/idle.py [--backend null] [--scale 0.1] [--experiments 8] [--share 1.0] [--out FILE.json]

A whole study with a simulated LLM that thinks THINK_SECONDS for every proposal and an experiment of TRAIN_SECONDS, both
times `scale`. Start-up and scoring are not scaled: on the null backend they are half a second each, on a real one what it takes.
Where the time went is read from the study's ledger.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from autoresearch import agents, constants
from autoresearch.agents.base import Proposal, View
from autoresearch.agents.mix import Agents
from autoresearch.agents.search import space
from autoresearch.commands.bars import bars
from autoresearch.loop.loop import Until, run_study
from autoresearch.report.panel import PlainLines
from autoresearch.sandbox import levels
from autoresearch.study import ledger, new
from autoresearch.study.state import State

THINK_SECONDS, TRAIN_SECONDS = 60.0, 300.0


class Slow:
    """Thinks for a while, then changes one constant at random."""

    name, thinks = "simulated", True

    def __init__(self, seconds: float):
        self.seconds, self.rng = seconds, np.random.default_rng(0)

    def propose(self, view: View) -> Proposal:
        time.sleep(self.seconds)
        axes = space.axes(constants.read(view.train_py), {})
        name = str(self.rng.choice(sorted(set(axes) - {"DEPTH", "ASPECT_RATIO", "HEAD_DIM", "TOTAL_BATCH_SIZE"})))
        value = axes[name].values[0] if axes[name].values else axes[name].value(self.rng.uniform())
        return Proposal(constants.write(view.train_py, {name: value}), f"{name} = {value}", "")


def shares(events: list[dict]) -> dict[str, float]:
    """Of the wall time from the first verdict, the baseline's, to the last one."""
    verdicts = [event for event in events if event["event"] == "verdict"]
    runs = [event for event in events if event["event"] == "run" and event["n"] > 0]
    wall = (_time(verdicts[-1]) - _time(verdicts[0])).total_seconds()
    spent = {part: sum(run[f"{part}_seconds"] for run in runs) / wall for part in ("training", "startup", "scoring")}
    return spent | {"rest": 1 - sum(spent.values()), "wall_seconds": wall, "runs": len(runs)}


def _time(event: dict) -> datetime:
    return datetime.fromisoformat(event["time"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="null")
    parser.add_argument("--profile", default="auto")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--experiments", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    chosen = {
        "backend": options.backend, "profile": options.profile, "autotune": "off", "corpus": "stdlib", "decide": "strict",
        "train_seconds": TRAIN_SECONDS * options.scale,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        study, setup = new.make(Path(folder) / "study", chosen, print, partial(bars, quiet=False, plain=True), levels.reach().level)
        both = Agents(agents.make("search"), Slow(THINK_SECONDS * options.scale), options.share)
        with PlainLines(sys.stdout, "", State()) as listener:
            run_study(study, setup, both, Until(options.experiments), listener)
        events = ledger.read(study.events)
    authors = [event["agent"] for event in events if event["event"] == "start"][1:]
    table = vars(options) | shares(events) | {"authors": {name: authors.count(name) for name in sorted(set(authors))}}
    table.pop("out")
    print(json.dumps(table, indent=1))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
