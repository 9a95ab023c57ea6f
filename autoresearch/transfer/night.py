"""A transfer study: made, and trained to its end. Which step comes next is read from its ledger alone, so a killed one goes on.

    experiment 0        the other size's own train.py, and
    experiment 1        the stack of the kept edits: as many seeds each, by turns, so that a slow drift of the machine moves both
    experiment 2 to     the rows of the attribution (design.py), one after the other
    the last            the edits that carry it, on as many seeds as the stack: the scores that chose them are too good

Every run of these but the rows is scored on the test text too. A stack that holds, or holds in part, is kept as a night keeps an
edit: it has to pass the audit, and to gain on the audit slice. The edits that carry it are kept where they hold and score no worse.
"""

from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from autoresearch.agents.base import Proposal
from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop import audits, loop, runs
from autoresearch.loop.begin import record_start
from autoresearch.loop.next_step import DISCARDED, SKIP, RunNext, Verdict
from autoresearch.loop.steering import Steering
from autoresearch.loop.stop import Ending, Stop, ending_of, machine_failed, stop_if_asked
from autoresearch.noise import mean
from autoresearch.propose.proposals import program_key
from autoresearch.run.setup import Setup
from autoresearch.study import events
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Listener, Session, opened
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.transfer import figures
from autoresearch.transfer.design import Levels
from autoresearch.transfer.figures import ROWS, STACK
from autoresearch.transfer.stack import Stack

# What comes next

ONCE = 1  # a training that fails once, which may be the machine's fault (a process that the system killed), is made up for


@dataclass(frozen=True)
class Train:
    """One more run of an experiment, on a new seed."""

    number: int


@dataclass(frozen=True)
class Begin:
    """The next combination becomes an experiment."""

    number: int


@dataclass(frozen=True)
class Judge:
    """Give the pending experiment its verdict."""

    number: int


def next_step(state: State, seeds: int, rows: list[Levels] | None) -> Train | Begin | Judge | None:
    """Of a study that has its base. rows: of the attribution; None: it is not asked for. None: all is done. Pure."""
    subject, count = state.pending, len(state.experiments)
    if subject is None:
        if count == STACK:
            return Begin(STACK)
        if rows is None or state.experiments[STACK].state in figures.FAILED:
            return None
        return Begin(count) if count <= ROWS + len(rows) else None
    number = subject.number
    is_row = _row(number, rows) is not None
    base, done = state.experiments[0], _trained(subject)
    if subject.skipped or len(subject.results) - done > (0 if is_row else ONCE):
        return Judge(number)
    wanted = 1 if is_row else seeds
    if number == STACK and done >= len(base.results) < seeds and base.can_rerun:
        return Train(0)
    return Train(number) if done < wanted else Judge(number)


def _trained(subject: Experiment) -> int:
    return sum(result.ok for result in subject.results)


def _row(number: int, rows: list[Levels] | None) -> Levels | None:
    """What experiment `number` is a row of, or None."""
    return rows[number - ROWS] if rows and ROWS <= number < ROWS + len(rows) else None


def trainings(state: State | None, seeds: int, rows: list[Levels] | None) -> int:
    """How many are left at most; state: None before there is a study."""
    known = state.experiments if state else []
    wanted = [seeds, seeds, *[1] * len(rows or []), *([seeds] if rows else [])]
    if len(known) > STACK and known[STACK].verdict is not None:  # base and stack have what they get
        wanted[:ROWS] = [0] * ROWS
        if known[STACK].state in figures.FAILED:
            return 0
    done = [
        len(one.results) if one.number == 0 else _trained(one) if one.verdict is None else count
        for one, count in zip(known, wanted, strict=False)
    ]
    return sum(max(0, count - had) for count, had in zip_longest(wanted, done, fillvalue=0))


# The work


def measure(study: Study, setup: Setup, stacked: Stack, rows: list[Levels] | None, listener: Listener) -> Ending:
    """Train what is left of it, and close the study."""
    with opened(study, setup, listener) as session:
        steering = Steering(session)

        def work() -> Ending:
            loop.first_best(session, work_tree=False)
            _tested(session, session.state.experiments[0])
            assert study.origin is not None, "it is a transfer"
            while (step := next_step(session.state, study.origin.seeds, rows)) is not None:
                stop_if_asked(session)
                steering.hold(lambda: None)
                if isinstance(step, Train):
                    _train(session, session.state.experiments[step.number], rows)
                elif isinstance(step, Judge):
                    _judge(session, session.state.experiments[step.number], stacked, rows)
                elif not _begin(session, step.number, stacked, rows):
                    break
            return Ending("the transfer is measured")

        session.tick = steering.attend
        ending = ending_of(session, work)
        session.tick = lambda: None
        loop.close(session, ending)
        loop.write_page(session)
        return ending


