"""The ratchet: propose, check, train, score, decide, keep or discard; again, until it is told to stop.

Every step ends in a line of the ledger, and which step comes next is read from the ledger alone. So a study that was killed
anywhere goes on by the same code that runs it: an experiment without a verdict is trained, scored and decided to its end.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from autoresearch.agents.base import Proposal
from autoresearch.agents.mix import Agents
from autoresearch.errors import EnvironmentFailure, LedgerRefusal, UsageError
from autoresearch.hardware.now.observer import Observer
from autoresearch.loop import audits, decide, watch
from autoresearch.loop.begin import Begun, begin, begin_edit, record_start
from autoresearch.loop.stop import Outcome, Stop, environment_failed, stop_if_asked
from autoresearch.measure.summary import RunResult
from autoresearch.noise import fair_scores, mean, pooled_noise
from autoresearch.propose.proposals import objection, program_key
from autoresearch.propose.proposer import Proposer
from autoresearch.run import constraints, experiment
from autoresearch.run.experiment import Setup
from autoresearch.run.futility import FUTILE, Futility, read_curve
from autoresearch.run.scoring import CHEAT
from autoresearch.study.session import PICTURE_EVERY, Listener, Session, log_tail, opened
from autoresearch.study.state import Experiment
from autoresearch.study.store import work_tree_text
from autoresearch.study.workspace import Study


@dataclass(frozen=True)
class Limits:
    experiments: int | None = None  # of this call, without the baseline
    hours: float | None = None


def run_study(
    study: Study, setup: Setup, agents: Agents, limits: Limits, listener: Listener, observer: Observer | None = None
) -> Outcome:
    """Run or resume a study until a limit, Ctrl-C, or a reason that no experiment can mend. observer: for tests."""
    end_time = None if limits.hours is None else time.monotonic() + 3600 * limits.hours
    with opened(study, setup, listener, observer) as session:
        try:
            with contextlib.closing(Proposer(session, agents)) as proposer:
                proposer.tick(is_last=limits.experiments == 0)
                establish_baseline(session, work_tree=True, tick=proposer.tick)
                check_best(session, proposer.tick)
                session.note_users_edit()
                done = 0
                while (reached := _reached(limits, done, end_time)) is None:
                    stop_if_asked(session)  # before another proposal, which may cost something
                    pending = session.state.pending
                    number, begun = (pending.number, None) if pending else begin(session, proposer)
                    proposer.tick(is_last=done + 1 == limits.experiments)
                    finish(session, number, begun, proposer.tick)
                    done += 1
                    if done % PICTURE_EVERY == 0:
                        session.draw()
            outcome = Outcome(reached)
        except Stop as stop:
            outcome = stop.outcome
        except KeyboardInterrupt:
            outcome = Outcome("Ctrl-C", 130)
        _close(session, outcome)
        return outcome


def try_edit(study: Study, setup: Setup, description: str, listener: Listener) -> tuple[Experiment | None, Outcome]:
    """One step on the work tree's train.py: its experiment when it was decided, and how the call ended.

    Raises UsageError when the edit does not differ, does not parse, or was tried before.
    """
    text = work_tree_text(study.folder)  # before the session: it puts the best back over a text that was tried before
    if text is None:
        raise UsageError(f"there is no readable train.py in {study.folder}; `git checkout HEAD train.py` brings the best back")
    with opened(study, setup, listener) as session:
        number = begun = None
        try:
            number = _pending_with(session, text)
            if number is None:
                _check_edit(session, text)
                establish_baseline(session, work_tree=False)
                check_best(session)
                if session.state.pending:  # an experiment of a run that was cut short comes first
                    finish(session, session.state.pending.number)
                _check_edit(session, text)
                number, begun = begin_edit(session, Proposal(text, description, "an edit of the work tree"))
            finish(session, number, begun)
            outcome = Outcome("1 experiment done")
        except Stop as stop:
            outcome = stop.outcome
        except KeyboardInterrupt:
            outcome = Outcome("Ctrl-C", 130)
        _close(session, outcome)
        tried = session.state.experiments[number] if number is not None else None
        return (tried if tried and tried.verdict else None), outcome


def finish(session: Session, number: int, begun: Begun | None = None, tick: Callable[[], None] = lambda: None) -> None:
    """Train and score an experiment until its scores decide, then keep or discard it.

    begun: its first run, where that is under way already. tick: what else is to be done meanwhile, a few times a second.
    """
    subject = session.state.experiments[number]
    failures = 0
    while isinstance(found := _audited(session, subject, judge(session, subject), tick), Experiment):
        failures = _train_next(session, found, begun, tick, failures)
        begun = None
    session.record("verdict", n=number, commit=subject.commit, **found)
    session.follow()
    check_best(session, tick)


def check_best(session: Session, tick: Callable[[], None] = lambda: None) -> None:
    """Run a kept commit on new seeds before the next experiment: the scores that made it a keep were lucky too (decide.py)."""
    best, wanted = session.state.best, decide.CHECK_RUNS[session.study.decide]
    if best is None or best.number == 0 or len(best.again) >= wanted:
        return
    remeasure(session, wanted, tick)


def remeasure(session: Session, wanted: int, tick: Callable[[], None] = lambda: None) -> None:
    """Run the best until it has `wanted` scores from after its verdict, or fails."""
    best, failures = session.state.best, 0
    while len(best.again) < wanted and best.can_rerun:
        failures = _train_next(session, best, None, tick, failures)
    session.follow()


def _train_next(session: Session, one: Experiment, begun: Begun | None, tick: Callable[[], None], failures: int) -> int:
    """One more run of an experiment; returns how many times in a row the machine failed."""
    if begun is None:
        stop_if_asked(session)
        session.wait_for_room()
    failure = train_once(session, one, begun, tick)
    return environment_failed(session, failures, failure) if failure else 0


def train_once(session: Session, subject: Experiment, begun: Begun | None, tick: Callable[[], None]) -> EnvironmentFailure | None:
    """The next run of an experiment, on a fresh seed. Returns the failure when it was the machine's: the run is lost.

    A run that the machine disturbed is invalid, which is no failure: the next call does it again, with the same seed.
    """
    number, k, seed = subject.number, len(subject.runs) + 1, session.state.next_seed()
    if begun is None:
        watch.await_steady(session, tick)
    watching = watch.Watch(session, subject, k)
    warm = begun.warm if begun else None
    with warm.ended_on_error() if warm else contextlib.nullcontext():
        folder = warm.folder if warm else session.run_folder(number, k)
        conditions = begun.conditions if begun else session.look()
        session.record("begin", n=number, k=k, seed=seed, folder=folder.name, conditions=conditions, sandbox=session.setup.sandbox)
    try:
        with session.interrupts.breakable():
            text = session.store.text(subject.commit)
            on_progress, futility = session.progress_to(number, k, tick), _futility(session, subject)
            result = experiment.execute(session.setup, text, seed, folder, on_progress, warm, watching, futility)
    except KeyboardInterrupt:
        session.record("lost", n=number, k=k, reason="ended by Ctrl-C; the same commit runs again")
        raise
    except EnvironmentFailure as failure:
        session.record("lost", n=number, k=k, reason=str(failure))
        return failure
    except watch.Disturbed as disturbed:
        session.record("invalid", n=number, k=k, seed=seed, **disturbed.watched.to_dict())
        return None
    if not result.ok and session.lost_its_room(folder):
        session.record("lost", n=number, k=k, reason=f"the disk is full ({result.reason})")
        return EnvironmentFailure("the disk is full")
    session.sync_run(folder)
    where = {"n": number, "k": k, "folder": folder.name, "watched": watching.watched.to_dict()}
    try:
        session.record("run", **where, **result.to_json())
    except LedgerRefusal as refusal:  # numbers that can't be have come out of a cell: it has failed, and ends no night
        failed = RunResult("invalid", seed, f"its result can't be: {refusal.reason}")
        session.record("run", **where, **failed.to_json())
    session.scored_here.add(folder.name)
    return None


def _futility(session: Session, subject: Experiment) -> Futility | None:
    """What may end this run early: only the first of an experiment, and only beside the curve of the baseline.

    Not of the best: a train.py reports its losses itself, and a keep that reports too low ones would end every later run.
    """
    state = session.state
    if not session.study.stop_early or state.best is None or subject.verdict is not None or len(subject.runs) > 1:
        return None
    curve = session.study.runs / state.baseline.runs[0].folder / "curve.jsonl"
    return Futility(read_curve(curve, session.setup.train_seconds))


def judge(session: Session, subject: Experiment) -> dict | Experiment:
    """The verdict's fields, or the experiment that has to run first: the subject itself, or the best."""
    rule, state = session.study.decide, session.state
    for k, result in enumerate(subject.results, 1):
        if not result.ok:
            reason = result.reason if k == 1 else f"on seed {result.seed}, its run {k}: {result.reason}"
            verdict = "discard" if result.status in (constraints.BROKEN, CHEAT, FUTILE) else "crash"
            return {"verdict": verdict, "state": result.status, "reason": reason, "val_bpb": None, "scores": []}
    scores = [result.val_bpb for result in subject.results]
    if state.best is None:
        return _judge_baseline(rule, scores) or subject
    if not scores:
        return subject
    best = state.best
    decision = decide.decide(rule, best.counted, state.noise, scores, best.can_rerun)
    if decision.verdict in ("more", "again"):
        return best if decision.verdict == "again" else subject
    verdict = "keep" if decision.verdict == "keep" else "discard"
    fair = fair_scores(scores, [], was_chosen=True)
    words = {"state": decision.verdict, "reason": decision.reason, "val_bpb": mean(fair)}
    return {"verdict": verdict, **words, "scores": scores}


