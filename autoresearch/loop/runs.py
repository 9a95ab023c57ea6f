"""The runs of an experiment: one more training on a fresh seed, scored, with its lines in the ledger.

A run that the machine disturbed, or that was cut short, is done again with the same seed; a machine that fails is tried again.
"""

import contextlib
from pathlib import Path

from msgspec import UNSET

from autoresearch.errors import EnvironmentFailure, LedgerRefusal
from autoresearch.loop import reference, steering, watch
from autoresearch.loop.stop import machine_failed, stop_if_asked
from autoresearch.measure.summary import RunResult
from autoresearch.run import engine
from autoresearch.run.futility import Futility, read_curve
from autoresearch.study import events
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session
from autoresearch.study.validity import Watched


def train(session: Session, subject: Experiment) -> None:
    """One more run of an experiment, or the note why it does not count. Raises Stop when the machine fails too often."""
    if session.begun is None:
        stop_if_asked(session)
        session.wait_for_room()
    failure = train_once(session, subject)
    if failure:
        machine_failed(session, failure)
    else:
        session.machine_failures = 0


def train_once(session: Session, subject: Experiment) -> EnvironmentFailure | None:
    """The next run, on a fresh seed; in the process that waits at READY, where there is one.

    Returns the failure when it was the machine's: the run is lost. A run that the machine disturbed is invalid, which is no
    failure: the next call does it again, with the same seed.
    """
    number, k, seed = subject.number, subject.next_k, session.state.next_seed()
    if session.begun is None:
        watch.await_steady(session)
    begun, session.begun = session.begun, None
    monitor = watch.RunMonitor(session, subject, k)
    warm = begun.warm if begun else None
    with warm.ended_on_error() if warm else contextlib.nullcontext():
        folder = warm.folder if warm else session.run_folder(number, k)
        conditions = begun.conditions if begun else session.look()
        level, card = session.setup.sandbox, session.setup.backend.card
        begin = events.Begin(
            n=number, k=k, seed=seed, folder=folder.name, conditions=conditions, sandbox=level, device_id=card.id if card else UNSET
        )
        session.record(begin)
    try:
        with session.interrupts.breakable():
            text = session.store.text(subject.commit)
            on_progress = steering.unless_skipped(session, session.progress_to(number, k))
            early = futility(session) if subject.verdict is None and k == 1 else None
            made, beside = engine.of(session.setup), reference.of(session, subject)
            result = made.execute(session.setup, text, seed, folder, on_progress, warm, monitor, early, beside)
    except KeyboardInterrupt:
        session.record(events.Lost(n=number, k=k, reason=f"ended by {session.interrupts.word}; the same commit runs again"))
        raise
    except EnvironmentFailure as failure:
        session.record(events.Lost(n=number, k=k, reason=str(failure)))
        return failure
    except steering.Skipped:
        session.record(events.Lost(n=number, k=k, reason="the experiment was skipped"))
        return None
    except watch.Disturbed as disturbed:
        session.record(events.Invalid(n=number, k=k, seed=seed, **disturbed.watched.to_dict()))
        return None
    return record(session, subject, k, folder, result, monitor.watched)


def record(
    session: Session, subject: Experiment, k: int, folder: Path, result: RunResult, watched: Watched
) -> EnvironmentFailure | None:  # fmt: skip
    """A run's end, with what is needed of it durable before; the failure when the disk was full."""
    number = subject.number
    if not result.ok and session.lost_its_room(folder):
        session.record(events.Lost(n=number, k=k, reason=f"the disk is full ({result.reason})"))
        return EnvironmentFailure("the disk is full")
    session.sync_run(folder)
    seen = events.Watched(**watched.to_dict())
    try:
        session.record(events.Run(n=number, k=k, folder=folder.name, watched=seen, **result.to_json()))
    except LedgerRefusal as refusal:  # numbers that can't be have come out of a cell: it has failed, and ends no night
        failed = RunResult("invalid", result.seed, f"its result can't be: {refusal.reason}")
        session.record(events.Run(n=number, k=k, folder=folder.name, watched=seen, **failed.to_json()))
    session.scored_here.add(folder.name)
    return None


def futility(session: Session) -> Futility | None:
    """What may end the first run of an experiment early, beside the curve of the baseline; None for the baseline's own.

    Not of the best: a train.py reports its losses itself, and a keep that reports too low ones would end every later run.
    """
    state = session.state
    if not session.study.stop_early or state.best is None:
        return None
    curve = session.study.runs / state.experiments[0].runs[0].folder / "curve.jsonl"
    return Futility(read_curve(curve, session.setup.train_seconds))
