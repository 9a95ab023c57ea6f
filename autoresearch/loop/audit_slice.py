"""The audit slice: a held-out text beside the validation text, on which a would-be keep has to show its gain too (val_only.py).

When: the baseline is scored on it once; a would-be keep after its audit, and compared with the best; the best at the end of a call,
and compared with the baseline, on other weights than at its keep where there are some. A run's figures on both texts stay in its
folder (SLICE), with their digest in the ledger, so that what has lost its weights can still be compared with. What can't be
compared is a note, and nobody's fault.

Promises: nothing tells a process which text it gets; no training sees it; no figure of it reaches an agent but in the reason of
what was held. Not covered: without the sandbox a process may read this text as it may the validation text, or note what it was
given here for a later training.
"""

from collections.abc import Callable, Iterator
from typing import Final, Literal

import numpy as np

from autoresearch.child import RunFailed
from autoresearch.loop.val_only import Comparison, Documents, Texts, compare, unlike
from autoresearch.measure.clock import awake_seconds
from autoresearch.run import disk, scoring
from autoresearch.study import events
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.session import SLICE, Session

Intact = Callable[[Session, Experiment], Iterator[Run]]  # an experiment's runs whose weights are those that were scored
VAL_ONLY: Final = "val-only"  # a verdict's state
TRIES = 2  # a process that fails is not the model's fault at once
NONE = "the {data} is too small to spare an audit slice: nothing shows whether a gain is one on val alone"


def of_baseline(session: Session, baseline: Experiment, intact: Intact) -> None:
    """Score it, and find out whether the two texts compare at all."""
    if session.setup.task.questions("slice") is None:
        session.note(NONE.format(data=session.state.metric.data))
    elif not baseline.slices and (run := next(intact(session, baseline), None)):
        start = awake_seconds()
        try:
            texts = _score(session, baseline, run)
        except RunFailed as failure:
            return session.note(f"the baseline was not scored on the audit slice: {failure.reason}")
        reason = unlike(texts, session.state.metric, session.setup.task.value)
        if reason:
            session.note(f"{reason}; so nothing is held for gaining on val alone")
        _record(session, baseline, run, "baseline", texts, start, reason=reason)


def objection(
    session: Session, experiment: Experiment, than: Experiment, place: Literal["keep", "end"], intact: Intact
) -> str | None:
    """Why `experiment`, which is better than `than` on the validation text, gains there alone; None: it doesn't, or nobody knows.

    What the ledger has already is not done again.
    """
    if session.setup.task.questions("slice") is None:
        return None
    known = next((entry for entry in experiment.slices if (entry.place, entry.against) == (place, than.number)), None)
    if known:
        return known.reason
    try:
        before = _known(session, than) or _anew(session, than, intact)
    except RunFailed:
        before = None
    if before is None:
        session.note(
            f"experiment {experiment.number} is not compared on the audit slice: {than.number} has no weights and no figures"
        )
        return None
    start, run = awake_seconds(), _unscored(session, experiment, intact)
    after: Texts | None = None
    if run is None:
        after = _known(session, experiment)
        run = _last_scored(experiment) if after else next(intact(session, experiment), None)
    if after is None and run is not None:
        try:
            after = _score(session, experiment, run)
        except RunFailed as failure:
            failed = f"it could not be scored on the audit slice: {failure.reason}"
            _record(session, experiment, run, place, None, start, than, reason=failed)
            return failed
    if after is None or run is None:
        session.note(f"experiment {experiment.number} was not scored on the audit slice: its weights are gone")
        return None
    comparison = compare(before, after, session.state.metric, session.setup.task.value)
    reason = comparison.reason if _decides(session) else None
    _record(session, experiment, run, place, after, start, than, comparison, reason)
    return reason


def _decides(session: Session) -> bool:
    """Unless the baseline has shown that the texts don't compare."""
    return all(entry.reason is None for entry in session.state.experiments[0].slices)


def _unscored(session: Session, experiment: Experiment, intact: Intact) -> Run | None:
    """Weights that have not been scored on it yet."""
    scored = {entry.k for entry in experiment.slices if entry.documents}
    return next((run for run in intact(session, experiment) if run.k not in scored), None)


def _last_scored(experiment: Experiment) -> Run:
    k = [entry.k for entry in experiment.slices if entry.documents][-1]
    return next(run for run in experiment.runs if run.k == k)


def _known(session: Session, experiment: Experiment) -> Texts | None:
    """The figures of the last of its runs that was scored, from the run's folder."""
    for entry in reversed([entry for entry in experiment.slices if entry.documents]):
        run = next((run for run in experiment.runs if run.k == entry.k), None)
        path = session.study.runs / run.folder / SLICE if run else None
        if path and path.is_file() and scoring.digest(path) == entry.documents:
            with np.load(path, allow_pickle=False) as figures:
                return Texts(*(Documents(figures[f"{name}_bits"], figures[f"{name}_bytes"]) for name in ("val", "slice")))
    return None


def _anew(session: Session, experiment: Experiment, intact: Intact) -> Texts | None:
    start, run = awake_seconds(), next(intact(session, experiment), None)
    if run is None:
        return None
    texts = _score(session, experiment, run)
    _record(session, experiment, run, "again", texts, start)
    return texts


def _score(session: Session, experiment: Experiment, run: Run) -> Texts:
    """A run's weights on both texts; the figures are in its folder then, and durable. Raises RunFailed when they fail twice."""
    setup, folder = session.setup, session.study.runs / run.folder
    on_progress = session.progress_to(experiment.number, run.k)
    for attempt in range(1, TRIES + 1):
        try:
            with session.interrupts.breakable(), disk.errors(folder):
                scored = scoring.evaluate(setup, folder, on_progress, split="slice")
            break
        except RunFailed:
            if attempt == TRIES:
                raise
    with disk.errors(folder):
        val = scoring.score(setup, "val", np.load(folder / scoring.BITS))
        np.savez(
            folder / SLICE,
            val_bits=val.sums, val_bytes=val.weights, slice_bits=scored.sums, slice_bytes=scored.weights,
        )  # fmt: skip
    session.sync_run(folder)
    return Texts(Documents(val.sums, val.weights), Documents(scored.sums, scored.weights))


def _record(
    session: Session, experiment: Experiment, run: Run, place: events.Occasion, figures: Texts | None, start: float,
    than: Experiment | None = None, comparison: Comparison | None = None, reason: str | None = None,
) -> None:  # fmt: skip
    folder = session.study.runs / run.folder
    session.record(events.Slice(
        n=experiment.number, k=run.k, place=place, against=than.number if than else None,
        bpb=session.setup.task.value(figures.slice.bpb) if figures else None,
        documents=scoring.digest(folder / SLICE) if figures else None,
        gain_val=(comparison.val.bpb, comparison.val.error) if comparison else None,
        gain_slice=(comparison.slice.bpb, comparison.slice.error) if comparison else None,
        reason=reason, seconds=round(awake_seconds() - start, 3),
    ))  # fmt: skip