def _audited(session: Session, subject: Experiment, found: dict | Experiment, tick: Callable[[], None]) -> dict | Experiment:
    """What `judge` found; but a keep only counts when it passes its audit, and may need another run for that."""
    if isinstance(found, Experiment) or found["verdict"] != "keep":
        return found
    return audits.of_keep(session, subject, found, tick) or subject


def establish_baseline(session: Session, work_tree: bool, tick: Callable[[], None] = lambda: None) -> None:
    """Train the first train.py often enough to know the noise. With work_tree, an edit made before the run is the baseline.

    A baseline that fails stops with its reason; the next call tries again, with the train.py that lies there then.
    """
    if session.state.best is not None:
        return
    if session.state.pending is None:
        _start_baseline(session, work_tree)
    finish(session, 0, tick=tick)
    baseline = session.state.experiments[0]
    if baseline.verdict != "keep":
        tail = log_tail(session.study.runs / baseline.runs[-1].folder / "log.txt")
        raise Stop(f"the baseline failed ({baseline.state}): {baseline.reason}; mend train.py and run again", 1, tail)


def _judge_baseline(rule: str, scores: list[float]) -> dict | None:
    if len(scores) < decide.BASELINE_RUNS[rule]:
        return None
    noise = pooled_noise([scores])
    spread = f", sigma {noise.sigma:.6f}" if noise else ""
    reason = f"mean of {len(scores)} runs{spread}"
    return {"verdict": "keep", "state": "baseline", "reason": reason, "val_bpb": mean(scores), "scores": scores}


