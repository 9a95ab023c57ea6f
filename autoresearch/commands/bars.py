"""What takes time before and beside a run, shown on the standard error stream: nothing is silent for longer than two seconds on a
terminal, where a bar and a clock move by themselves, and for longer than LINE_SECONDS elsewhere, where a line is printed.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from autoresearch.commands.say import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LINE_SECONDS = 30.0  # as the lines of a run: a night's log stays short, and who looks on knows within half a minute
# Rich's own are yellow, cyan and green, which nobody reads on white.
_IN_THE_TEXTS_COLOUR = ("progress.elapsed", "progress.remaining", "progress.spinner", "progress.description")


class Shown(Protocol):
    """An OnProgress (data/progress.py); 0 of None is a stage whose length nobody knows: its time is counted."""

    def __call__(self, stage: str, done_bytes: int, total_bytes: int | None) -> None: ...

    def say(self, line: str) -> None:
        """A line that stays, and the stage that begins with it."""


@contextmanager
def bars(quiet: bool, plain: bool) -> "Iterator[Shown | None]":
    """A bar for the stage that is under way; on plain output or without a terminal, lines. quiet: nothing, and None."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.theme import Theme

    console = Console(stderr=True, theme=Theme(dict.fromkeys(_IN_THE_TEXTS_COLOUR, "none")))
    with _lines() if plain or not console.is_terminal else _bar(console) as shown:
        yield shown


@contextmanager
def doing(stage: str, quiet: bool, plain: bool) -> Iterator[None]:
    """Show a stage while the block does it."""
    with bars(quiet, plain) as shown:
        if shown:
            shown(stage, 0, None)
        yield


@contextmanager
def looking(quiet: bool, plain: bool) -> Iterator[None]:
    """Show on a terminal that the machine is looked at while the block does it: each framework is imported, which takes seconds."""
    from autoresearch.hardware.devices.detect import LOOKING

    with doing(LOOKING, quiet or not sys.stderr.isatty(), plain):
        yield


def _amount(done_bytes: int, total_bytes: int | None) -> str:
    if total_bytes is None:
        return f"{done_bytes / 1e6:,.1f} MB" if done_bytes else ""
    return f"{done_bytes / 1e6:,.1f} of {total_bytes / 1e6:,.1f} MB"


@contextmanager
def _lines() -> Iterator[Shown]:
    lines, over = _Lines(), threading.Event()

    def count() -> None:
        while not over.wait(LINE_SECONDS):
            lines.count()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


class _Lines:
    """A line for each stage at its start, and one for that which is under way now and then."""

    def __init__(self) -> None:
        self._stage, self._began, self._amount = "", 0.0, ""
        self._seen: set[str] = set()

    def __call__(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        self._amount = _amount(done_bytes, total_bytes)
        if stage == self._stage:
            return
        self._stage, self._began = stage, time.monotonic()
        if stage not in self._seen:
            self._seen.add(stage)
            say(stage if total_bytes is None else f"{stage} ({total_bytes / 1e6:,.1f} MB)", err=True)

    def say(self, line: str) -> None:
        say(line, err=True)
        self._seen.add(line)
        self(line, 0, None)

    def count(self) -> None:
        if self._stage:
            so_far = f"{time.monotonic() - self._began:.0f} s so far"
            say(", ".join(part for part in (f"{self._stage.strip()}: {self._amount}".rstrip(": "), so_far)), err=True)


@contextmanager
def _bar(console: "Console") -> Iterator[Shown]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    spinner = SpinnerColumn("line" if console.options.ascii_only or console.legacy_windows else "dots")
    bar, amount = BarColumn(bar_width=20), TextColumn("{task.fields[amount]}")
    columns = (spinner, TextColumn("{task.description}", markup=False), bar, amount, TimeElapsedColumn(), TimeRemainingColumn())
    # What is printed meanwhile appears above; what goes into a file or a pipe goes there.
    to_terminal = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, refresh_per_second=4, redirect_stdout=to_terminal) as progress:
        yield _Bar(progress)


class _Bar:
    """The stage that is under way, one at a time; rich's thread moves it."""

    def __init__(self, progress: "Progress"):
        self._progress = progress
        self._stage: str | None = None

    def __call__(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        if stage != self._stage:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
            self._stage, self._task = stage, self._progress.add_task(stage, total=total_bytes, amount="")
        # rich's clock stops at a full bar, and work goes on after the last byte: merges are learnt, an order is made.
        shown_bytes = done_bytes if total_bytes is None else min(done_bytes, total_bytes - 1)
        self._progress.update(self._task, completed=shown_bytes, amount=_amount(done_bytes, total_bytes))

    def say(self, line: str) -> None:
        say(line, err=True)
        self(line.strip(), 0, None)
