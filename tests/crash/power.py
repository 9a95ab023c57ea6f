"""A power loss at every change of the disk, and the way back.

strace writes down what a night really does to its files, libgit2's writes too. disks.py makes of that what a power loss may have
left at each moment; a new process takes every such state to its end. Whatever the ledger had taken must still be there.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import studies

from autoresearch.study import lines, workspace

from . import nights
from .disks import TRACED, Disk
from .forked import each, quick_workers
from .kills import Figures
from .nights import NIGHTS, Stage

HOW = ("least", "most", "empty", "zeros", "mix", "mix")
ROOT = Path(__file__).resolve().parents[2]


def lost(stage: Stage, what: str, every: int = 1, part: int = 1, of: int = 1) -> Figures:
    """States after every `every`-th change (the part-th of each `of` of those) of a night, or of the making of a workspace."""
    figures = Figures(f"power loss: {what}")
    started = time.monotonic()
    before = stage.folder / f"{what}-before"
    folder = stage.folder / f"{what}-traced"
    if what == "init":
        before.mkdir()
    else:
        nights.copy(stage.new(NIGHTS[what].decide), before)
    nights.copy(before, folder)
    stage.setup("strict" if what == "init" else NIGHTS[what].decide)
    trace, marks = _trace(stage, what, folder)
    undisturbed = None if what == "init" else nights.facts(folder)
    events = lines.parse(lines.content(folder / ".autoresearch/events.jsonl"), folder).events
    with quick_workers():
        states = _states(stage.folder / f"{what}-states", before, folder, trace, marks, every, part, of)

        def check(state: tuple) -> None:
            _check(stage, what, undisturbed, events, *state)

        for state, _, trouble in each(check, states):
            figures.add(f"{what}/{state[0].name}", trouble)
            shutil.rmtree(state[0], ignore_errors=True)
    figures.seconds = time.monotonic() - started
    return figures


def _trace(stage: Stage, what: str, folder: Path) -> tuple[Path, Path]:
    trace, marks = stage.folder / f"{what}.strace", stage.folder / f"{what}.marks"
    command = ["strace", "-xx", "-y", "-s", "99999999", "-e", f"trace={TRACED}", "-o", str(trace)]
    module = [sys.executable, "-m", f"{__package__}.recorded", what, str(folder), str(stage.folder), str(marks)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ended = subprocess.run([*command, *module], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return trace, marks


def _states(target: Path, before: Path, folder: Path, trace: Path, marks: Path, every: int, part: int, of: int) -> list[tuple]:
    """(folder, number of promised events) of each state. The trace is followed once, so all are written at first."""
    target.mkdir()
    disk, made, changes = Disk(before, folder, marks, folder.with_name(f"{folder.name}-workers")), [], 0
    with open(trace, encoding="ascii") as file:
        for line in file:
            if disk.follow(line):
                changes += 1
                if changes % every == 0 and changes // every % of == part - 1:
                    number = changes // every
                    for how in {HOW[number % len(HOW)], HOW[(number // len(HOW) + 1) % len(HOW)]}:
                        state = target / f"{changes:05d}-{how}"
                        disk.after_power_loss(state, random.Random(f"{changes}{how}"), how)
                        made.append((state, disk.marks))
    if part == of:
        for how in sorted(set(HOW)):  # some time after the end
            state = target / f"end-{how}"
            disk.after_power_loss(state, random.Random(how), how)
            made.append((state, disk.marks))
    return made


def _check(stage: Stage, what: str, undisturbed: dict | None, events: list[dict], state: Path, promised: int) -> None:
    if what == "init":
        assert workspace.is_workspace(state) or not promised, "a workspace that was made is gone"
        if not workspace.is_workspace(state):
            studies.make(state, stage.corpus)
        nights.check_new(state, stage)
    else:
        stage.play(NIGHTS[what], state)
        nights.check(state, undisturbed, events[:promised])
