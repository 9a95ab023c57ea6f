"""A person's say while a run goes on: requests of the inbox become events of the ledger, and are heeded.

tell      the agents are shown it under program.md (propose/views.py)
pause     what is checked or trained is finished first; then nothing is begun until resume. It outlives the process
skip      the experiment ends as a discard of the state skip, which is no crash and nothing an agent is judged by
propose   a train.py of a person's is the next proposal, with every check that a proposal passes
"""

import time
from collections.abc import Callable
from pathlib import Path

from autoresearch import durable
from autoresearch.border import files
from autoresearch.errors import LedgerRefusal
from autoresearch.loop.stop import Stop, stop_if_asked
from autoresearch.run.setup import OnProgress, Progress
from autoresearch.study import events, inbox
from autoresearch.study.session import Session
from autoresearch.text import described, harmless

LOOK_SECONDS = 0.5  # between two looks into the inbox
PAUSED = "paused, as `autoresearch pause` asked; `autoresearch resume` goes on"


class Skipped(Exception):
    """The experiment that trains is not wanted any more."""


class Steering:
    """For the process that has the study's lock."""

    def __init__(self, session: Session):
        self._session, self._next_look = session, 0.0
        inbox.tidy(session.study.inbox)

    def attend(self) -> None:
        """Take what waits in the inbox. Called a few times a second."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            for path, request in inbox.waiting(self._session.study.inbox):
                with self._session.interrupts.whole():
                    self._take(path, request)

    def hold(self, reached: Callable[[], str | None]) -> None:
        """Return when nobody wants a pause. Raises Stop, also for a limit of the call that is reached meanwhile."""
        session = self._session
        self._next_look = 0.0
        self.attend()
        if session.state.paused:
            session.note(PAUSED)
        while session.state.paused:
            stop_if_asked(session)
            if over := reached():
                raise Stop(over)
            with session.interrupts.breakable():
                time.sleep(LOOK_SECONDS)
                session.interrupts.speak()
                self.attend()

    def _take(self, path: Path, request: inbox.Request | None) -> None:
        """One request: recorded, then removed. Where a kill came in between, only removed."""
        session, name = self._session, path.stem
        if name not in session.state.requests:
            try:
                if request is None:
                    raise ValueError("it is none")
                session.record(self._event(name, request))
            except (ValueError, LedgerRefusal) as error:  # somebody else's file, or a skip in a ledger that was cut since
                session.note(f"the request in {path} is dropped: {error}")
        durable.step("unlink", path)
        files.remove(path)  # whatever it is

    def _event(self, name: str, request: inbox.Request) -> events.Event:
        match request.kind:
            case "tell":
                return events.Told(id=name, text=harmless(request.text, events.CHARACTERS["text"]))
            case "pause":
                return events.Pause(id=name, reason="asked for; what is checked or trained is finished first")
            case "resume":
                return events.Resume(id=name)
            case "skip":
                return events.Skip(id=name, n=request.n or 0)
        session, words = self._session, described(request.description)
        base = session.state.best.commit if session.state.best else session.store.tip
        if base is None:
            raise ValueError("the study's branch is gone")
        commit, _ = session.persist(lambda: session.store.propose(base, request.text, f"{words}\n\nhanded in, not tried yet\n"))
        session.persist(lambda: session.store.name(f"handed-{name}", commit))  # its ref first: what is recorded is there
        return events.Handed(id=name, commit=commit, description=words)


def unless_skipped(session: Session, on_progress: OnProgress) -> OnProgress:
    """on_progress, which raises Skipped once the experiment that the training is for is not wanted."""

    def heed(progress: Progress) -> None:
        on_progress(progress)
        if session.state.pending and session.state.pending.skipped:
            raise Skipped

    return heed
