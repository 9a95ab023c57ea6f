"""Events that say what can't be, made from a recorded night: for the tests of what reads a ledger."""

import copy
import json
from pathlib import Path

from hypothesis import strategies as st

NIGHT = Path(__file__).with_name("ledger_night.jsonl")  # with every kind of event


def night() -> list[dict]:
    events = [json.loads(line) for line in NIGHT.read_bytes().splitlines()]
    return [{key: value for key, value in event.items() if key != "check"} for event in events]


def _deep(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


VALUES = (
    None, True, False, 0, 1, -1, 2, 99, 2**70, -(10**400), 1.5, 0.0, -1e308, 1e308, 5e-324, float("nan"), float("inf"), "", "x",
    "NaN", "ok", "keep", "crash", "baseline", "discard", "run", "x" * 30_000, "\x1b[2J\u202e", "\udc80", "../../x", "9999-99-99",
    [], [None], [1.0], [0.5, 0.5], [1e308, 1e308], {}, {"state": 1}, {"a": {"b": []}}, _deep(400),
)  # fmt: skip


@st.composite
def mutants(draw, most: int = 4, values: tuple = VALUES) -> list:
    """The night, with a few things done to it: values replaced or dropped, events dropped, doubled, moved, or no events at all."""
    events = night()
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(events) - 1))
        what = draw(st.sampled_from(("value", "value", "value", "value", "key", "drop", "double", "move", "cut", "junk")))
        if what == "drop" and len(events) > 1:
            del events[at]
        elif what == "double":
            events.insert(at, copy.deepcopy(events[at]))
        elif what == "move":
            events.insert(draw(st.integers(0, len(events) - 1)), events.pop(at))
        elif what == "cut":
            del events[at + 1 :]
        elif what == "junk":
            events[at] = draw(st.sampled_from(values))
        elif isinstance(events[at], dict) and events[at]:
            inner = events[at].get("watched")
            table = inner if isinstance(inner, dict) and inner and draw(st.booleans()) else events[at]
            key = draw(st.sampled_from(sorted(table)))
            if what == "key":
                del table[key]
            else:
                table[key] = draw(st.sampled_from(values))
    return events
