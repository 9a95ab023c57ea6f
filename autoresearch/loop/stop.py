"""How a call of `run`, `try` or `noise` ends: at its natural end or before, in good order, with a reason."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from autoresearch.errors import EnvironmentFailure
from autoresearch.study.session import Session

ENVIRONMENT_TRIES = 3  # failures in a row that are the machine's fault
ENVIRONMENT_WAIT_SECONDS = 10.0  # before trying again


@dataclass(frozen=True)
class Ending:
    """Why a call ended, in one line, its exit status, and what helps to see why (the end of a log)."""

    reason: str
    exit_status: int = 0
    detail: str = ""


class Stop(Exception):
    """Ends the loop in good order."""

    def __init__(self, reason: str, exit_status: int = 0, detail: str = ""):
        super().__init__(reason)
        self.ending = Ending(reason, exit_status, detail)


def ending_of(session: Session, work: Callable[[], Ending]) -> Ending:
    """What work returns, or what ended it."""
    try:
        return work()
    except Stop as stop:
        return stop.ending
    except KeyboardInterrupt:
        return Ending(session.interrupts.word, session.interrupts.exit_status)


def stop_if_asked(session: Session) -> None:
    if session.interrupts.requested:
        raise Stop(session.interrupts.word, session.interrupts.exit_status)


def machine_failed(session: Session, failure: EnvironmentFailure) -> None:
    """Return after a wait, to try again; a full disk pauses and does not count. Stops the study when it was too often in a row."""
    if session.disk_is_full:
        session.machine_failures = 0
        return session.wait_for_room()
    session.machine_failures += 1
    if session.machine_failures >= ENVIRONMENT_TRIES:
        raise Stop(f"{session.machine_failures} times in a row the machine failed, not the experiment: {failure}", 1)
    with session.interrupts.breakable():
        time.sleep(ENVIRONMENT_WAIT_SECONDS)
