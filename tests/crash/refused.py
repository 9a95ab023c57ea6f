"""A full disk, a broken one, Ctrl-C, a second process: the study waits, or ends with its reason, or is refused; and goes on."""

import contextlib
import errno
import os
import random
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import faults
import studies

from autoresearch.errors import BrokenDisk, UsageError
from autoresearch.loop import stop
from autoresearch.run import disk
from autoresearch.study import workspace
from autoresearch.study.ledger import read

from . import nights
from .forked import each, interruptible, quick_workers
from .kills import Figures
from .nights import NIGHTS, Night, Stage


class Count:
    def __init__(self):
        self.kinds: list[str] = []

    def __call__(self, kind: str, path, *_) -> None:
        self.kinds.append(kind)


def full(stage: Stage, name: str, keep: slice = slice(None)) -> Figures:
    """The disk is full at an operation and at the two after it: the night pauses, and ends as the undisturbed one."""

    def check(night: Night, folder: Path, k: int, undisturbed: dict) -> None:
        with faults.armed(faults.Fault("ENOSPC", k, repeats=3)) as fault:
            try:
                stage.play(night, folder)
            except OSError as error:  # when it is full already at the start, that is said, and nothing begins
                assert disk.is_full(error) and len(_events(folder)) <= 1, error
                stage.play(night, folder)
        assert fault.hits > 0
        nights.check(folder, undisturbed, [])

    return _at_each_operation(stage, f"disk full: {name}", name, keep, check)


def broken(stage: Stage, name: str, keep: slice = slice(None)) -> Figures:
    """An operation ends in EIO: the study stops with the reason, writes no more lines, and goes on when it is started again."""

    def check(night: Night, folder: Path, k: int, undisturbed: dict) -> None:
        before: list[list[dict]] = []

        class Fault(faults.Fault):
            def __call__(self, *arguments) -> None:
                known = _events(folder)
                try:
                    super().__call__(*arguments)
                except OSError:
                    before.append(known)
                    raise

        with faults.armed(Fault("EIO", k)) as fault:
            try:
                stage.play(night, folder)
            except (BrokenDisk, OSError) as error:
                assert os.strerror(errno.EIO) in str(error), error
                assert not isinstance(error, BrokenDisk) or error.exit_status == 1
            else:
                raise AssertionError("it went on")
        assert fault.hits == 1
        prefix = _events(folder)
        assert prefix == before[0][: len(prefix)], "lines were written after the disk had failed"
        assert len(prefix) >= len(before[0]) - 1, "lines were lost"  # one that was written and could not be synced is cut
        stage.play(night, folder)
        nights.check(folder, undisturbed, prefix)

    return _at_each_operation(stage, f"disk broken: {name}", name, keep, check)


def _at_each_operation(stage: Stage, title: str, name: str, keep: slice, check: Callable) -> Figures:
    """But for unlink, which gives space, and whose failure is no loss."""
    figures, night = Figures(title), NIGHTS[name]
    started = time.monotonic()
    stage.setup(night.decide)

    def undisturbed(_) -> tuple[dict, list[str]]:
        folder = stage.fresh(night, f"{name}-undisturbed-{title.split()[1]}")
        with faults.armed(Count()) as count:
            stage.play(night, folder)
        return nights.facts(folder), count.kinds

    def one(k: int) -> None:
        disk.POLL_SECONDS = stop.ENVIRONMENT_WAIT_SECONDS = 0.0
        folder = stage.fresh(night, f"{name}-{title.split()[1]}-{k}")
        check(night, folder, k, facts)
        shutil.rmtree(folder)

    with quick_workers():
        [(_, (facts, kinds), trouble)] = each(undisturbed, [None])
        assert trouble is None, trouble
        points = [k for k, kind in enumerate(kinds, 1) if kind != "unlink"][keep]
        for k, _, trouble in each(one, points):
            figures.add(f"{title}/{k} ({kinds[k - 1]})", trouble)
    figures.seconds = time.monotonic() - started
    return figures


def small_disk(stage: Stage, times: int) -> Figures:
    """A real disk of 24 MB, which somebody fills to the last byte and frees again while the night runs. Needs root, to mount it."""
    figures, night = Figures("real full disk"), NIGHTS["discard"]
    started = time.monotonic()
    mount = stage.folder / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", str(mount)], check=True)
    try:
        stage.setup(night.decide)
        with quick_workers():
            [(_, undisturbed, trouble)] = each(lambda _: _facts(stage, night), [None])
            assert trouble is None, trouble
            for number in range(times):
                folder = nights.copy_whole(stage.new(night.decide), mount / "study")
                [(_, filled, trouble)] = each(lambda n, f=folder: _filled(stage, night, f, undisturbed, n), [number])
                figures.add(f"filled, night {number}", trouble or (None if filled else "it never had to wait"))
                shutil.rmtree(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)
    figures.seconds = time.monotonic() - started
    return figures


