"""Whose turn it is when an LLM and the search share a night, and what the LLM is asked for. Pure: from the history to a Turn.

The LLM proposes `share` of the experiments, the search the others: it tunes numbers around the best, whoever found that. When
nothing was kept for STALL experiments, the LLM gets twice its share and is asked for a structural move; in which part of the code
is what a bandit over the categories says (UCB1: Auer, Cesa-Bianchi, Fischer 2002; a keep is the reward). After a keep all is as
before. Each sees the other's experiments: they stand in the same history.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoresearch.agents.base import REJECTED, RUNNING, UNJUDGED, Agent, Past
from autoresearch.agents.judged import STARTS, judged
from autoresearch.categories import CODE

SHARE = 0.3  # default
STALL = 8  # chosen: where 22 of 125 are kept (a published H100 log), eight misses in a row come by chance one time in five
STALL_FACTOR = 2.0  # chosen
WINDOW = 9  # proposals that the share is kept over, and the next one: tenths can be kept exactly


@dataclass(frozen=True)
class Agents:
    """Who takes part in a night."""

    quick: Agent | None  # answers at once: the search
    slow: Agent | None = None  # thinks ahead, for `share` of the experiments
    share: float = SHARE


@dataclass(frozen=True)
class Turn:
    is_thinkers: bool
    share: float  # that is in force
    wish: str | None  # for the LLM; None: whatever is best
    reason: str


def turn(history: Sequence[Past], share: float, thinker: str) -> Turn:
    """history: every experiment and what failed before its training, in order, then what is under way: of that the next verdict is
    probably a discard. thinker: the name of the LLM's agent.
    """
    experiments = [past for past in history if past.status not in (REJECTED, *UNJUDGED)]
    decided = [past for past in experiments if past.status != RUNNING]
    since = _since_keep(decided) + (len(decided) < len(experiments))
    wish, reason = None, "as asked for"
    if since >= STALL:
        share = min(1.0, STALL_FACTOR * share)
        wish, reason = _structural(experiments, since), f"nothing was kept in the last {since} experiments"
    proposals = [past for past in experiments if past.status != "baseline"][-WINDOW:]
    own = sum(past.agent == thinker for past in proposals)
    return Turn(own < share * (len(proposals) + 1) - 1e-9, share, wish, reason)


def tallies(history: Sequence[Past]) -> dict[str, tuple[int, int]]:
    """category: (tried, kept), of every edit against the best of its time."""
    counts: dict[str, tuple[int, int]] = {}
    for outcome in judged(history):
        if outcome.kind and outcome.past.status not in UNJUDGED:
            tried, kept = counts.get(outcome.kind, (0, 0))
            counts[outcome.kind] = tried + 1, kept + (outcome.past.status == "keep")
    return counts


def _since_keep(history: Sequence[Past]) -> int:
    for distance, past in enumerate(reversed(history)):
        if past.status in STARTS:
            return distance
    return len(history)


def _structural(history: Sequence[Past], since: int) -> str:
    tried = tallies(history)
    total = sum(tried.get(kind, (0, 0))[0] for kind in CODE)

    def bound(kind: str) -> float:
        tries, keeps = tried.get(kind, (0, 0))
        return math.inf if tries == 0 else keeps / tries + math.sqrt(2 * math.log(total) / tries)

    kind = max(CODE[:-1], key=bound)  # the first of equals; without "other"
    tries, keeps = tried.get(kind, (0, 0))
    return (
        f"Nothing was kept in the last {since} experiments, and the search tunes the numbers. Make a structural move: change the"
        f" code, not only constants. Of the parts of train.py, {kind} deserves a try: {tries} tried so far, {keeps} kept."
    )
