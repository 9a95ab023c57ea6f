"""What a keep has to pass before it counts: its weights' rows are asked again, cut at secret places (measure/audit.py).

The baseline shows what rounding alone does, on ROUNDS audits of its own: that is the study's tolerance. A candidate that would be
kept is audited, and the best again beside it, on fresh cuts: a model that looks ahead at few positions may pass one audit and
not many. Then its gain has to show on the audit slice too (audit_slice.py). A best that fails is revoked, and the keep before it is
the best again. When a call ends, a new best is audited on FINAL_CUTS, compared with the baseline on the slice, and scored on the
test text, which no decision sees.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np

from autoresearch import durable
from autoresearch.child import RunFailed
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop import audit_slice, confirm
from autoresearch.loop.audit_slice import VAL_ONLY
from autoresearch.loop.next_step import RunNext, Verdict
from autoresearch.loop.stop import machine_failed
from autoresearch.measure import audit
from autoresearch.measure.audit import Cuts, Difference, Finding, Tolerance
from autoresearch.measure.clock import awake_seconds
from autoresearch.run import disk, scoring
from autoresearch.run.scoring import BITS, CHEAT
from autoresearch.study import events
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.session import TEST, Session
from autoresearch.task.contract import Task

KEEP_CUTS = 128  # at a keep, of the candidate and of the best
FINAL_CUTS = 256  # of the best, when a call ends
ROUNDS = 5  # audits of the baseline
MOST_BITS = 1e3  # of a target
TRIES = 2  # a process that fails in an audit is not the model's fault at once


class BestRevoked(Exception):
    """The best failed an audit: the keep before it is the best again."""


def of_keep(session: Session, subject: Experiment, keep: Verdict) -> Verdict | RunNext:
    """The verdict of a would-be keep after its audit. RunNext: it has no weights to audit, or the best that it was judged against
    was revoked; then it runs once more. Raises Stop and KeyboardInterrupt."""
    while True:
        try:
            outcome = _of_keep(session, subject, keep)
            session.machine_failures = 0
            return outcome
        except BestRevoked:
            session.machine_failures = 0
            session.follow()
            return RunNext(subject.number)
        except EnvironmentFailure as failure:
            machine_failed(session, failure)


def _of_keep(session: Session, subject: Experiment, keep: Verdict) -> Verdict | RunNext:
    best = session.state.best
    if session.study.task.is_paired:
        reason = None if best is None else confirm.objection(session, subject, best, "keep")
        return keep if reason is None else Verdict("discard", VAL_ONLY, reason)
    if not subject.audits and session.setup.task.table.audit != "none":
        run = _intact(session, subject)
        if run is None and any(run.folder in session.scored_here for run in subject.runs):
            return _cheat("its checkpoint, its train.py or what its score is made of was changed after it was scored")
        if run is None:
            return RunNext(subject.number)
        (_of_baseline if best is None else _of_run)(session, subject, run, KEEP_CUTS)
    if subject.audits and (reason := subject.audits[-1].reason) is not None:
        return _cheat(reason)
    if best is None:
        test(session, subject)
        audit_slice.of_baseline(session, subject, _intact_runs)
        return keep
    if subject.audits:
        _again(session, best, KEEP_CUTS)
    if not subject.slices and _intact(session, subject) is None:
        return RunNext(subject.number)
    reason = audit_slice.objection(session, subject, best, "keep", _intact_runs)
    return keep if reason is None else Verdict("discard", VAL_ONLY, reason)


def _cheat(reason: str) -> Verdict:
    return Verdict("discard", CHEAT, reason)


def of_end(session: Session) -> None:
    """The last audit of a best that is new since the last call, and its scores on the other texts. What can't be done is a note."""
    try:
        while (best := session.state.best) is not None and best.number > 0:
            try:
                if best.audits and all(entry.cuts < FINAL_CUTS for entry in best.audits):
                    _again(session, best, FINAL_CUTS)
                _gains_elsewhere(session, best)
                if not best.tests:
                    test(session, best)
                return
            except BestRevoked:
                session.follow()
    except (EnvironmentFailure, RunFailed, KeyboardInterrupt) as failure:
        what = session.interrupts.word if isinstance(failure, KeyboardInterrupt) else str(failure)
        session.note(f"the best was not audited a last time or not tested ({what}); the next run does it")


