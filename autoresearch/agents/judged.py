"""What became of each experiment against the best of its time: what prompts, tallies, lessons and the search read. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from autoresearch.agents.base import REJECTED, Past
from autoresearch.categories import category

STARTS = ("keep", "baseline")


@dataclass(frozen=True)
class Judged:
    past: Past
    best: Past | None  # of its time; None for the first baseline
    kind: str  # of the edit (categories.py); "" for a baseline

    @property
    def delta(self) -> float | None:
        """Its score above the best's: below 0 is better; None without both scores."""
        if self.best is None or self.past.val_bpb is None or self.best.val_bpb is None:
            return None
        return self.past.val_bpb - self.best.val_bpb


_kind = lru_cache(1 << 20)(category)  # a millisecond each; the history holds the texts anyway


def judged(history: Sequence[Past], best: Past | None = None) -> Iterator[Judged]:
    """Every experiment, in its order; not what was sent back. best: before the history's first."""
    for past in history:
        if past.status == REJECTED:
            continue
        kind = _kind(best.train_py, past.train_py) if best and past.status != "baseline" else ""
        yield Judged(past, best, kind)
        if past.status in STARTS:
            best = past
