"""What a run is measured beside, where the task's scores are paired (run/paired.py).

A candidate beside the best that it is to beat, from the mean of the scores that it is compared with: what the best was lucky by
moves both. The best, once it is kept, beside the keep before it: so its runs since then tell how good it is, by chance alone. The
baseline beside itself: its spread is the noise of a comparison.
"""

from autoresearch.noise import mean
from autoresearch.run.setup import Reference
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session
from autoresearch.study.state import State


def of(session: Session, subject: Experiment) -> Reference | None:
    """None where runs are not paired."""
    if not session.study.task.is_paired:
        return None
    beside = _beside(session.state, subject)
    text = session.store.text(beside.commit)
    if beside is subject:
        first = next(iter(subject.results), None)
        return Reference(text, first.level if first else None)
    return Reference(text, mean(beside.counted))


def _beside(state: State, subject: Experiment) -> Experiment:
    """The last keep before it: for what has no verdict yet the best."""
    return next((one for one in reversed(state.kept) if one.number < subject.number), subject)