def _again(session: Session, best: Experiment, count: int) -> None:
    run = _intact(session, best)
    if run is None:
        session.note(f"experiment {best.number} can't be audited again: its weights are gone")
        return
    _of_run(session, best, run, count)
    reason = best.audits[-1].reason
    if reason is not None and best.number > 0:
        session.record(events.Revoked(n=best.number, reason=reason))
        raise BestRevoked


def _gains_elsewhere(session: Session, best: Experiment) -> None:
    """The best's gain over the baseline, on the audit slice too; else it is revoked."""
    baseline = session.state.experiments[0]
    if session.study.task.is_paired:
        reason = confirm.objection(session, best, baseline, "end")
    else:
        reason = audit_slice.objection(session, best, baseline, "end", _intact_runs)
    if reason is not None:
        session.record(events.Revoked(n=best.number, reason=reason, state=VAL_ONLY))
        raise BestRevoked


def _of_baseline(session: Session, baseline: Experiment, run: Run, count: int) -> None:
    """Measure the tolerance, or find that the baseline is no honest model."""
    start, scored, looks, bits = awake_seconds(), _bits(session, run), [], []
    with _asking(session, baseline, run, ROUNDS) as ask:
        for _ in range(ROUNDS):
            looks.append(_cuts(session, run, count))
            bits.append(ask(looks[-1]))
    rounds = [audit.compare(cuts, scored, answers) for cuts, answers in zip(looks, bits, strict=True)]
    worst, whole = max(rounds, key=lambda difference: difference.worst_nats), looks[0].whole is not None
    try:
        allowed, closer = Tolerance.of_baseline(rounds, whole, audit.unit_of(scored) if whole else 1.0), None
        reason = audit.turned(audit.join(looks), scored, np.concatenate(bits))
    except ValueError as error:
        allowed, reason, closer = Tolerance(), str(error), None
    if worst.worst_nats > audit.ROUNDING_NATS:
        closer = audit.direction(audit.join(looks), scored, np.concatenate(bits))
        reason = reason or closer.objection(whole)
    _record(session, baseline, run, count * ROUNDS, Finding(worst, closer, reason), allowed, start)


def _of_run(session: Session, experiment: Experiment, run: Run, count: int) -> None:
    """Audit a run's weights; how it ended is in the ledger."""
    allowed = Tolerance(*session.state.experiments[0].audits[0].allowed)
    best = session.state.best
    known = _intact(session, best) if best is not None and best is not experiment else None
    gain = _gain(session, known, run) if known else None
    cuts = _alone(session, _cuts(session, run, count, gain))
    start = awake_seconds()
    for attempt in range(1, TRIES + 1):
        try:
            with _asking(session, experiment, run) as ask:
                finding = audit.examine(allowed, _bits(session, run), cuts, lambda wanted: _cuts(session, run, wanted), ask)
                finding = replace(finding, reason=finding.reason or guards_objection(session.setup.task, allowed, count, ask))
            break
        except RunFailed as failure:
            if attempt == TRIES:
                reason = f"{failure.reason}, on rows that were scored before and cut"
                finding = Finding(Difference(float("inf"), 0.0, 0, 0, 0), None, reason)
    _record(session, experiment, run, count, finding, allowed, start)


def guards_objection(task: Task, allowed: Tolerance, count: int, ask: Callable[[Cuts], np.ndarray]) -> str | None:
    """Why a limit on what a model has forgotten is met by looking ahead, or None: rows of each such split are asked whole and cut,
    all at once.
    """
    for place in task.guards(task.options).values() if task.is_causal else ():
        if (guard := task.questions(place)) is None:
            continue
        rng = np.random.default_rng(secrets.randbits(128))
        cuts = audit.make_cuts(rng, guard.inputs, guard.targets, count)
        whole = replace(cuts, inputs=guard.inputs[cuts.rows], targets=guard.targets[cuts.rows])
        found = ask(audit.join([whole, cuts]))
        reason = allowed.objection(audit.compare(replace(cuts, rows=np.arange(count)), found[:count], found[count:]))
        if reason is not None:
            return f"on the {place} split: {reason}"
    return None


