"""Whether an event has its place after the events before it: what it refers to has to be there.

Each function here gets a State and an event, and gives what is wrong, in words, or None.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from autoresearch.study import events

if TYPE_CHECKING:
    from autoresearch.study.state import State


def objection(state: "State", event: events.Event) -> str | None:
    for score in _scores(event):
        if not state.metric.allows(score):
            return f"{score} is no {state.metric.name}"
    match event:
        case events.Study():
            return "the study has begun before" if state.study else None
        case events.Start():
            return _start(state, event)
        case events.Begin():
            return _begin(state, event)
        case events.Run() | events.Invalid():
            return _end(state, event.n, event.k, None if event.seed is UNSET else event.seed)
        case events.Lost():
            return _end(state, event.n, event.k)
        case events.Verdict():
            return _verdict(state, event)
        case events.Audit() | events.Tested() | events.Slice():
            return _of_a_run(state, event.n, event.k)
        case events.Revoked():
            is_best = state.best is not None and state.best.number == event.n > 0
            return None if is_best else f"experiment {event.n} is not the best, or is the baseline"
        case events.Rejected():
            return _to_rebase(state, event.again)
        case events.Noise():
            return _known(state, event.n)
        case events.Skip():
            return _known(state, event.n) if event.n else "the baseline can't be skipped"
    return None


def _scores(event: events.Event) -> Iterator[float]:
    found = [getattr(event, name, None) for name in ("val_bpb", "bpb", "test_bpb")]
    yield from (score for score in [*found, *getattr(event, "scores", ())] if score is not None)


def _known(state: "State", n: int) -> str | None:
    return None if n < len(state.experiments) else f"there is no experiment {n}"


def _start(state: "State", event: events.Start) -> str | None:
    if state.open and state.workers == 1:
        return f"experiment {state.open[0].number} has no verdict yet"
    if wrong := _to_rebase(state, event.again):
        return wrong
    if event.base is not UNSET and (wrong := _known(state, event.base)):
        return wrong
    number = len(state.experiments) if state.best else 0  # a baseline that failed is tried again
    return None if event.n == number else f"the next experiment is {number}"


def _to_rebase(state: "State", n: int | UnsetType) -> str | None:
    return None if n is UNSET or n in state.to_rebase else f"experiment {n} does not wait for another base"


def _begin(state: "State", event: events.Begin) -> str | None:
    if wrong := _known(state, event.n):
        return wrong
    experiment = state.experiments[event.n]
    if experiment.verdict is not None and experiment is not state.best:
        return f"experiment {experiment.number} was decided, and is not the best"
    if len(state.under_way) >= state.workers:
        n, k = next(iter(state.under_way))
        return f"run {k} of experiment {n} is under way"
    return None if event.k == experiment.next_k else f"its next run is {experiment.next_k}"


def _end(state: "State", n: int, k: int, seed: int | None = None) -> str | None:
    """Of a run that was under way."""
    if (n, k) not in state.under_way:
        return f"run {k} of experiment {n} is not under way"
    return None if seed in (None, state.under_way[n, k].seed) else "it was begun with another seed"


def _verdict(state: "State", event: events.Verdict) -> str | None:
    experiment = next((one for one in state.open if one.number == event.n), None)
    if experiment is None:
        return f"experiment {event.n} waits for none"
    if experiment.unfinished or (state.workers == 1 and state.under_way):
        return "a run is under way"
    measured = sum(result.ok for result in experiment.results)
    return f"it has {len(event.scores)} scores, of {measured} runs" if len(event.scores) > measured else None


def _of_a_run(state: "State", n: int, k: int) -> str | None:
    """Of what is said of a run that was made."""
    wrong = _known(state, n)
    if wrong is None and all(run.k != k for run in state.experiments[n].runs):  # of several workers' an earlier one may be lost
        wrong = f"experiment {n} has no run {k}"
    return wrong