def _start_baseline(session: Session, work_tree: bool) -> None:
    store = session.store
    commit, text = _tip(session)
    edit = work_tree_text(session.study.folder) if work_tree else None
    if work_tree and edit is None and store.is_users_edit(set()):
        raise UsageError("train.py is not UTF-8 text; mend it, or `git checkout HEAD train.py`")
    if edit is not None and edit != text:
        _parsed(edit)
        commit, _ = session.persist(lambda: store.propose(commit, edit, "train.py as edited before the run\n"))
        session.persist(lambda: store.update(commit, {store.blob(commit)}))
        session.note("train.py was edited before the run: the edit is the baseline")
    text = store.text(commit)
    proposal = Proposal(text, "baseline", "train.py as it is")
    record_start(session, 0, commit, None, store.blob(commit), _parsed(text), "baseline", proposal, "none")


def _tip(session: Session) -> tuple[str, str]:
    """The branch's commit before there is a baseline, and its train.py; UsageError when the user left none there."""
    store = session.store
    branch = store.branch.removeprefix("refs/heads/")
    if store.tip is None:
        raise UsageError(f"the branch {branch} is gone; `git branch {branch} COMMIT` brings it back")
    try:
        return store.tip, store.text(store.tip)
    except (KeyError, UnicodeDecodeError) as error:
        raise UsageError(f"the last commit on {branch} holds no train.py in UTF-8; commit one and run again") from error


def _pending_with(session: Session, text: str) -> int | None:
    """The experiment that a killed `try` of this same text left behind."""
    pending = session.state.pending
    return pending.number if pending and pending.number > 0 and session.store.text(pending.commit) == text else None


def _check_edit(session: Session, text: str) -> None:
    if session.state.best is None and text == _tip(session)[1]:
        raise UsageError("train.py does not differ from the start of the study; edit it, then `autoresearch try -m TEXT`")
    if reason := objection(text, session.state):
        raise UsageError(f"{reason}; edit train.py, then `autoresearch try -m TEXT`")


def _parsed(text: str) -> str:
    """The text's program key; a train.py of the user's that is no program is the user's to mend."""
    try:
        return program_key(text)
    except ValueError as error:
        raise UsageError(f"{error}; mend it, or `git checkout HEAD train.py`") from error


def _close(session: Session, outcome: Outcome) -> None:
    """What a call ends with: the last audit of a new best, unless something is wrong, then the last word and the picture."""
    if outcome.exit_status in (0, 130):
        audits.of_end(session)
    session.stop(outcome.reason)
    session.draw()


def _reached(limits: Limits, done: int, end_time: float | None) -> str | None:
    """The limit that is reached, in words."""
    count = f"{done} experiment{'s' * (done != 1)} done"
    if done == limits.experiments:
        return count
    if end_time is not None and time.monotonic() >= end_time:
        return f"{limits.hours:g} hours are over, {count}"
    return None