def _gain(session: Session, before: Run, after: Run) -> np.ndarray:
    """Where its losses became smaller, float32 [questions, k]; where the task is causal [questions, T]."""
    gain: np.ndarray = _bits(session, before) - _bits(session, after)
    return newly_right(gain, session.setup.task.answer[0]) if session.setup.task.is_causal else gain


def newly_right(gain: np.ndarray, seq_len: int) -> np.ndarray:
    """[n, T] of [n, T] or [n, 2 T]: a target that is decided rightly now counts before all that only became cheaper."""
    return gain if gain.shape[1] == seq_len else gain[:, :seq_len] + MOST_BITS * gain[:, seq_len:]


def _record(
    session: Session, experiment: Experiment, run: Run, count: int, finding: Finding, allowed: Tolerance, start: float
) -> None:
    seen = finding.difference
    session.record(events.Audit(
        n=experiment.number, k=run.k, cuts=count, worst_nats=seen.worst_nats if np.isfinite(seen.worst_nats) else None,
        shift_nats=seen.shift_nats, allowed=(allowed.worst_nats, allowed.shift_nats),
        closer=asdict(finding.closer) if finding.closer else None, reason=finding.reason, seconds=round(awake_seconds() - start, 3),
    ))  # fmt: skip


def test(session: Session, experiment: Experiment) -> None:
    """Score the runs whose weights are there on the test text, where the corpus spares one. Raises RunFailed."""
    if session.setup.task.questions("test") is None:
        return
    for run in experiment.fair_runs:
        if run.k not in experiment.tests and _is_intact(session, experiment, run):
            folder, setup = session.study.runs / run.folder, session.setup
            on_progress = session.progress_to(experiment.number, run.k)
            with session.interrupts.breakable(), disk.errors(folder):
                result = scoring.evaluate(setup, folder, on_progress, split="test")
                np.save(folder / TEST, np.stack([result.sums, result.weights]))
                durable.sync_path(folder / TEST)
            session.record(events.Tested(n=experiment.number, k=run.k, test_bpb=result.value))


def _intact(session: Session, experiment: Experiment) -> Run | None:
    """A run of an experiment whose files are those that were scored: a power loss may have taken some."""
    return next(_intact_runs(session, experiment), None)


def _intact_runs(session: Session, experiment: Experiment) -> Iterator[Run]:
    """Each is looked at when it is asked for: a large checkpoint takes a while."""
    return (run for run in experiment.runs if _is_intact(session, experiment, run))


def _is_intact(session: Session, experiment: Experiment, run: Run) -> bool:
    if run.result is None or not run.result.ok or run.result.checkpoint is None:
        return False
    folder = session.study.runs / run.folder
    try:
        scoring.seal(folder, session.store.text(experiment.commit), run.result.checkpoint)
        return scoring.digest(folder / BITS) == run.result.bits
    except (RunFailed, OSError):
        return False


def _bits(session: Session, run: Run) -> np.ndarray:
    bits: np.ndarray = np.load(session.study.runs / run.folder / BITS)
    return bits


def _cuts(session: Session, run: Run, count: int, gain: np.ndarray | None = None) -> Cuts:
    task, rng = session.setup.task, np.random.default_rng(secrets.randbits(128))
    questions = task.questions("val")
    assert questions is not None, "it was scored on them"
    if task.is_causal:
        return audit.make_cuts(rng, questions.inputs, questions.targets, count, gain)
    return audit.ask_again(rng, questions.inputs, questions.targets, count, _bits(session, run).shape[1], gain)


def _alone(session: Session, cuts: Cuts) -> Cuts:
    """With the questions that were asked alone when the run was scored, among others now: a model could have kept its answers."""
    questions = session.setup.task.questions("val")
    assert questions is not None, "it was scored on them"
    rows = scoring.rows_alone(len(questions))
    at = np.full(len(rows), cuts.whole or questions.targets.shape[1])
    return audit.join([cuts, Cuts(rows, at, questions.inputs[rows], questions.targets[rows], cuts.whole)])


@contextlib.contextmanager
def _asking(session: Session, experiment: Experiment, run: Run, times: int = 1) -> Iterator[Callable[[Cuts], np.ndarray]]:
    """A fresh process with a run's model."""
    folder = session.study.runs / run.folder
    asking = scoring.asking_cuts(session.setup, folder, session.progress_to(experiment.number, run.k), times)
    with session.interrupts.breakable(), disk.errors(folder), asking as ask:
        yield ask
