"""The lines of a ledger as bytes: what makes a line good, and what a damaged file still says.

A line is JSON with its sequence number first and its checksum last. The checksum is over the line and the checksum of the line
before, so that a good line in the wrong place, or of another ledger, is a bad one. So is a line that is longer than any that was
ever written, or nested so deeply that Python's JSON does not read it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch.errors import StoredStateError
from autoresearch.paths import typed

LONGEST_LINE_BYTES = 32 << 20  # of a line that is read; earlier versions cut no reason, and one may have 20 MB
LARGEST_BYTES = 4 << 30  # of a ledger that is read: a million experiments (docs/design/scale.md)

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass
class Parsed:
    """What a ledger's bytes say."""

    events: list[dict[str, Any]] = field(default_factory=list)  # unless somebody else took them
    count: int = 0
    last: str | None = None  # what kind of event the last one is
    size: int = 0  # bytes that the events take; what lies behind them is a torn line
    check: str = ""  # the checksum of the last event
    damaged: int | None = None  # the number of the first bad line, where that is not a torn one


def content(path: Path) -> bytes:
    """A ledger's bytes; none where there is no file. StoredStateError for a file that can't be one, which is not read."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise StoredStateError(
                f"{path} has {size >> 20:,} MiB, and no ledger has {LARGEST_BYTES >> 20:,}; put a copy of it back, or begin a new"
                " study: `autoresearch run --workspace NEW_FOLDER`"
            )
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def encode(entry: dict[str, Any], before: str) -> tuple[bytes, str]:
    """A line and its checksum: JSON in the order of the keys, and last the checksum of the line before and of this one."""
    body = _to_json(entry)[:-1]
    check = hashlib.blake2b((before + body).encode(), digest_size=8).hexdigest()
    return f'{body},"check":"{check}"}}\n'.encode(), check


def parse(
    data: bytes, path: Path, strict: bool = True, seq: int = 0, check: str = "",
    take: Callable[[dict[str, Any]], object] | None = None,
) -> Parsed:  # fmt: skip
    """The events in data. Raises StoredStateError for a bad line that is not a torn one; unless strict, it stops there.

    seq, check: of the event before those in data. take: gets each event, in place of the list: of a hundred thousand experiments it
    would have gigabytes.
    """
    parsed = Parsed(check=check)
    take = take or parsed.events.append
    while (end := data.find(b"\n", parsed.size)) >= 0:
        number, line = seq + parsed.count + 1, data[parsed.size : end]
        decoded = _decode(line, number, parsed.check)
        if decoded is None:
            # A power loss may leave unwritten pages in the last line, which read as zeros, although its end is there.
            if end == len(data) - 1 and b"\0" in line:
                break
            parsed.damaged = number
            if strict:
                raise StoredStateError(
                    f"{path} line {number} is damaged; `autoresearch repair --workspace {typed(path.parent.parent)}` shows what can"
                    f" be kept, and goes back to line {number - 1}; every commit stays under refs/autoresearch"
                )
            break
        entry, parsed.check = decoded
        take(entry)
        parsed.count, parsed.size, parsed.last = parsed.count + 1, end + 1, entry.get("event")
    return parsed


def _decode(line: bytes, seq: int, before: str) -> tuple[dict[str, Any], str] | None:
    """The event and its checksum, or None when the line is not, byte for byte, what was written as number seq after before."""
    if len(line) > LONGEST_LINE_BYTES:
        return None
    try:
        entry = json.loads(line)
        del entry["check"]
        again, check = encode(entry, before)
        return (entry, check) if entry["seq"] == seq and again == line + b"\n" else None
    except (ValueError, KeyError, TypeError, RecursionError):  # not JSON or not UTF-8; no checksum; not an object; nested
        return None
