"""Moves that are known to help, of a task's moves.toml: the search tries them before anything else (search.py)."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from autoresearch import records
from autoresearch.constants import Number
from autoresearch.errors import UsageError


@dataclass(frozen=True)
class Edit:
    """Of one constant: the value it gets, or what its present one is multiplied with, or gets added."""

    constant: str
    set: Number | None = None
    multiply: Number = 1
    add: Number = 0
    keep_product_with: str | None = None  # another constant, which the same move has changed


@dataclass(frozen=True)
class Move:
    what: str
    edits: tuple[Edit, ...]  # made together, in their order
    gain: float | None = None  # where it was found, in the metric's unit
    source: str | None = None  # where that is


@dataclass(frozen=True)
class _File:
    move: tuple[Move, ...] = ()
    source: str | None = None  # of every move


def read(folder: Path) -> tuple[Move, ...]:
    """Of a task's folder, where it has a moves.toml, the best first. UsageError for one that is none."""
    path = folder / "moves.toml"
    try:
        file = records.read_own(_File, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except ValueError as fault:
        raise UsageError(f"{path}: {fault}", "mend it, or take it away") from fault
    return tuple(Move(one.what, one.edits, one.gain, one.source or file.source) for one in file.move)
