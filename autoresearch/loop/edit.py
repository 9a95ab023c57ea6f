"""An edit of train.py by hand, or by a program that drives the study: one step of the ratchet (`autoresearch try`, MCP)."""

import pygit2

from autoresearch import durable
from autoresearch.agents.base import Proposal
from autoresearch.bundle import SINGLE
from autoresearch.errors import UsageError
from autoresearch.loop import baseline
from autoresearch.loop.begin import begin_edit
from autoresearch.loop.loop import check_best, close, establish_baseline, finish
from autoresearch.loop.steering import Steering
from autoresearch.loop.stop import Ending, ending_of
from autoresearch.paths import git
from autoresearch.propose.proposals import objection
from autoresearch.run.setup import Setup
from autoresearch.study import ledger, lock, terms
from autoresearch.study.commits import head_file, text_of
from autoresearch.study.experiments import Experiment
from autoresearch.study.interrupts import Interrupts
from autoresearch.study.session import Listener, Session, opened
from autoresearch.study.state import State
from autoresearch.study.work_tree import work_tree_text
from autoresearch.study.workspace import Study

MANUAL_AGENT = "try"


def try_edit(
    study: Study, setup: Setup, description: str, listener: Listener, train_py: str | None = None,
    interrupts: Interrupts | None = None,
) -> tuple[Experiment | None, Ending]:  # fmt: skip
    """The experiment when it was decided, and how the call ended.

    train_py: the edit's whole text, which is put into the work tree first; None: what lies there. A text that is refused, or fails
    before its training, leaves the work tree as it was. Raises UsageError when the edit does not differ, does not parse, was tried
    before, or would be written over an edit that nobody tried. interrupts: what another thread may end it by.
    """
    terms.check_night(study)
    if train_py is None:
        return _try_work_tree(study, setup, description, listener, interrupts)
    path = study.folder / SINGLE
    before, tried = _put(study, train_py), None
    try:
        tried, ending = _try_work_tree(study, setup, description, listener, interrupts)
        return tried, ending
    finally:
        is_there = path.is_file() and path.read_bytes() == train_py.encode("utf-8")
        if tried is None and before is not None and is_there:
            left = _state_of(study).open  # it may be another's, that was to be finished first
            if all(text_of(study.folder, pending.commit) != train_py for pending in left):
                durable.write(path, before)


def _try_work_tree(
    study: Study, setup: Setup, description: str, listener: Listener, interrupts: Interrupts | None
) -> tuple[Experiment | None, Ending]:
    text = work_tree_text(study.folder)  # before the session: it puts the best back over a text that was tried before
    if text is None:
        restore = f"{git(study.folder)} checkout HEAD train.py"
        raise UsageError(f"there is no readable train.py in {study.folder}; `{restore}` brings the best back")
    number: int | None = None

    def step() -> Ending:
        nonlocal number
        number = _pending_with(session, text)
        if number is None:
            _check(session, text)
            establish_baseline(session, work_tree=False)
            check_best(session)
            while pending := session.state.pending:  # what a run that was cut short was at comes first
                finish(session, pending.number)
            _check(session, text)
            number = begin_edit(session, Proposal(text, description, "an edit of the work tree", agent=MANUAL_AGENT))
        finish(session, number)
        return Ending("1 experiment done")

    with opened(study, setup, listener, interrupts=interrupts) as session:
        session.tick = Steering(session).attend
        ending = ending_of(session, step)
        close(session, ending)
        tried = session.state.experiments[number] if number is not None else None
        return (tried if tried and tried.verdict else None), ending


def _pending_with(session: Session, text: str) -> int | None:
    """The experiment that a killed `try` of this same text left behind."""
    same = (one.number for one in session.state.open if one.number > 0 and session.store.text(one.commit) == text)
    return next(same, None)


def _check(session: Session, text: str) -> None:
    if session.state.best is None and text == baseline.tip(session)[1]:
        raise UsageError("train.py does not differ from the start of the study; edit it, then `autoresearch try -m TEXT`")
    if reason := objection(text, session.state):
        raise UsageError(f"{reason}; edit train.py, then `autoresearch try -m TEXT`")


def _put(study: Study, train_py: str) -> bytes | None:
    """Write the text into the work tree; returns what lay there."""
    try:
        text = train_py.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"train_py is not text that UTF-8 can hold (character {error.start}); mend it") from error
    path = study.folder / SINGLE
    with lock.hold(study.lock):
        before = path.read_bytes() if path.is_file() else None
        normalized = None if before is None else before.replace(b"\r\n", b"\n")
        is_known = (
            normalized in (None, text, head_file(study.folder, SINGLE)) or str(pygit2.hash(normalized)) in _state_of(study).blobs
        )
        if not is_known:
            raise UsageError(
                f"train.py in {study.folder} holds an edit that was never tried; try it first, without train_py,"
                f" or drop it with `{git(study.folder)} checkout HEAD train.py`"
            )
        durable.write(path, text)
    return before


def _state_of(study: Study) -> State:
    return State.from_events(ledger.read(study.events))
