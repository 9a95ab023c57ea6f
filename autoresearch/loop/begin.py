"""From a proposal to an experiment whose first run waits at READY.

Before it is an experiment, a proposal has passed the checks of proposals.py, compiled, made two real steps and kept within the
constraints: in the process that then trains, so that a good one loses no time by it. What fails costs no training time.
"""

import contextlib
import time
from collections.abc import Collection, Iterator
from typing import TypedDict

from msgspec import UNSET, UnsetType

from autoresearch import constants
from autoresearch.agents.base import Proposal
from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop import watch
from autoresearch.loop.stop import Stop, machine_failed, stop_if_asked
from autoresearch.propose.proposals import objection, program_key
from autoresearch.propose.proposer import NoMore, Proposer
from autoresearch.run import engine
from autoresearch.study import events
from autoresearch.study.session import Begun, Session, log_tail, run_name
from autoresearch.text import described, for_message

SAY_SECONDS = 30.0  # between two lines while an agent is waited for


class Failure(TypedDict):
    """What the ledger keeps of a proposal that failed before READY."""

    state: events.Failed
    reason: str
    log: str
    commit: str
    key: str


def begin(session: Session, proposer: Proposer) -> int:
    """The next proposal whose process came as far as READY is an experiment now: its number.

    Others go back to whoever proposed them, with the error. What the agents can't mend stops the study.
    """
    while True:
        stop_if_asked(session)
        with _ends_the_study(), _said_while_waiting(session):
            proposal = handed(session) or rebased(session) or proposer.next()
        begun = warm_up(session, proposal)
        if isinstance(begun, Begun):
            with begun.warm.ended_on_error():
                stop_if_asked(session)
                number = start(session, proposal, begun)
                proposer.accepted(proposal)
            return number
        if isinstance(begun, RunFailed) and proposal.agent == events.PERSON:
            record_rejected(session, proposal, **rejection(session, proposal, begun))
        elif isinstance(begun, RunFailed):
            with _ends_the_study():
                proposer.reject(proposal, **rejection(session, proposal, begun))
        else:
            machine_failed(session, begun)


def handed(session: Session) -> Proposal | None:
    """The next train.py that a person handed in, if it may be trained; what may not is recorded as rejected."""
    while waiting := session.state.handed:
        first = waiting[0]
        proposal = Proposal(session.store.text(first.commit), first.description, "handed in by a person", agent=events.PERSON)
        reason = objection(proposal.train_py, session.state)
        if reason is None:
            return proposal
        record_rejected(session, proposal, reason)
    return None


def rebased(session: Session, but: Collection[int] = ()) -> Proposal | None:
    """The next edit of an experiment whose base is no longer the best, made on the best; what can't be is recorded as rejected.

    but: those that are checked already. One of several workers' (next_step.py).
    """
    state, store = session.state, session.store
    for number in [number for number in state.to_rebase if number not in but]:
        subject, best = state.experiments[number], state.best
        assert subject.base is not None and best is not None, "else it was not rebased"
        edited = store.text(subject.commit)
        base, onto = store.text(state.experiments[subject.base].commit), store.text(best.commit)
        merged = _by_values(base, edited, onto) or store.merge(base, edited, onto)
        why = f"{subject.reasoning}\n\nthe edit of experiment {number}, made on experiment {best.number}"
        proposal = Proposal(merged or edited, subject.description, why, agent=subject.agent, again=number)
        reason = "the best changed meanwhile, in the lines of this edit" if merged is None else objection(merged, state)
        if reason is None:
            return proposal
        record_rejected(session, proposal, f"{reason}; make it again on the new best, if it still helps")
    return None


def _by_values(base: str, edited: str, onto: str) -> str | None:
    """An edit of constants alone, made on another text that has their values as they were: git would see a conflict in lines that
    stand side by side.
    """
    changes, was, there = constants.between(base, edited), constants.read(base), constants.read(onto)
    if not changes or any(name not in there or there[name].value != was[name].value for name in changes):
        return None
    return constants.write(onto, changes)


@contextlib.contextmanager
def _said_while_waiting(session: Session) -> Iterator[None]:
    """Where nobody fills in for an agent that thinks, nothing trains, and the session's tick is all that goes on: it says so."""
    tick, start, due = session.tick, time.monotonic(), 0.0

    def say_too() -> None:
        nonlocal due
        tick()
        if time.monotonic() >= due:
            due = time.monotonic() + SAY_SECONDS
            with session.interrupts.whole():
                seconds = time.monotonic() - start
                so_far = f" ({seconds:.0f} s so far)" if seconds >= 1 else ""
                session.show_wait(f"waiting for a proposal{so_far}; nothing trains meanwhile")

    session.tick = say_too
    try:
        yield
    finally:
        session.tick = tick


