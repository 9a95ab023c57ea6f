"""Damaged ledgers: is any of them taken for a good one?

A ledger is damaged by one of KINDS, parsed, and must either be refused or give a true beginning of the events that were written.
Not tried: a line that is made anew with its checksums, which is an act of intent (ledger.py).
"""

import json
import random
import re
import time
from pathlib import Path

from autoresearch.errors import StoredStateError
from autoresearch.study import lines

from .kills import Figures

SPACES = (b" ", b"\t", b"\r", b"\xc2\xa0", b"\xe2\x80\x8b", b"\n", b"\x0b")
LOOKALIKES = {b"a": "\u0430", b"e": "\u0435", b"o": "\u043e", b"0": "\uff10", b'"': "\u201d", b"-": "\u2212", b":": "\uff1a"}
WHERE = Path("events.jsonl")


def ledger(rng: random.Random, length: int) -> list[bytes]:
    """A short ledger's lines, with every kind of value that a real one has."""
    found, before = [], ""
    for seq in range(1, length + 1):
        entry = {"seq": seq, "time": f"2026-03-01T0{rng.randint(0, 9)}:00:00.{rng.randint(100, 999)}+00:00"}
        study = {"event": "study", "tag": f"t{rng.random()}", "seed": 1, "decide": "strict", "terms": "format = 1\n# \u00e9\n"}
        entry |= study if seq == 1 else rng.choice([
            {"event": "run", "n": rng.randint(0, 9), "k": 1, "status": "ok", "val_bpb": rng.uniform(0.9, 2), "mfu_percent": None},
            {"event": "verdict", "n": rng.randint(0, 9), "verdict": rng.choice(["keep", "discard"]), "scores": [1.5, rng.random()]},
            {"event": "begin", "n": 1, "conditions": {"load": 0.0, "on_battery": False, "rate": 1e-05, "big": 2**61}},
            {"event": "pause", "reason": rng.choice(['the "disk" is full', "\u2028 \udc80", "{}", ""])},
        ])  # fmt: skip
        line, before = lines.encode(entry, before)
        found.append(line[:-1])
    return found


def _flip(rng, data, _):
    at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def _byte(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _insert(rng, data, _):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([bytes([rng.randrange(256)]), *SPACES]) + data[at:]


def _remove(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 1, 2, 5, 40]) :]


def _cut(rng, data, _):
    return data[: rng.randrange(len(data))]


def _zeros(rng, data, _):
    """A page that a power loss left unwritten."""
    at, count = rng.randrange(len(data)), rng.choice([1, 8, 64, 512])
    return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]


def _digit(rng, data, _):
    at = rng.choice([match.start() for match in re.finditer(rb"\d", data)])
    return data[:at] + str(rng.randrange(10)).encode() + data[at + 1 :]


def _letter(rng, data, _):
    letter, other = rng.choice(list(LOOKALIKES.items()))
    return data.replace(letter, other.encode(), rng.randint(1, 3))


def _swap(rng, data, _):
    known = data.split(b"\n")[:-1]
    a, b = rng.randrange(len(known)), rng.randrange(len(known))
    known[a], known[b] = known[b], known[a]
    return b"\n".join([*known, b""])


def _duplicate(rng, data, _):
    known = data.split(b"\n")[:-1]
    known.insert(rng.randrange(len(known) + 1), rng.choice(known))
    return b"\n".join([*known, b""])


def _delete(rng, data, _):
    known = data.split(b"\n")[:-1]
    del known[rng.randrange(len(known))]
    return b"\n".join([*known, b""])


def _splice(rng, data, other):
    """A line of another ledger in its own place, or everything from there on."""
    known, others = data.split(b"\n")[:-1], other.split(b"\n")[:-1]
    at = rng.randrange(1, min(len(known), len(others)))
    end = rng.choice([at + 1, len(known)])
    return b"\n".join([*known[:at], *others[at:end], *known[end:], b""])


def _reform(rng, data, _):
    """A line that says nearly the same: other numbers' forms, order of keys, spaces, escapes, a changed sequence number."""
    known = data.split(b"\n")[:-1]
    at = rng.randrange(len(known))
    line = known[at].decode()
    entry = json.loads(line)
    which = rng.randrange(8)
    if which == 0:
        line = re.sub(r'"n":(\d+)', r'"n":\1.0', line)
    elif which == 1:
        line = re.sub(r'"seq":(\d+)', r'"seq":\1e0', line)
    elif which == 2:
        entry["seq"] += rng.choice([-1, 1, 10])
        line = json.dumps(entry, separators=(",", ":"))
    elif which == 3:
        keys = list(entry)
        rng.shuffle(keys)
        line = json.dumps({key: entry[key] for key in keys}, separators=(",", ":"))
    elif which == 4:
        line = json.dumps(entry)
    elif which == 5:
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
    elif which == 6:
        line = line.replace('{"seq"', '{"seq":0,"seq"', 1)
    else:
        line = re.sub(r'"(keep|discard|strict|ok)"', '"keep"', line.replace("null", "0"))
    known[at] = line.encode("utf-8", "replace")
    return b"\n".join([*known, b""])


KINDS = (_flip, _byte, _insert, _remove, _cut, _zeros, _digit, _letter, _swap, _duplicate, _delete, _splice, _reform)


def mutants(count: int, seed: int = 0) -> Figures:
    """count damaged ledgers; those that a kind left as they were are not counted."""
    rng, figures = random.Random(seed), Figures("ledger mutants")
    started = time.monotonic()
    while figures.cases < count:
        one, other = (b"\n".join([*ledger(rng, rng.randint(2, 5)), b""]) for _ in range(2))
        events = lines.parse(one, WHERE).events
        for _ in range(400):
            kind = rng.choice(KINDS)
            damaged = kind(rng, one, other)
            if damaged != one and figures.cases < count:
                figures.add(kind.__name__, wrongly_accepted(damaged, events))
    figures.seconds = time.monotonic() - started
    return figures


def wrongly_accepted(data: bytes, events: list[dict]) -> str | None:
    try:
        found = lines.parse(data, WHERE).events
    except StoredStateError:
        return None
    return None if repr(found) == repr(events[: len(found)]) else f"accepted: {data!r}"