class _Pausing(studies.Recorder):
    """Says so when the night waits for space."""

    def __init__(self, pipe: int):
        super().__init__()
        self._pipe = pipe

    def event(self, event: dict) -> None:
        super().event(event)
        if event["event"] == "note" and event["reason"].startswith("paused"):
            os.write(self._pipe, b"paused")


def _filled(stage: Stage, night: Night, folder: Path, undisturbed: dict, seed: int) -> int:
    """How often the night had to wait."""
    rng, waits = random.Random(seed), 0
    filler = folder.parent / "filler"
    reader, writer = os.pipe()

    def play(_) -> None:
        os.close(reader)
        disk.ROOM_BYTES, disk.POLL_SECONDS, stop.ENVIRONMENT_WAIT_SECONDS = 1 << 23, 0.05, 0.05
        outcome = studies.run(workspace.load(folder), stage.setup(night.decide), night.steps, _Pausing(writer))
        assert "steps are done" in outcome.reason, outcome

    def fill() -> None:
        os.close(writer)
        nonlocal waits
        while True:
            time.sleep(rng.uniform(0, 0.2) * (1 + waits / 4))  # the longer, the more waits: on a slow machine, too, a run fits in
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            said = os.read(reader, 1 << 16)  # nothing: the night is over
            filler.unlink()
            if not said:
                return
            waits += 1
            if select.select([reader], [], [], 0.1)[0]:
                os.read(reader, 1 << 16)

    [(_, _, trouble)] = each(play, [None], meanwhile=fill)
    assert trouble is None, trouble
    nights.check(folder, undisturbed, [])
    return waits


def interrupted(stage: Stage, times: int, seed: int = 0) -> Figures:
    """SIGINT, one to three times, at any moment: the night ends with status 130 (unless it was over), and goes on."""
    figures, rng = Figures("Ctrl-C"), random.Random(seed)
    started = time.monotonic()
    stage.setup("strict")

    def one(case: tuple[int, str, int, float]) -> None:
        number, name, presses, seconds = case
        night = NIGHTS[name]
        folder = stage.fresh(night, f"interrupted-{number}")
        status = _pressed(stage, night, folder, presses, seconds)
        assert status in (0, 130), status
        prefix = _events(folder)
        stage.play(night, folder)
        nights.check(folder, undisturbed[name], prefix)

    with quick_workers():
        names = ["keep", "crash"]
        undisturbed = {name: facts for name, facts, _ in each(lambda name: _facts(stage, NIGHTS[name]), names)}
        cases = [(number, rng.choice(names), number % 3 + 1, rng.uniform(0, 0.5)) for number in range(times)]
        for case, _, trouble in each(one, cases):
            figures.add(f"Ctrl-C {case}", trouble)
    figures.seconds = time.monotonic() - started
    return figures


def _pressed(stage: Stage, night: Night, folder: Path, presses: int, seconds: float) -> int:
    """The exit status of a night that is pressed Ctrl-C on."""
    pid = interruptible(lambda: stage.outcome(night, folder).exit_status)
    time.sleep(seconds)
    for _ in range(presses):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def two_at_once(stage: Stage, times: int) -> Figures:
    """Two processes want the same study: one has it, the other is told so, and the night is the undisturbed one."""
    figures, night = Figures("two at once"), NIGHTS["timeout"]  # which takes longer than a process waits for the lock
    started = time.monotonic()
    stage.setup(night.decide)

    def one(number: int) -> None:
        folder = stage.fresh(night, f"two-{number}")
        answers = {which: (told, trouble) for which, told, trouble in each(lambda which: _try(stage, night, folder), [1, 2])}
        assert all(trouble is None for _, trouble in answers.values()), answers
        told = sorted(told for told, _ in answers.values())
        assert told[0] == "ended" and "is at work in process" in told[1], told
        nights.check(folder, undisturbed, [])

    with quick_workers():
        [(_, undisturbed, _)] = each(lambda _: _facts(stage, night), [None])
        for number, _, trouble in each(one, range(times), at_once=2):
            figures.add(f"two at once {number}", trouble)
    figures.seconds = time.monotonic() - started
    return figures


def _try(stage: Stage, night: Night, folder: Path) -> str:
    try:
        stage.play(night, folder)
        return "ended"
    except UsageError as error:
        return str(error)


def _facts(stage: Stage, night: Night) -> dict:
    folder = stage.fresh(night, f"undisturbed-{os.getpid()}")
    stage.play(night, folder)
    found = nights.facts(folder)
    shutil.rmtree(folder)
    return found


def _events(folder: Path) -> list[dict]:
    return read(folder / ".autoresearch" / "events.jsonl")
