"""What a person asks of a study while a run has its lock: a file each in .autoresearch/inbox, taken into the ledger by that run.

Whoever asks writes whole files and never the ledger; whoever holds the lock records a request's event, with the request's id, and
removes the file then. A kill in between leaves a file whose id the ledger has: it is removed at the next look. So nothing is lost
and nothing is taken twice, and where no run is at work a request waits for the next.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from autoresearch import durable, records
from autoresearch.study import events

LARGEST_BYTES = 1 << 21  # chosen: ten times the largest train.py, so that every letter of one may be an escape
LEFT_OVER_SECONDS = 3600.0  # chosen: no half-written file is somebody's at work after that time

_NAME = re.compile(r"[0-9]{20}-[0-9a-f]{8}\.json")  # as `put` writes it; it becomes a part of a git ref

Kind = Literal["tell", "pause", "resume", "skip", "propose"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds. Others may write there too: text is cut and made harmless where it becomes an event (loop/steering.py)."""

    kind: Kind
    text: str = ""  # of tell: what; of propose: the train.py
    description: Annotated[str, Meta(max_length=events.CHARACTERS["description"])] = ""
    n: events.Number | None = None  # of skip: the experiment


def put(folder: Path, request: Request) -> str:
    """Ask; durable when this returns. The request's id."""
    durable.make_folder(folder)
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    durable.write(folder / f"{name}.json", msgspec.json.encode(request))
    return name


def waiting(folder: Path) -> Iterator[tuple[Path, Request | None]]:
    """The requests that nobody has taken, oldest first; None: it is none. What has another name is somebody else's.

    A file that can't be read now is left out.
    """
    for path in sorted(path for path in folder.glob("*.json") if _NAME.fullmatch(path.name)):
        with contextlib.suppress(OSError):
            yield path, _read(path)


def tidy(folder: Path) -> None:
    """Remove what a kill has left half-written."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                durable.remove(path)


def _read(path: Path) -> Request | None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return None
    try:
        return records.read(Request, msgspec.json.decode(path.read_bytes()))
    except (ValueError, RecursionError):
        return None