def _begin(session: Session, number: int, stacked: Stack, rows: list[Levels] | None) -> bool:
    """Make the next combination an experiment. False: there is none, since every edit carries it, or none does."""
    text, description, reasoning = stacked.text, figures.described([edit.number for edit in stacked.edits]), "the stack"
    if row := _row(number, rows):
        text, edits = stacked.row(row)
        description, reasoning = figures.described(edits), f"row {number - ROWS + 1} of {len(rows or [])} of the attribution"
    elif number > STACK:
        analysed = figures.analysis(session.state, stacked, len(rows or []))
        carrying = figures.carriers(stacked, analysed) if analysed else []
        text, edits = stacked.row(stacked.levels(carrying))
        if not edits or len(edits) == len(stacked.edits):
            return False
        description, reasoning = figures.described(edits, ", which carry it"), "what the attribution found"
    store, base = session.store, session.state.experiments[0]
    message = f"{description}\n\n{reasoning}\n\nexperiment {number} of a transfer\n"
    commit, blob = session.persist(lambda: store.propose(base.commit, text, message))
    proposal = Proposal(text, description, reasoning, agent=events.TRANSFER)
    record_start(session, number, commit, base.commit, blob, program_key(text), proposal)
    return True


def _train(session: Session, subject: Experiment, rows: list[Levels] | None) -> None:
    """One more run; of what is judged on the test text too, while its weights are there."""
    runs.train(session, subject)
    if not _row(subject.number, rows):
        _tested(session, subject)


def _tested(session: Session, subject: Experiment) -> None:
    """Scored on the test text, as far as its weights are there; a process that fails there is a note."""
    while True:
        try:
            return audits.test(session, subject)
        except RunFailed as failure:
            return session.note(
                f"experiment {subject.number} was not scored on the test {session.state.metric.data}: {failure.reason}"
            )
        except EnvironmentFailure as failure:
            machine_failed(session, failure)


def _judge(session: Session, subject: Experiment, stacked: Stack, rows: list[Levels] | None) -> None:
    is_row = _row(subject.number, rows) is not None
    if not is_row and not subject.skipped:
        _tested(session, session.state.experiments[0])
        _tested(session, subject)
    verdict = _verdict(session, subject, is_row)
    if verdict.verdict == "keep":
        after = audits.of_keep(session, subject, verdict)
        if isinstance(after, RunNext):
            return _train(session, subject, rows)
        verdict = after
    session.record(events.Verdict(
        n=subject.number, commit=subject.commit, verdict=verdict.verdict, state=verdict.state, reason=verdict.reason,
        val_bpb=verdict.val_bpb, scores=list(verdict.scores),
    ))  # fmt: skip
    session.follow()


def _verdict(session: Session, subject: Experiment, is_row: bool) -> Verdict:
    if subject.skipped:
        return SKIP
    failed = [result for result in subject.results if not result.ok]
    if failed and (is_row or len(failed) > ONCE):
        result = failed[-1]
        reason = f"it does not train at this size ({result.status}): {result.reason}"
        return Verdict("discard" if result.status in DISCARDED else "crash", result.status, reason)
    scores = tuple(result.val_bpb for result in subject.results if result.val_bpb is not None)
    measured = partial(Verdict, val_bpb=mean(list(scores)), scores=scores)
    if is_row:
        return measured("discard", "discard", "measured for the attribution, and not judged")
    known = figures.found(session.study, session.state, subject)
    if known is None:
        raise Stop("a score of the base or of this experiment has lost its documents: nothing can be compared", 1)
    word, reason = known.judgement.word, f"{known.judgement.word}: {known.judgement.reason}"
    best = session.state.best
    if word in ("holds", "holds in part"):
        if subject.number > STACK and best is not None and best.number == STACK and mean(list(scores)) > mean(best.counted):
            return measured("discard", "discard", f"{reason}; the whole stack is better")
        return measured("keep", "keep", reason)
    return measured("discard", "inconclusive" if word == "not known" else "discard", reason)
