"""What several workers are at, for the screen: a line each, or all of them in two sentences where they are many. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autoresearch.report import words
from autoresearch.run.setup import Progress
from autoresearch.study.state import State

MOST = 8  # chosen: lines; more can't be read at a glance
_SAID = {  # of one, of several; in the order in which they are told
    "training": ("trains", "train"), "scoring": ("scores", "score"), "startup": ("starts up", "start up"),
    "check": ("checks an edit", "check edits"), "free": ("is free", "are free"), "ending": ("ends its run", "end their runs"),
    "starting": ("is being started", "are being started"), "gone": ("is gone", "are gone"),
    "unseen": ("is free or checks an edit", "are free or check edits"),
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A worker, as the event `workers at work` tells of it; number 0: the loop itself, which audits or scores."""

    worker: int
    state: Literal["starting", "free", "ending", "gone", "unseen", "runs"]  # unseen: by `watch`
    n: int | None = None  # None while it runs: a proposal that is checked
    k: int = 1
    description: str | None = None  # of the proposal
    progress: Progress | None = None

    @property
    def at(self) -> str:
        """In one word of _SAID, or the name of another phase."""
        if self.state != "runs":
            return self.state
        return "check" if self.n is None else self.progress.phase if self.progress else "startup"


def short(slot: Slot, state: State) -> str:
    """Whose run it is."""
    if slot.state != "runs":
        return _SAID[slot.state][0]
    if slot.n is None:
        return f"checking: {slot.description}" if slot.description else "checking"
    if slot.n == 0:
        return f"baseline run {slot.k}"
    known = state.experiments[slot.n] if slot.n < len(state.experiments) else None
    return f"{'the best, ' if known and known.verdict == 'keep' else 'experiment '}{slot.n} run {slot.k}"


def label(slot: Slot, state: State) -> str:
    """The same, with what is tried."""
    is_known = slot.n and slot.n < len(state.experiments)
    return f"{short(slot, state)}: {state.experiments[slot.n].description}" if slot.n and is_known else short(slot, state)


def summary(slots: Sequence[Slot], state: State) -> str:
    workers = Counter(slot.at for slot in slots if slot.worker)
    order = [*_SAID, *sorted(workers.keys() - _SAID.keys())]
    told = [_counted(at, workers[at]) for at in order if workers[at]]
    text = f"{workers.total()} workers: {', '.join(told)}"
    if state.paused:
        text += ", then a pause" if any(slot.state == "runs" for slot in slots) else "; paused, `autoresearch resume` goes on"
    return text


def _counted(at: str, count: int) -> str:
    if at in _SAID:
        return f"{count} {_SAID[at][count > 1]}"
    return f"{count} in {at}"


def together(slots: Sequence[Slot]) -> str:
    """How far all trainings are."""
    trainings = [slot.progress for slot in slots if slot.progress and slot.at == "training"]
    left = sorted(one.elapsed_seconds / one.fraction - one.elapsed_seconds for one in trainings if one.fraction)
    said = []
    if left:
        said.append(f"a training ends in {words.span(left[0])}")
    if len(left) > 1:
        said.append(f"the last in {words.span(left[-1])}")
    if speeds := [one.tokens_per_second for one in trainings if one.tokens_per_second is not None]:
        said.append(f"{sum(speeds):,.0f} tok/s in all")
    return ", ".join(said)
