"""The ratchet: propose, check, train, score, decide, keep or discard; again, until it is told to stop.

Every step ends in a line of the ledger, and which step comes next is read from the ledger alone (next_step.py). So a study that
was killed anywhere goes on by the same code that runs it: an experiment without a verdict is trained, scored and decided to its
end.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from autoresearch.agents.mix import Agents
from autoresearch.hardware.now.observer import Observer
from autoresearch.loop import audits, baseline, runs
from autoresearch.loop.begin import begin
from autoresearch.loop.next_step import Audit, Verdict, next_step
from autoresearch.loop.steering import Steering
from autoresearch.loop.stop import Ending, ending_of, stop_if_asked
from autoresearch.loop.together import Together
from autoresearch.propose.proposer import Proposer
from autoresearch.propose.views import Views, draw_lessons
from autoresearch.report.page import html
from autoresearch.run.setup import Setup
from autoresearch.study import decide, events, terms
from autoresearch.study.session import Listener, Session, opened
from autoresearch.study.workspace import Study
from autoresearch.workers.work import Crew


@dataclass(frozen=True)
class Until:
    """When a call of `run` ends by itself."""

    experiments: int | None = None  # of this call, without the baseline
    hours: float | None = None


def run_study(
    study: Study, setup: Setup, agents: Agents, until: Until, listener: Listener, observer: Observer | None = None,
    limits: Iterable[str] = (), crew: Callable[[], Crew] | None = None,
) -> Ending:  # fmt: skip
    """Run or resume a study until a limit, Ctrl-C, or a reason that no experiment can mend.

    observer: for tests. limits: those that are asked for in this call (run/constraints.py). crew: makes the workers, where there
    are several (together.py).
    """
    end_time = None if until.hours is None else time.monotonic() + 3600 * until.hours

    def night() -> Ending:
        steering, done = Steering(session), 0

        def reached() -> str | None:
            return _reached(until, end_time, done)

        def tick() -> None:
            steering.attend()
            proposer.tick()

        steering.hold(reached)  # before anybody is asked, which may cost something
        with contextlib.closing(Proposer(session, agents, end_time)) as proposer:
            session.tick = tick
            proposer.expect_last(until.experiments == 0)
            session.limit(limits)
            if crew is not None:
                with contextlib.closing(crew()) as workers:
                    limit = partial(_reached, until, end_time)
                    return Together(session, proposer, workers, steering, limit, until.experiments).run()
            if session.state.workers != 1:
                session.record(events.Workers(count=1))
            establish_baseline(session, work_tree=True)
            check_best(session)
            session.note_users_edit()
            while (over := reached()) is None:
                steering.hold(reached)
                stop_if_asked(session)  # before another proposal, which may cost something
                pending = session.state.pending
                number = pending.number if pending else begin(session, proposer)
                proposer.expect_last(done + 1 == until.experiments)
                finish(session, number, proposer.views)
                done += 1
                session.draw_now_and_then(done)
            return Ending(over)

    with opened(study, setup, listener, observer) as session:
        ending = ending_of(session, night)
        session.tick = lambda: None
        close(session, ending)
        write_page(session)
        return ending


def finish(session: Session, number: int, views: Views | None = None) -> None:
    """Train and score an experiment until its scores decide, then keep or discard it. views: that know the past already."""
    while True:
        step = next_step(session.state, number, session.study.decide, session.setup.constraints)
        if isinstance(step, Audit):
            step = audits.of_keep(session, session.state.experiments[number], step.keep)
        if isinstance(step, Verdict):
            break
        runs.train(session, session.state.experiments[step.number])
    commit = session.state.experiments[number].commit
    session.record(events.Verdict(
        n=number, commit=commit, verdict=step.verdict, state=step.state, reason=step.reason, val_bpb=step.val_bpb,
        scores=list(step.scores),
    ))  # fmt: skip
    session.follow()
    draw_lessons(session, views)
    check_best(session)


def check_best(session: Session) -> None:
    """Run a kept commit on new seeds before the next experiment: the scores that made it a keep were lucky too (decide.py)."""
    best = session.state.best
    if best is not None and best.number > 0:
        remeasure(session, decide.CHECK_RUNS[session.study.decide])


def remeasure(session: Session, wanted: int) -> None:
    """Run the best until it has `wanted` scores from after its verdict, or fails."""
    best = session.state.best
    assert best is not None, "the baseline comes first"
    if len(best.again) >= wanted:
        return
    while len(best.again) < wanted and best.can_rerun:
        runs.train(session, best)
    session.follow()


def establish_baseline(session: Session, work_tree: bool) -> None:
    """Train the first train.py often enough to know the noise. With work_tree, an edit made before the run is the baseline.

    A baseline that fails stops with its reason; the next call tries again, with the train.py that lies there then. UsageError in a
    transfer.
    """
    terms.check_night(session.study)
    first_best(session, work_tree)


def first_best(session: Session, work_tree: bool) -> None:
    """As `establish_baseline`, in any study."""
    if session.state.best is not None:
        return
    if session.state.pending is None:
        baseline.start(session, work_tree)
    finish(session, 0)
    baseline.check(session)


def close(session: Session, ending: Ending) -> None:
    """What a call ends with: the last audit of a new best, unless something is wrong, then the last word and the picture."""
    if ending.exit_status in (0, 130):
        audits.of_end(session)
    session.stop(ending.reason)
    session.draw()


def write_page(session: Session) -> None:
    """report.html, once a call: a page of thousands takes seconds. It never changes how a night ends."""
    try:
        html.write(session.study, session.state, running=False)
    except Exception as error:
        session.note(f"{html.NAME} could not be written: {type(error).__name__}: {error}; `autoresearch report` tries it again")


def _reached(until: Until, end_time: float | None, done: int) -> str | None:
    """The limit that is reached, in words."""
    count = f"{done} experiment{'s' * (done != 1)} done"
    if done == until.experiments:
        return count
    if end_time is not None and time.monotonic() >= end_time:
        return f"{until.hours:g} hours are over, {count}"
    return None
