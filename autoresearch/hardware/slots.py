"""How many workers a machine has room for: one for each device of the study's kind, or shares of the processors.

A study is of one class of device: scores of two kinds, or of other numbers of cores, don't compare, since in the same time one
trains more. So its workers are of the class that it began on; others of this machine are named, and left out.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.errors import UsageError
from autoresearch.hardware import cores
from autoresearch.hardware.devices import cards
from autoresearch.hardware.devices.registry import Backend, Card, Selector

MOST = 256  # of one machine; chosen: more is a mistake in typing


@dataclass(frozen=True)
class Slot:
    """Where a worker's runs have their place."""

    variables: dict[str, str] = field(default_factory=dict)  # of the environment, that take its device
    device_id: str | None = None
    processors: frozenset[int] = frozenset()  # empty: any


@dataclass(frozen=True)
class Slots:
    all: tuple[Slot, ...]
    reason: str  # one line, for the person


def of(backend: Backend, per_run: int | None, wanted: int | None) -> Slots:
    """The slots for `--workers`. per_run: cores of each run, where a study shares the processors; wanted: None is as many as fit.

    UsageError where there are not so many.
    """
    if wanted is not None and not 1 <= wanted <= MOST:
        raise UsageError(f"--workers {wanted}: a machine has 1 to {MOST}", "give one of these, or auto")
    if backend.selector and not cards.by_hand(backend):
        found, _ = cards.listed(backend)
        if len(found) > 1:
            return _of_cards(backend.selector, backend.card or cards.free(found), found, wanted)
    if several := _several_by_hand(backend):
        return _of_values(several, wanted)
    if per_run is not None:
        return _of_cores(shares(per_run), per_run, wanted)
    if wanted in (None, 1):
        return Slots((Slot(),), "one: " + (_taken_by_hand(backend) or f"the backend {backend.name} has one device"))
    if backend.simulated:
        return Slots((Slot(),) * (wanted or 1), f"{wanted}, which take nothing of each other")
    raise UsageError(f"--workers {wanted}: {_why_one(backend)}")


def _several_by_hand(backend: Backend) -> list[dict[str, str]]:
    """Where a person, or Slurm, has taken several devices by the backend's own variable: what takes each one of them."""
    selector = backend.selector
    if selector is None or any(name in os.environ for name in selector.also) or selector.variable not in os.environ:
        return []
    values = [value.strip() for value in os.environ[selector.variable].split(",") if value.strip()]
    return [{selector.variable: value} for value in values] if len(values) > 1 else []


def _of_values(several: list[dict[str, str]], wanted: int | None) -> Slots:
    """Whether they are alike each worker finds out itself, when it looks at its machine."""
    (name,) = several[0]
    count = len(several) if wanted is None else wanted
    if count > len(several):
        raise UsageError(f"--workers {count}: {name}={os.environ[name]} has {len(several)}", f"give {len(several)} or less")
    return Slots(tuple(map(Slot, several[:count])), f"{count}, one a device of {name}={os.environ[name]}")


def _taken_by_hand(backend: Backend) -> str:
    return f"{words} was set by hand" if (words := cards.by_hand(backend)) else ""


def _why_one(backend: Backend) -> str:
    if words := cards.by_hand(backend):
        return f"{words} was set by hand and takes one device; unset it"
    if backend.processors:
        return (
            "this study's runs have all cores; several workers share them in a new study (`--workers N --workspace NEW_FOLDER`),"
            " or leave --workers out"
        )
    return f"the backend {backend.name} has one device; leave --workers out"


def _of_cards(selector: Selector, own: Card, found: list[Card], wanted: int | None) -> Slots:
    alike = sorted((card for card in found if _class(card) == _class(own)), key=lambda card: (card.id != own.id, card.index))
    others = [f"{card.index} {card.name}" for card in found if _class(card) != _class(own)]
    left_out = f"; of another kind, and left out: {', '.join(others)}" if others else ""
    count = len(alike) if wanted is None else wanted
    if count > len(alike):
        raise UsageError(f"--workers {count}: there are {len(alike)} devices {own.name}{left_out}", f"give {len(alike)} or less")
    taken = alike[:count]
    numbers = ", ".join(str(card.index) for card in taken)
    each = tuple(Slot({**selector.fixed, selector.variable: str(card.index)}, card.id) for card in taken)
    return Slots(each, f"{count}, one a device ({own.name}: {numbers}){left_out}")


def _class(card: Card) -> tuple[str, int | None]:
    return card.name, card.memory_bytes


def _of_cores(found: list[frozenset[int]], per_run: int, wanted: int | None) -> Slots:
    count = len(found) if wanted is None else wanted
    if count > len(found):
        raise UsageError(
            f"--workers {count}: with {_cores(per_run)} each there is room for {len(found)}", f"give {len(found)} or less"
        )
    return Slots(tuple(Slot(processors=one) for one in found[:count]), f"{count}, {_cores(per_run)} each")


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count > 1)}"


def can_bind() -> bool:
    return hasattr(os, "sched_setaffinity")


def shares(per_run: int, root: Path = cores.ROOT) -> list[frozenset[int]]:
    """The processors that this process may use, in shares of so many cores, a core's hardware threads together."""
    if not can_bind():
        raise UsageError("this system binds no process to cores, so several workers would share all of them; leave --workers out")
    siblings: dict[str, set[int]] = {}
    for processor in sorted(os.sched_getaffinity(0)):
        siblings.setdefault(cores.siblings(processor, root), set()).add(processor)
    whole = list(siblings.values())[: cores.count(os.sched_getaffinity(0), root)]
    return [frozenset().union(*whole[at : at + per_run]) for at in range(0, len(whole) - per_run + 1, per_run)]


def shared(per_run: int | None) -> AbstractContextManager[None]:
    """What this thread does and starts meanwhile has one share of so many cores; None: all that it had."""
    return bound(frozenset() if per_run is None else shares(per_run)[0])


@contextmanager
def bound(processors: frozenset[int]) -> Iterator[None]:
    """What this thread does and starts meanwhile has these processors; empty: all that it had."""
    if not processors:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
