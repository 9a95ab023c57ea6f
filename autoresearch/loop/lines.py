"""The lines of a ledger as bytes: what makes a line good, and what a damaged file still says.

A line is JSON with its sequence number first and its checksum last. The checksum is over the line and the checksum of the line
before, so that a good line in the wrong place, or of another ledger, is a bad one.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.errors import StoredStateError

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass
class Parsed:
    """What a ledger's bytes say."""

    events: list[dict] = field(default_factory=list)
    size: int = 0  # bytes that the events take; what lies behind them is a torn line
    check: str = ""  # the checksum of the last event
    damaged: int | None = None  # the number of the first bad line, where that is not a torn one


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def encode(entry: dict, before: str) -> tuple[bytes, str]:
    """A line and its checksum: JSON in the order of the keys, and last the checksum of the line before and of this one."""
    body = _to_json(entry)[:-1]
    check = hashlib.blake2b((before + body).encode(), digest_size=8).hexdigest()
    return f'{body},"check":"{check}"}}\n'.encode(), check


def parse(data: bytes, path: Path, strict: bool = True) -> Parsed:
    """The events in data. Raises StoredStateError for a bad line that is not a torn one; unless strict, it stops there."""
    lines = data.split(b"\n")
    unfinished = lines.pop()
    found = Parsed()
    for number, line in enumerate(lines, 1):
        decoded = _decode(line, number, found.check)
        if decoded is None:
            # A power loss may leave unwritten pages in the last line, which read as zeros, although its end is there.
            if number == len(lines) and not unfinished and b"\0" in line:
                break
            found.damaged = number
            if strict:
                raise StoredStateError(
                    f"{path} line {number} is damaged; `autoresearch repair --workspace {path.parent.parent}` shows what can be"
                    f" kept, and goes back to line {number - 1}; every commit stays under refs/autoresearch"
                )
            break
        entry, found.check = decoded
        found.events.append(entry)
        found.size += len(line) + 1
    return found


def _decode(line: bytes, seq: int, before: str) -> tuple[dict, str] | None:
    """The event and its checksum, or None when the line is not, byte for byte, what was written as number seq after before."""
    try:
        entry = json.loads(line)
        del entry["check"]
        again, check = encode(entry, before)
        return (entry, check) if entry["seq"] == seq and again == line + b"\n" else None
    except (ValueError, KeyError, TypeError):  # not JSON or not UTF-8; no checksum; not an object
        return None
