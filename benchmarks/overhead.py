"""What trust costs in a study that has run: scoring, audits and checks of the machine, of all the time of each experiment.

    python benchmarks/overhead.py WORKSPACE [--out benchmarks/results/overhead.json]

Read from the ledger, in seconds: an experiment lasts from the verdict before it to its own, with the runs of the best for it.
`checks` are those of the machine's speed before each run, and what lies between a training's end and its scoring: the check after
it, and the end of its processes. A cell is entered within start-up and scoring.
"""

import argparse
import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from autoresearch.study import ledger

PARTS = ("training", "startup", "scoring")


def experiments(events: list[dict]) -> list[dict]:
    """Seconds of each part of every experiment after the baseline that has a verdict."""
    found, spent = [], None
    for before, event in pairwise(events):
        seconds = (_time(event) - _time(before)).total_seconds()
        if spent is not None:
            spent["wall"] += seconds
            if event["event"] == "run":
                parts = {part: event[f"{part}_seconds"] or 0.0 for part in PARTS}
                for part, value in parts.items():
                    spent[part] += value
                spent["checks"] += event["total_seconds"] - sum(parts.values())
                spent["runs"] += 1
            elif event["event"] == "audit":
                spent["audits"] += seconds
            elif event["event"] == "speed" and event["place"] == "before":
                spent["checks"] += seconds
        if event["event"] == "verdict":
            if spent is not None:
                trust = sum(spent[part] for part in ("scoring", "checks", "audits"))
                shares = {"trust_share": trust / spent["wall"], "training_share": spent["training"] / spent["wall"]}
                found.append({"experiment": event["n"], "verdict": event["verdict"]} | spent | shares)
            spent = dict.fromkeys(("wall", *PARTS, "checks", "audits", "runs"), 0)
    return found


def _time(event: dict) -> datetime:
    return datetime.fromisoformat(event["time"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    path = options.workspace / ".autoresearch" / "events.jsonl"
    if not path.exists():
        parser.error(f"no study in {options.workspace}; give the folder that `autoresearch run` made")
    rows = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        for row in experiments(ledger.read(path))
    ]
    for row in rows:
        print(json.dumps(row))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
