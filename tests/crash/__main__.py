"""`python -m tests.crash`: the suites of crash safety, their figures as a table, and status 1 when anything was lost."""

import argparse
import json
import sys
from pathlib import Path

from . import nights
from .suites import SUITES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--size", choices=["sample", "full"], default="sample")
    parser.add_argument("--only", help="names of suites, with commas", default=",".join(SUITES))
    parser.add_argument("--part", default="1/1", help="2/5: the second fifth, for a machine that others need too")
    parser.add_argument("--json", type=Path, help="add the figures to this file, one line each")
    chosen = parser.parse_args()
    part, of = map(int, chosen.part.split("/"))
    failed = False
    names = chosen.only.split(",")
    if unknown := [name for name in names if name not in SUITES]:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    for name in names:
        suite = SUITES[name]
        if suite.why_not:
            print(f"{name:<16} not run: {suite.why_not}", flush=True)
            continue
        with nights.stage() as stage:
            figures = suite.run(stage, chosen.size == "full", part, of)
        failed |= bool(figures.failures)
        print(f"{name:<16} {figures.cases:>9,} cases  {len(figures.failures):>3} failed  {figures.seconds:7.1f} s", flush=True)
        for failure in figures.failures[:5]:
            print(f"\n{failure}", flush=True)
        if chosen.json:
            row = {"suite": name, "part": chosen.part, "cases": figures.cases, "failed": len(figures.failures)}
            with open(chosen.json, "a", encoding="utf-8") as out:
                out.write(json.dumps(row | {"seconds": round(figures.seconds, 1)}) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
