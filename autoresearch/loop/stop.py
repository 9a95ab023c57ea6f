"""How a call of `run` or `try` ends before its work is done: in good order, with a reason."""

import time
from dataclasses import dataclass

from autoresearch.errors import EnvironmentFailure
from autoresearch.study.session import Session

ENVIRONMENT_TRIES = 3  # failures in a row that are the machine's fault
ENVIRONMENT_WAIT_SECONDS = 10.0  # before trying again


@dataclass(frozen=True)
class Outcome:
    """How a call ended: why, in one line, the exit status, and what helps to see why (the end of a log)."""

    reason: str
    exit_status: int = 0
    detail: str = ""


class Stop(Exception):
    """Ends the loop in good order."""

    def __init__(self, reason: str, exit_status: int = 0, detail: str = ""):
        super().__init__(reason)
        self.outcome = Outcome(reason, exit_status, detail)


def stop_if_asked(session: Session) -> None:
    if session.interrupts.requested:
        raise Stop("Ctrl-C", 130)


def environment_failed(session: Session, failures: int, failure: EnvironmentFailure) -> int:
    """One more than failures, after a wait; a full disk pauses and does not count. Stops the study when they are too many."""
    if session.disk_is_full:
        session.wait_for_room()
        return 0
    failures += 1
    if failures == ENVIRONMENT_TRIES:
        raise Stop(f"{failures} times in a row the machine failed, not the experiment: {failure}", 1)
    with session.interrupts.breakable():
        time.sleep(ENVIRONMENT_WAIT_SECONDS)
    return failures
