"""A kill at every durable operation, and the way back.

A kill leaves on the disk what was written until then. So one night is run, and before each of its durable operations (and in the
middle of each write) its folder is copied: each copy is the night that was killed there. A new process takes each to its end.
"""

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import faults
import pygit2
import studies

from autoresearch.study import lines, workspace
from autoresearch.study.state import State

from . import nights
from .forked import each, fork, quick_workers
from .nights import NIGHTS, Night, Stage


@dataclass
class Figures:
    """Of a suite: how many cases, and what went wrong, in words."""

    name: str
    cases: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, name: str, trouble: str | None) -> None:
        self.cases += 1
        if trouble:
            self.failures.append(f"{name}: {trouble}")


class Snapshots:
    """A hook that copies a folder before each operation in it: those copies that `keep` chooses of all, at most `limit`."""

    def __init__(self, folder: Path, target: Path, keep: slice = slice(None), limit: int = 1 << 20):
        self._folder, self._target, self._limit = folder, target, limit
        self._wanted = range(keep.start or 0, 1 << 30, keep.step or 1)
        self._count = 0
        self.made: list[Path] = []

    def __call__(self, kind: str, path, *detail) -> None:
        if not str(path).startswith(("refs/", str(self._folder))):
            return
        name = str(path).removeprefix(str(self._folder)).strip("/").replace("/", "+")
        self._copy(f"{kind}-{name}")
        if detail and (half := self._copy(f"half-{name}")):
            with open(half / os.path.relpath(path, self._folder), "ab") as file:
                file.write(detail[1][: len(detail[1]) // 2])

    def _copy(self, name: str) -> Path | None:
        number, self._count = self._count, self._count + 1
        if number not in self._wanted or len(self.made) >= self._limit:
            return None
        self.made.append(nights.copy(self._folder, self._target / f"{number:03d}-{name}"[:120]))
        return self.made[-1]


def killed_anywhere(stage: Stage, name: str, keep: slice = slice(None), twice_every: int = 0) -> Figures:
    """The points `keep` of one kind of night. At each twice_every-th, the first operations of the way back are points too."""
    figures, night = Figures(f"kill: {name}"), NIGHTS[name]
    started = time.monotonic()
    with quick_workers():
        undisturbed, chosen = record(stage, name, night, keep)
        twice = set(chosen[::twice_every]) if twice_every else set()
        for point, again, trouble in each(lambda point: resume(stage, night, point, undisturbed, point in twice), chosen):
            figures.add(f"{name}/{point.name}", trouble)
            for other, _, more in each(lambda other: resume(stage, night, other, undisturbed, False), again or []):
                figures.add(f"{name}/{point.name}/{other.name}", more)
            shutil.rmtree(point)
            shutil.rmtree(_again(point), ignore_errors=True)
    figures.seconds = time.monotonic() - started
    return figures


def record(stage: Stage, name: str, night: Night, keep: slice) -> tuple[dict, list[Path]]:
    """An undisturbed night: its facts, and a copy of its folder at the points `keep`. In a process of its own."""
    target = stage.folder / f"{name}-points"
    stage.setup(night.decide)

    def undisturbed(_) -> tuple[dict, list[Path]]:
        folder = stage.fresh(night, f"{name}-undisturbed")
        with faults.armed(Snapshots(folder, target, keep)) as snapshots:
            stage.play(night, folder)
        found = nights.facts(folder)
        nights.check(folder, found, [])
        state = studies.state_of(workspace.load(folder))
        states = {one.state for one in state.experiments} | ({"rejected"} if state.rejections else set())
        assert night.states <= states, states
        return found, snapshots.made

    [(_, answer, trouble)] = each(undisturbed, [None])
    assert trouble is None, trouble
    return answer


def resume(stage: Stage, night: Night, point: Path, undisturbed: dict, twice: bool) -> list[Path]:
    """Take a killed night to its end, and check it. Returns copies of it at the first operations of the way back."""
    events = point / ".autoresearch" / "events.jsonl"
    prefix = lines.parse(lines.content(events), events).events
    state = State.from_events(prefix)
    tip = pygit2.Repository(str(point)).references["refs/heads/autoresearch/t"].target
    kept = {one.commit for one in state.experiments if one.verdict == "keep"}
    assert str(tip) in kept or (state.best is None), "the branch is ahead of the ledger"
    with faults.armed(Snapshots(point, _again(point), limit=12 if twice else 0)) as snapshots:
        stage.play(night, point)
    nights.check(point, undisturbed, prefix)
    return snapshots.made


def _again(point: Path) -> Path:
    return point.with_name(f"{point.name}-again")


def killed_in_create(stage: Stage, keep: slice = slice(None)) -> Figures:
    """The making of a workspace: what is left is finished, or made anew."""
    figures = Figures("kill: init")
    started = time.monotonic()
    folder, target = stage.folder / "init", stage.folder / "init-points"
    with faults.armed(Snapshots(folder, target, keep)) as snapshots:
        study, _ = studies.make(folder, stage.corpus)

    def check(point: Path) -> None:
        if not workspace.is_workspace(point):
            studies.make(point, stage.corpus)
        again = nights.check_new(point, stage)
        assert again.to_toml().replace(again.created, "") == study.to_toml().replace(study.created, "")

    stage.setup("strict")
    with quick_workers():
        for point, _, trouble in each(check, snapshots.made):
            figures.add(f"init/{point.name}", trouble)
            shutil.rmtree(point)
    figures.seconds = time.monotonic() - started
    return figures


def killed_at_random(stage: Stage, times: int, seed: int = 0) -> Figures:
    """Real kills (signal 9) of real processes with their work in full swing, one after another until the night is over."""
    figures, rng = Figures("kill -9 at random times"), random.Random(seed)
    started = time.monotonic()
    with quick_workers():
        while figures.cases < times:
            name = rng.choice(["keep", "discard", "crash", "rejected", "confirmed"])
            night = NIGHTS[name]
            [(_, undisturbed, trouble)] = each(lambda _, night=night: _facts_of(stage, night), [None])
            assert trouble is None, trouble
            folder = stage.fresh(night, f"random-{figures.cases}")
            trouble, prefix = None, []
            while figures.cases < times and not trouble and not _ended_by_kill(stage, night, folder, rng.expovariate(1 / 0.4)):
                prefix, trouble = _grown(folder, prefix)
                figures.add(f"{name}, kill {figures.cases}", trouble)
            [(_, _, trouble)] = each(lambda _, n=night, f=folder, u=undisturbed, p=prefix: _end(stage, n, f, u, p), [None])
            if trouble:
                figures.failures.append(f"{name} after kills: {trouble}")
            shutil.rmtree(folder)
    figures.seconds = time.monotonic() - started
    return figures


def _facts_of(stage: Stage, night: Night) -> dict:
    folder = stage.fresh(night, f"undisturbed-{os.getpid()}")
    stage.play(night, folder)
    found = nights.facts(folder)
    shutil.rmtree(folder)
    return found


def _end(stage: Stage, night: Night, folder: Path, undisturbed: dict, prefix: list[dict]) -> None:
    stage.play(night, folder)
    nights.check(folder, undisturbed, prefix)


def _ended_by_kill(stage: Stage, night: Night, folder: Path, seconds: float) -> bool:
    """Whether the night came to its end before the kill."""
    pid = fork()
    if pid == 0:
        try:
            os.setsid()
            stage.play(night, folder)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(pid, 0)[1])


def _grown(folder: Path, before: list[dict]) -> tuple[list[dict], str | None]:
    events = folder / ".autoresearch" / "events.jsonl"
    now = lines.parse(lines.content(events), events).events
    return now, None if now[: len(before)] == before else "the ledger lost lines"