@contextlib.contextmanager
def _ends_the_study() -> Iterator[None]:
    """What an agent can't mend: it has nothing more, or it can't work here."""
    try:
        yield
    except NoMore as end:
        raise Stop(str(end), end.exit_status) from end
    except EnvironmentFailure as failure:
        raise Stop(str(failure), failure.exit_status) from failure


def begin_edit(session: Session, proposal: Proposal) -> int:
    """As `begin`, for an edit by hand: what fails before its training stays in the work tree, to be mended."""
    while True:
        begun = warm_up(session, proposal)
        if isinstance(begun, Begun):
            with begun.warm.ended_on_error():
                return start(session, proposal, begun)
        if isinstance(begun, RunFailed):
            found = rejection(session, proposal, begun)
            record_rejected(session, proposal, **found)
            reason = f"it failed before its training ({begun.kind}): {begun.reason}; mend train.py, then try again"
            raise Stop(reason, 1, found["log"])
        machine_failed(session, begun)


def record_rejected(
    session: Session, proposal: Proposal, reason: str, state: events.Failed | UnsetType = UNSET, log: str | UnsetType = UNSET,
    commit: str | UnsetType = UNSET, key: str | UnsetType = UNSET,
) -> None:  # fmt: skip
    """Of a proposal that no agent has made. state and what follows: of one that was started."""
    session.record(
        events.Rejected(
            n=len(session.state.experiments), agent=proposal.agent, description=described(proposal.description),
            reasoning=proposal.reasoning, cost_usd=proposal.cost_usd, reason=reason, state=state, log=log, commit=commit, key=key,
            again=UNSET if proposal.again is None else proposal.again,
        )
    )  # fmt: skip


def start(session: Session, proposal: Proposal, begun: Begun | None, base: int | None = None) -> int:
    """Make the proposal an experiment: its commit, its line in the ledger, its ref, in this order. Its number.

    begun: its process, which is the session's for the run that comes next; None: a worker has it. base: of several workers', the
    experiment that it is an edit of.
    """
    state, store = session.state, session.store
    assert state.best is not None, "the baseline comes first"
    is_of_best = base is None or base == state.best.number
    number, parent = len(state.experiments), store.base((state.best if is_of_best else state.experiments[base or 0]).commit)
    words = f"{described(proposal.description)}\n\n{for_message(proposal.reasoning)}"
    message = f"{words}\n\nexperiment {number}, proposed by {proposal.agent}\n"
    commit, blob = session.persist(lambda: store.propose(parent, proposal.train_py, message))
    record_start(session, number, commit, parent, blob, program_key(proposal.train_py), proposal, base)
    session.begun = begun
    return number


def record_start(
    session: Session, number: int, commit: str, parent: str | None, blob: str, key: str, proposal: Proposal, base: int | None = None
) -> None:  # fmt: skip
    session.record(
        events.Start(
            n=number, commit=commit, parent=parent, blob=blob, key=key, description=described(proposal.description),
            reasoning=proposal.reasoning, agent=proposal.agent, cost_usd=proposal.cost_usd,
            base=UNSET if base is None else base, again=UNSET if proposal.again is None else proposal.again,
        )
    )  # fmt: skip
    session.persist(lambda: session.store.name(number, commit))


def warm_up(session: Session, proposal: Proposal) -> Begun | RunFailed | EnvironmentFailure:
    """The proposal's process at READY: compiled, two steps made, within the constraints. Or what is wrong."""
    number = len(session.state.experiments)
    session.show_check(number, proposal.description)
    session.wait_for_room()
    watch.await_steady(session)
    conditions = session.look()
    try:
        with session.interrupts.breakable():
            folder, seed = session.run_folder(number, 1), session.state.next_seed()
            on_progress = session.progress_to(number, 1)
            warm = engine.of(session.setup).warm_up(session.setup, proposal.train_py, seed, folder, on_progress)
        session.machine_failures = 0
        return Begun(warm, conditions)
    except RunFailed as failure:
        return EnvironmentFailure(f"the disk is full ({failure.reason})") if session.lost_its_room(folder) else failure
    except EnvironmentFailure as failure:
        return failure


def rejection(session: Session, proposal: Proposal, failure: RunFailed, folder: str | None = None) -> Failure:
    """The commit has a ref when this returns. folder: of its run, where it is not that of the next experiment."""
    known = session.state
    assert known.best is not None, "the baseline comes first"
    folder = folder or run_name(len(known.experiments), 1)
    tail = for_message(log_tail(session.study.runs / folder / "log.txt"))
    message = f"{described(proposal.description)}\n\nnot trained: {for_message(failure.reason)}\n"
    parent = session.store.base(known.best.commit)
    commit, _ = session.persist(lambda: session.store.propose(parent, proposal.train_py, message))
    session.persist(lambda: session.store.name(f"rejected-{len(known.rejections) + 1}", commit))
    key = program_key(proposal.train_py)
    state: events.Failed = next((kind for kind in events.FAILED if kind == failure.kind), "crash")
    return {"state": state, "reason": failure.reason, "log": tail, "commit": commit, "key": key}
