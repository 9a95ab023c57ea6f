"""Which of a backend's devices a study uses: the one that is asked for, the one that it began on, or one that is free.

A backend with several devices has a [devices] table in its backend.toml (registry.Selector), and a devices.py that prints them as
one JSON line, the faster kind first:

    [{"index": 0, "id": "GPU-8f5a...", "name": "NVIDIA GeForce RTX 4090", "memory_bytes": 25757220864, "free_bytes": null, ...}]

It imports no framework and answers within accelerator.ASK_SECONDS. A variable that a person has set by hand is left as it is.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace

from autoresearch import records
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.accelerator import Question
from autoresearch.hardware.devices.registry import Backend, Card

FILE = "devices.py"
# Chosen. A desktop takes a fifth of a card's time now and then, and up to a quarter of a small one's memory.
BUSY_SHARE, FREE_SHARE = 0.25, 0.75
WORTH_WAITING = 2.0  # a card with that many times the memory is taken although it is busy: it is another class of machine
SHORTEST_MODEL = 3  # digits: `--device 580` may be a model, `--device 9` is none of 4090
LIKE_SHARE = 0.9  # of the memory of the largest: its equal


class NoDevices(UsageError):
    """Of a backend that has one device, or does not say which it has. why: its list can't be read."""

    def __init__(self, backend: Backend, why: str | None = None):
        if backend.selector is None:
            super().__init__(f"the backend {backend.name} has one device and none to choose", "leave --device out")
            return
        problem = f"the driver of the backend {backend.name} ({backend.title}) was asked for its devices and lists none"
        if why:
            problem = f"the devices of the backend {backend.name} can't be listed: {why}"
        super().__init__(problem, "leave --device out; `autoresearch doctor` says what is here and what is missing")


def pick(backend: Backend, wanted: str | None = None, known: str | None = None) -> Backend:
    """The backend with its device, the reason, and the variables that take it.

    wanted: --device, an index or a part of a name; known: the id of the device that the study began on, taken where none is wanted.
    Raises UsageError where there is none such.
    """
    selector = backend.selector
    if selector is None:
        if wanted is not None:
            raise NoDevices(backend)
        return backend
    if words := by_hand(backend):
        if wanted is not None:
            raise UsageError(f"{words} chooses the device already", "unset that, or leave --device out")
        return replace(backend, card_reason=f"as {words} says, which was set by hand")
    cards, fault = listed(backend)
    if not cards:
        if wanted is not None:
            raise NoDevices(backend, fault)
        return replace(backend, card_reason=fault and f"the first that is found; {fault}")
    card, why = _wanted(cards, wanted) if wanted is not None else _known(cards, known) if known else _free(cards)
    selected = {**selector.fixed, selector.variable: str(card.index)} if len(cards) > 1 else {}
    return replace(backend, card=card, card_reason=f"{_head(card, cards)}: {why}", selected=selected)


def by_hand(backend: Backend) -> str:
    """The variables by which a person has taken devices already, as `NAME=VALUE and ...`; empty: none."""
    names = (backend.selector.variable, *backend.selector.also) if backend.selector else ()
    return " and ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def listed(backend: Backend) -> tuple[list[Card], str | None]:
    """(its devices in the backend's own order, why there are none where it does not answer or breaks the contract)."""
    line, fault = Question(backend, FILE).line()
    if fault:
        return [], fault
    try:
        table = json.loads(line)
        if not isinstance(table, list):
            raise ValueError("it is no list")
        return [records.read_own(Card, entry) for entry in table], None
    except ValueError as error:
        return [], f"the backend's {FILE} gave an unusable answer ({error}): {line[:80]!r}"


def free(cards: Sequence[Card]) -> Card:
    """The largest that is free, rather one without a desktop; among equals the first. Of busy ones the same."""
    most = max(_memory(card) for card in cards)
    worthy = [card for card in cards if _memory(card) * WORTH_WAITING >= most]
    idle = [card for card in worthy if not _is_busy(card)] or worthy
    largest = max(_memory(card) for card in idle)
    return min((card for card in idle if _memory(card) >= LIKE_SHARE * largest), key=lambda card: bool(card.display))


def _free(cards: Sequence[Card]) -> tuple[Card, str]:
    card = free(cards)
    others = sorted((other for other in cards if other is not card), key=lambda other: other.index)
    states = [f"device {other.index}{'' if other.name == card.name else f' ({other.name})'}: {_state(other)}" for other in others]
    return card, "; ".join([_state(card), *states])


def _wanted(cards: Sequence[Card], wanted: str) -> tuple[Card, str]:
    matches = [card for card in cards if str(card.index) == wanted]
    if not matches and not (wanted.isdecimal() and len(wanted) < SHORTEST_MODEL):
        matches = [card for card in cards if wanted.lower() in card.name.lower()]
    if len(matches) != 1:
        problem = f"--device {wanted!r:.80} fits {len(matches)} devices" if matches else f"there is no device {wanted!r:.80}"
        raise UsageError(f"{problem} (there are: {_all(cards)})", "name one of these by its number")
    return matches[0], f"asked for; {_state(matches[0])}"


def _known(cards: Sequence[Card], known: str) -> tuple[Card, str]:
    card = next((card for card in cards if card.id == known), None)
    if card is None:
        problem = f"the device that the study began on ({known}) is not in this computer (there are: {_all(cards)})"
        raise UsageError(problem, "put it back, or name one that is like it with --device")
    return card, f"the study's own; {_state(card)}"


def _head(card: Card, cards: Sequence[Card]) -> str:
    return f"device {card.index} of {len(cards)} ({card.name})"


def _all(cards: Sequence[Card]) -> str:
    return ", ".join(f"{card.index} {card.name}" for card in sorted(cards, key=lambda card: card.index))


def _state(card: Card) -> str:
    """What is known of its load."""
    parts = [] if card.free_bytes is None else [f"{card.free_bytes / 2**30:.1f} GB free"]
    if card.busy is not None and card.busy >= BUSY_SHARE:
        parts.append(f"{card.busy:.0%} busy")
    if card.display:
        parts.append("draws a desktop")
    return ", ".join(parts) or "its load is not known"


def _memory(card: Card) -> int:
    return card.memory_bytes or 0


def _is_busy(card: Card) -> bool:
    is_full = card.free_bytes is not None and card.memory_bytes is not None and card.free_bytes < FREE_SHARE * card.memory_bytes
    return is_full or (card.busy or 0) >= BUSY_SHARE
