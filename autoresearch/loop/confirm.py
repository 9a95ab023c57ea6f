"""The held-out measure of a paired task: run for a would-be keep, beside the best, and at the end of a call, beside the baseline.

An edit that gains on the measure alone (it has the measure's inputs in its code, or their answers) is no gain: it is held, as
audit_slice.py holds one on the validation text alone. No agent is told a figure of it but in the reason of what was held.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal

from autoresearch.child import RunFailed
from autoresearch.measure.clock import awake_seconds
from autoresearch.noise import mean
from autoresearch.run import command, disk, paired
from autoresearch.study import events
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session


def objection(session: Session, subject: Experiment, than: Experiment, place: Literal["keep", "end"]) -> str | None:
    """Why `subject` does not gain on the held-out measure; None: it does, or there is none. What the ledger has stays."""
    setup, metric = session.setup, session.setup.task.metric
    line = setup.task.commands.confirm
    if line is None:
        return None
    known = next((entry for entry in subject.slices if (entry.place, entry.against) == (place, than.number)), None)
    if known:
        return known.reason
    run, start = subject.runs[-1], awake_seconds()
    folder, texts = session.study.runs / run.folder, (session.store.text(than.commit), session.store.text(subject.commit))
    gain = score = reason = None
    before: list[float] = []
    after: list[float] = []
    try:
        with session.interrupts.breakable(), disk.errors(folder):
            on_progress = session.progress_to(subject.number, run.k)
            for seed, pairs in enumerate(pairs_of(paired.LOOKS), run.seed):
                more = command.measure_pairs(
                    setup, line, texts, folder, seed, on_progress, pairs=pairs, is_confirmation=True, phase="audit"
                )
                before, after = before + more[0], after + more[1]
                confirmed = paired.confirmation(before, after, metric)
                if confirmed is not None:
                    break
        gain, score = paired.gain(before, after, metric), paired.level(after, metric)
        reason = None if confirmed else paired.confirmation_words(before, after, metric)
    except RunFailed as failure:
        reason = f"the confirming measure failed: {failure.reason}"
    scores = [result.val_bpb for result in subject.results if result.val_bpb is not None]
    on_measure = than.val_bpb - mean(scores) if than.val_bpb is not None and scores else None
    session.record(events.Slice(
        n=subject.number, k=run.k, place=place, against=than.number, bpb=score, documents=None,
        gain_val=None if on_measure is None else (on_measure, None), gain_slice=gain, reason=reason,
        seconds=round(awake_seconds() - start, 3),
    ))  # fmt: skip
    return reason


def pairs_of(looks: Mapping[int, int]) -> Iterator[int]:
    """How many more pairs each look takes."""
    yield from (after - before for before, after in pairwise([0, *looks]))
