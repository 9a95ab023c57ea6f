"""From a proposal to an experiment whose first run waits at READY.

Before it is an experiment, a proposal has passed the checks of proposals.py, compiled, made two real steps and kept within the
constraints: in the process that then trains, so that a good one loses no time by it. What fails costs no training time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from autoresearch.agents.base import Proposal
from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop import watch
from autoresearch.loop.stop import Stop, environment_failed, stop_if_asked
from autoresearch.propose.proposals import clean, described, program_key
from autoresearch.propose.proposer import NoMore, Proposer
from autoresearch.run import experiment
from autoresearch.run.experiment import Warm
from autoresearch.study import schema
from autoresearch.study.session import Session, log_tail

MANUAL_AGENT = "try"


@dataclass(frozen=True)
class Begun:
    """The first run of an experiment that waits at READY."""

    warm: Warm
    conditions: dict  # of the machine, before its start


def begin(session: Session, proposer: Proposer) -> tuple[int, Begun]:
    """The next proposal whose process came as far as READY is an experiment now: its number, and that process.

    Others go back to whoever proposed them, with the error. What the agents can't mend stops the study.
    """
    failures = 0
    while True:
        stop_if_asked(session)
        try:
            found = proposer.next()
        except NoMore as end:
            raise Stop(str(end), end.exit_status) from end
        except EnvironmentFailure as failure:
            raise Stop(str(failure), failure.exit_status) from failure
        begun, failure = warm_up(session, found.proposal, proposer.tick)
        if isinstance(failure, RunFailed):
            try:
                proposer.reject(found, **_rejection(session, found.proposal, failure))
            except NoMore as end:
                raise Stop(str(end), end.exit_status) from end
        elif failure:
            failures = environment_failed(session, failures, failure)
        else:
            with begun.warm.ended_on_error():
                stop_if_asked(session)
                number = start(session, found.proposal, found.agent)
                proposer.accepted(found)
            return number, begun


def begin_edit(session: Session, proposal: Proposal) -> tuple[int, Begun]:
    """As `begin`, for an edit by hand: what fails before its training stays in the work tree, to be mended."""
    failures = 0
    while True:
        begun, failure = warm_up(session, proposal, lambda: None)
        if isinstance(failure, RunFailed):
            words = {"description": described(proposal.description), "reasoning": proposal.reasoning, "cost_usd": 0.0}
            found = _rejection(session, proposal, failure)
            session.record("rejected", n=len(session.state.experiments), agent=MANUAL_AGENT, **words, **found)
            reason = f"it failed before its training ({failure.kind}): {failure.reason}; mend train.py, then try again"
            raise Stop(reason, 1, found["log"])
        if failure is None:
            with begun.warm.ended_on_error():
                return start(session, proposal, MANUAL_AGENT), begun
        failures = environment_failed(session, failures, failure)


def start(session: Session, proposal: Proposal, agent: str) -> int:
    """Make the proposal an experiment: its commit, its line in the ledger, its ref, in this order. Its number."""
    state, store = session.state, session.store
    number, parent = len(state.experiments), store.base(state.best.commit)
    description = described(proposal.description)
    message = f"{description}\n\n{clean(proposal.reasoning)}\n\nexperiment {number}, proposed by {agent}\n"
    commit, blob = session.persist(lambda: store.propose(parent, proposal.train_py, message))
    record_start(session, number, commit, parent, blob, program_key(proposal.train_py), description, proposal, agent)
    return number


def record_start(session, number, commit, parent, blob, key, description, proposal, agent) -> None:
    session.record(
        "start", n=number, commit=commit, parent=parent, blob=blob, key=key, description=description,
        reasoning=proposal.reasoning, agent=agent, cost_usd=proposal.cost_usd,
    )  # fmt: skip
    session.persist(lambda: session.store.name(number, commit))


def warm_up(
    session: Session, proposal: Proposal, tick: Callable[[], None]
) -> tuple[Begun, None] | tuple[None, RunFailed | EnvironmentFailure]:
    """The proposal's process at READY: compiled, two steps made, within the constraints. Or what is wrong."""
    number = len(session.state.experiments)
    session.show_check(number, proposal.description)
    session.wait_for_room()
    watch.await_steady(session, tick)
    conditions = session.look()
    try:
        with session.interrupts.breakable():
            folder, seed = session.run_folder(number, 1), session.state.next_seed()
            on_progress = session.progress_to(number, 1, tick)
            return Begun(experiment.warm_up(session.setup, proposal.train_py, seed, folder, on_progress), conditions), None
    except RunFailed as failure:
        return None, EnvironmentFailure(f"the disk is full ({failure.reason})") if session.lost_its_room(folder) else failure
    except EnvironmentFailure as failure:
        return None, failure


def _rejection(session: Session, proposal: Proposal, failure: RunFailed) -> dict:
    """What the ledger keeps of a proposal that failed before READY; its commit has a ref."""
    number, known = len(session.state.experiments), session.state
    tail = clean(log_tail(session.study.runs / f"{number:04d}-1" / "log.txt"))
    message = f"{described(proposal.description)}\n\nnot trained: {clean(failure.reason)}\n"
    parent = session.store.base(known.best.commit)
    commit, _ = session.persist(lambda: session.store.propose(parent, proposal.train_py, message))
    session.persist(lambda: session.store.name(f"rejected-{len(known.rejections) + 1}", commit))
    key = program_key(proposal.train_py)
    state = failure.kind if failure.kind in schema.FAILED else "crash"
    return {"state": state, "reason": failure.reason, "log": tail, "commit": commit, "key": key}
