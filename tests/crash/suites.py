"""The suites, in two sizes: `sample` for every run of the tests, `full` for the figures in docs/design/crash-safety.md."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from . import kills, machine, mutants, power, refused
from .kills import Figures
from .nights import NIGHTS, Stage


@dataclass(frozen=True)
class Suite:
    run: Callable[[Stage, bool, int, int], Figures]  # stage, full?, part, of: 1 of 1 is all
    why_not: str | None = None  # this machine cannot run it


def _each(full: bool, part: int, of: int, every: int) -> slice:
    return slice(part - 1, None, of) if full else slice(every // 2, None, every)


def _kill(name: str, every: int) -> Suite:
    def run(stage, full, part, of):
        return kills.killed_anywhere(stage, name, _each(full, part, of, every), twice_every=8 if full else 0)

    return Suite(run)


def _power(name: str, every: int) -> Suite:
    def run(stage, full, part, of):
        return power.lost(stage, name, *((2, part, of) if full else (every, 1, 1)))

    return Suite(run, None if shutil.which("strace") else "strace is not installed")


def _root() -> str | None:
    return None if sys.platform == "linux" and os.geteuid() == 0 else "only root can mount a small disk"


SUITES = {
    **{f"kill-{name}": _kill(name, {"timeout": 120, "confirmed": 400}.get(name, 90)) for name in NIGHTS if name != "mixed"},
    "kill-init": Suite(lambda stage, full, part, of: kills.killed_in_create(stage, _each(full, part, of, 30))),
    "kill-random": Suite(lambda stage, full, part, of: kills.killed_at_random(stage, 48 // of if full else 3, seed=part)),
    "power-mixed": _power("mixed", 150),
    "power-init": _power("init", 150),
    "mutants": Suite(lambda stage, full, part, of: mutants.mutants(1_000_000 // of if full else 40_000, seed=part)),
    "disk-full": Suite(lambda stage, full, part, of: refused.full(stage, "discard", _each(full, part, of, 75))),
    "disk-broken": Suite(lambda stage, full, part, of: refused.broken(stage, "discard", _each(full, part, of, 75))),
    "disk-small": Suite(lambda stage, full, part, of: refused.small_disk(stage, 12 // of if full else 1), _root()),
    "ctrl-c": Suite(lambda stage, full, part, of: refused.interrupted(stage, 60 // of if full else 3, seed=part)),
    "two-at-once": Suite(lambda stage, full, part, of: refused.two_at_once(stage, 10 // of if full else 1)),
    "machine": Suite(lambda stage, full, part, of: machine.machine(stage, *((40 // of, 12) if full else (3, 6)), seed=part)),
}
