"""A ledger with a bad line in its middle: what can be kept, and the way back to it.

Promises: nothing is thrown away. The whole file is kept beside the ledger before the ledger is cut, and the commits of what is
cut off keep their refs. Cut short anywhere, it can be done again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from autoresearch import durable
from autoresearch.study import events, lines
from autoresearch.text import one_line


@dataclass(frozen=True)
class Damage:
    """The ledger is good up to the line before `line`."""

    path: Path
    line: int
    size: int  # bytes before it
    data: bytes  # the whole file

    @property
    def cut(self) -> list[tuple[int, str]]:
        """Each line that is cut off: its number, and what it seems to say."""
        rest = self.data[self.size :].removesuffix(b"\n").split(b"\n")
        return [(number, _in_words(line)) for number, line in enumerate(rest, self.line)]

    @property
    def aside(self) -> Path:
        """Where the old file is kept: a new name, or the one that holds exactly this file already."""
        names = (self.path.with_name(f"events.damaged-{number}.jsonl") for number in range(1, 1 << 20))
        return next(name for name in names if not name.exists() or name.read_bytes() == self.data)


def damage(path: Path) -> Damage | None:
    """None when the ledger is good; a torn last line is, since the next run sets it aside by itself."""
    data = lines.content(path)
    known = lines.parse(data, path, strict=False)
    return None if known.damaged is None else Damage(path, known.damaged, known.size, data)


def repair(damaged: Damage) -> Path:
    """Cut the ledger before the bad line. Only while the study's lock is held. Returns where the old file is."""
    aside = damaged.aside
    durable.write(aside, damaged.data)
    durable.cut(damaged.path, damaged.size)
    return aside


def _in_words(line: bytes) -> str:
    if len(line) > events.LONGEST_LINE_BYTES:
        return f"not readable, {len(line):,} bytes"
    try:
        entry = json.loads(line)
        shown = ("n", "k", "verdict", "val_bpb", "text")
        words = [str(entry["event"]), *(f"{name} {entry[name]}" for name in shown if name in entry)]
        return one_line(", ".join(words), 120)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not readable"
