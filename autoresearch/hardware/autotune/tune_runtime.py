"""The second part of autotune: whether another choice of the runtime's (dtype, compilation, threads, attention) is faster here.

One change at a time, against the choices so far: two warm stopwatches take their steps in turn, so that a noisy machine hits both.
A change is taken where it was the faster one in all rounds but LOST_ROUNDS and by WORTH in the median; the next is then compared
with it. Two changes that only pay together are not found.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoresearch.child import RunFailed
from autoresearch.choices import VARIABLES, Value
from autoresearch.hardware.autotune.sizes import MEMORY_SHARE
from autoresearch.hardware.autotune.stopwatch import Stopwatch
from autoresearch.hardware.devices.facts import Facts

ROUNDS = 10
LOST_ROUNDS = 1  # 9 of 10 happen by chance once in 93 times (11 / 2**10) where both are equally fast, whatever the noise is like
WORTH = 0.02  # chosen: for less a study keeps the runtime's choice, as everybody else's
SHORTEST_SECONDS = 8.0  # chosen: a start from a filled cache (4 s eager, docs/design/plan.md), and the rounds


@dataclass(frozen=True)
class Change:
    """One choice, tried. ratio: how many times as fast it was, the median of the rounds; None: not compared, for `reason`."""

    name: str
    value: Value
    ratio: float | None
    taken: bool
    reason: str


def alternatives(facts: Facts) -> list[tuple[str, Value]]:
    """What the device has beside what its runtime chose, in the order of what it may change."""
    names = sorted(facts.choices, key=_ORDER.index)
    return [(name, value) for name in names for value in facts.choices[name] if value != getattr(facts, name)]


def postponed(others: Sequence[tuple[str, Value]], load: str | None) -> tuple[list[tuple[str, Value]], tuple[Change, ...]]:
    """(what is to be compared, what is left for now). load: a sentence where other processes use the cores.

    Then fewer threads are faster, and only then: beside a second busy process on two cores one thread was 2.3 times as fast as
    two. Other choices meet the same load in turn.
    """
    left = [(name, value) for name, value in others if load and name == "threads"]
    return [pair for pair in others if pair not in left], tuple(_untried(*pair, f"not tried: {load}") for pair in left)


def judge(name: str, value: Value, rounds: Sequence[tuple[float, float]]) -> Change:
    """rounds: (seconds of a step as it is, with the change) of each."""
    if len(rounds) < ROUNDS:
        return _untried(name, value, f"not compared: the time ended after {len(rounds)} of {ROUNDS} rounds")
    ratio = statistics.median(before / after for before, after in rounds)
    won = sum(after < before for before, after in rounds)
    taken = won >= len(rounds) - LOST_ROUNDS and ratio >= 1 + WORTH
    words = f"{ratio:.2f} times as fast, ahead in {won} of {len(rounds)} rounds"
    return Change(name, value, ratio, taken, f"{words}: {'taken' if taken else 'left'}")


def compare(
    others: Sequence[tuple[str, Value]],
    watch: Callable[[dict[str, Value]], Stopwatch],
    left: Callable[[], float],
    memory_bytes: int | None,
) -> tuple[dict[str, Value], tuple[Change, ...]]:
    """(the choices that were taken, every change with what came of it).

    watch: a warm stopwatch with those choices, may raise RunFailed; left: seconds; memory_bytes: of the device.
    """
    chosen: dict[str, Value] = {}
    changes: list[Change] = []
    current = None
    try:
        for name, value in others:
            if left() < SHORTEST_SECONDS:
                changes.append(_untried(name, value, "not tried: the time was over"))
                continue
            try:
                current = current or watch(chosen)
            except RunFailed as failure:
                changes += [_untried(*pair, f"not tried: without it, {failure}") for pair in others[len(changes) :]]
                break
            change, other = _try(name, value, current, chosen, watch, left, memory_bytes)
            changes.append(change)
            if change.taken:
                chosen[name] = value
                current, other = other, current
            if other is not None:
                other.__exit__()
    finally:
        if current is not None:
            current.__exit__()
    return chosen, tuple(changes)


def _try(
    name: str,
    value: Value,
    current: Stopwatch,
    chosen: dict[str, Value],
    watch: Callable[[dict[str, Value]], Stopwatch],
    left: Callable[[], float],
    memory_bytes: int | None,
) -> tuple[Change, Stopwatch | None]:
    """(what came of it, the stopwatch with the change, still open); None where it was not opened or has failed."""
    most_bytes = None if memory_bytes is None else MEMORY_SHARE * memory_bytes
    if not _fits(2 * (current.peak_memory_bytes() or 0), most_bytes):
        return _untried(name, value, "not tried: two trainings at a time do not fit into the device's memory"), None
    other = None
    try:
        other = watch(chosen | {name: value})
        rounds: list[tuple[float, float]] = []
        while len(rounds) < ROUNDS and left() > 0:
            rounds.append((current.seconds("step"), other.seconds("step")))
        if not _fits(other.peak_memory_bytes() or 0, most_bytes):
            return _untried(name, value, "left: it fills the device's memory"), other
        return judge(name, value, rounds), other
    except RunFailed as failure:
        if other is not None:
            other.__exit__(type(failure))
        return _untried(name, value, f"left: {failure.kind}: {failure}"), None


def _fits(peak_bytes: int, most_bytes: float | None) -> bool:
    return most_bytes is None or peak_bytes <= most_bytes


def _untried(name: str, value: Value, reason: str) -> Change:
    return Change(name, value, None, False, reason)


_ORDER = ("dtype", "compile", "threads", "attention")  # the most seconds a step first
assert set(_ORDER) == set(VARIABLES)
