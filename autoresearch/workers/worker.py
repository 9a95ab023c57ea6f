"""One worker: it makes runs, one at a time, exactly as the loop of one worker makes them (run/engine.py), and tells of them.

It knows no ledger. What it is not told to go on with it ends, and nothing of it is left.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.measure.clock import asleep_seconds
from autoresearch.run import engine
from autoresearch.run.experiment import Monitor
from autoresearch.run.setup import Progress, Setup
from autoresearch.workers.work import Done, Ended, Failed, Order, Ready, Refused, Said, Under

TOLD_SECONDS = 0.5  # between two words of how far a run is
LOOK_SECONDS = 0.02  # of a run that waits at READY, for the word to go


class Unwanted(Exception):
    """The order is to end."""


class _Clock(Monitor):
    """Whether the machine slept while it trained."""

    asleep_seconds = 0.0

    def start(self) -> None:
        self._before = asleep_seconds()

    def check(self) -> None:
        self.asleep_seconds = max(0.0, asleep_seconds() - self._before)


class Worker:
    """`perform` in one thread; `go` and `end` from any other."""

    def __init__(self, setup: Setup, runs: Path, say: Callable[[Said], None]):
        """runs: where the folders of its runs are."""
        self._setup, self._runs, self._say = setup, runs, say
        self._may_go, self._is_unwanted = threading.Event(), threading.Event()
        self._due = 0.0
        self._phase = ""

    def go(self) -> None:
        self._may_go.set()

    def end(self) -> None:
        self._is_unwanted.set()

    def perform(self, order: Order) -> None:
        """Make the run and say what came of it, last one of work.LAST."""
        self._may_go.clear()
        self._is_unwanted.clear()
        try:
            self._say(self._performed(order))
        except Unwanted:
            self._say(Ended(order.id))
        except EnvironmentFailure as failure:
            self._say(Failed(order.id, str(failure)))

    def _performed(self, order: Order) -> Said:
        setup = replace(self._setup, constraints=order.constraints, baseline=order.baseline, bounds=order.bounds)
        folder, made, clock, warm = self._runs / order.folder, engine.of(setup), _Clock(), None

        def on_progress(progress: Progress) -> None:
            self._heed()
            if progress.phase != self._phase or time.monotonic() >= self._due:
                self._phase, self._due = progress.phase, time.monotonic() + TOLD_SECONDS
                self._say(Under(order.id, progress))

        if order.waits:
            try:
                warm = made.warm_up(setup, order.text, order.seed, folder, on_progress)
            except RunFailed as failure:
                return Refused(order.id, failure.kind, failure.reason)
            with warm.ended_on_error():
                self._say(Ready(order.id))
                while not self._may_go.wait(LOOK_SECONDS):
                    self._heed()
        result = made.execute(setup, order.text, order.seed, folder, on_progress, warm, clock, order.futility, None)
        return Done(order.id, result, clock.asleep_seconds)

    def _heed(self) -> None:
        if self._is_unwanted.is_set():
            raise Unwanted
