"""Which row is for training, validation, test or the audit slice: by row, by group or by time. Pure, and the same on every machine.

    row     By a hash of the row's content, so that copies of a row are on one side. Where more than half of the rows are copies
            (few columns of few values) they are taken for separate observations.
    group   By a hash of the group's name: no group is on two sides.
    time    Training gets the earliest rows, test the latest, and the time between is cut into BLOCKS that validation and slice
            take in turn, three to two: both lie after all of training, and neither of the two is nearer to it. No moment is on
            two sides. By group or time, training rows that are copies of held-out ones are left out.

What is drawn independently (contract.py: units) is a row with its copies, a group, a moment.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from autoresearch.errors import UsageError

from .columns import as_numbers

TRAIN, VAL, TEST, SLICE, LEFT_OUT = range(5)
NAMES = {TRAIN: "train", VAL: "val", TEST: "test", SLICE: "slice"}
# Share of the rows, and the most of them: beyond it rows are worth more in training. The least: for fewer a score is luck.
SHARES = {TEST: (0.15, 50_000), VAL: (0.15, 50_000), SLICE: (0.10, 25_000)}
LEAST = {TRAIN: 100, VAL: 30, TEST: 30, SLICE: 20}
BLOCKS = 20
_WORDS = {TRAIN: "training", VAL: "validation", TEST: "test", SLICE: "the audit slice"}
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio
_CHUNK = 1 << 16  # rows hashed at a time


@dataclass
class Division:
    part: np.ndarray  # int8 [n]: TRAIN, VAL, TEST, SLICE or LEFT_OUT
    unit: np.ndarray  # int64 [n]
    order: np.ndarray  # int64 [n]: all rows, in an order that tells nothing
    warnings: list[str] = field(default_factory=list)


def digests(table: dict[str, pa.Array]) -> np.ndarray:
    """uint64 [n] of each row's content, whatever the order of the columns, and however a number is written."""
    total: np.ndarray = np.uint64(0)
    for name, text in table.items():
        numbers = as_numbers(text) + 0.0  # there is one zero
        is_number, content = np.isfinite(numbers), mixed(numbers.view(np.uint64))
        if not is_number.all():
            content = np.where(is_number, content, _of_texts(text))
        total = total + mixed(content ^ _of_texts(pa.array([name], pa.large_string())))
    return total


def mixed(values: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea and Flood 2014): uint64 -> uint64, one to one."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _of_texts(text: pa.Array) -> np.ndarray:
    """uint64 [n]: each byte times a number of its place, summed; null: 0."""
    sums = np.zeros(len(text), np.uint64)
    for start in range(0, len(text), _CHUNK):
        part = text.slice(start, _CHUNK)
        _, offsets, content = part.buffers()
        ends = np.frombuffer(offsets, np.int64)[part.offset : part.offset + len(part) + 1]
        lengths = np.diff(ends)
        filled = np.flatnonzero(lengths)
        if not len(filled):
            continue
        place = np.arange(ends[0], ends[-1]) - np.repeat(ends[:-1], lengths)
        letters = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]].astype(np.uint64) + np.uint64(1)
        sums[start + filled] = np.add.reduceat(letters * mixed(place.astype(np.uint64)), ends[filled] - ends[0])
    return sums


def by_row(rows: np.ndarray) -> Division:
    """rows: uint64 [n], digests of their content."""
    copies = _copies(rows)
    warnings = []
    if _is_mostly_copies(rows):
        warnings.append(f"{(copies > 0).mean():.0%} of the rows are copies of others: they are taken for separate observations")
        rows = mixed(rows + copies.astype(np.uint64))
    return check(Division(_shared_out(rows), _numbered(rows), _order(rows), warnings))


def by_group(rows: np.ndarray, groups: np.ndarray) -> Division:
    """rows, groups: uint64 [n], digests."""
    division = Division(_shared_out(groups), _numbered(groups), _order(rows))
    return check(_without_copies(division, rows), f" ({len(np.unique(groups)):,} groups)")


def by_time(rows: np.ndarray, times: np.ndarray) -> Division:
    """times: [n], of any type that has an order."""
    moments, unit, sizes = np.unique(times, return_inverse=True, return_counts=True)
    count = len(rows)
    test, val, audit = (min(share * count, most) for share, most in SHARES.values())
    earlier = np.cumsum(sizes) - sizes  # rows, of each moment
    until = count - test - val - audit
    block = ((earlier - until) / (val + audit) * BLOCKS).astype(np.int64)
    of_moment = np.where(block % 5 % 2 == 0, VAL, SLICE)
    of_moment[earlier < until] = TRAIN
    of_moment[earlier >= count - test] = TEST
    division = Division(of_moment[unit].astype(np.int8), unit.astype(np.int64), _order(rows))
    return check(_without_copies(division, rows), f" ({len(moments):,} moments)")


def _shared_out(keys: np.ndarray) -> np.ndarray:
    """Part of each row, int8 [n]: rows of one key together, keys in the order of their hashes, none too large for a part."""
    unique, inverse, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(mixed(unique), kind="stable")
    part = np.full(len(unique), TRAIN, np.int8)
    for name, (share, most) in SHARES.items():
        wanted = min(share * len(keys), most)
        offered = order[(part[order] == TRAIN) & (sizes[order] <= max(wanted, 1))]
        before = np.cumsum(sizes[offered]) - sizes[offered]
        part[offered[before < wanted]] = name
    return part[inverse]


def _without_copies(division: Division, rows: np.ndarray) -> Division:
    if not _is_mostly_copies(rows):
        held = np.unique(rows[division.part != TRAIN])
        again = (division.part == TRAIN) & np.isin(rows, held)
        if again.any():
            division.part[again] = LEFT_OUT
            division.warnings.append(f"{int(again.sum()):,} training rows are copies of held-out ones: left out")
    return division


def check(division: Division, of: str = "") -> Division:
    counts = np.bincount(division.part, minlength=LEFT_OUT)[:LEFT_OUT]
    for part, least in LEAST.items():
        if counts[part] < least:
            few = f"of {counts.sum():,} rows{of} {counts[part]:,} are for {_WORDS[part]} and at least {least} are needed"
            raise UsageError(f"{few}; take a file of more rows, at least 200" + (", or `--split row`" if of else ""))
    return division


def _copies(rows: np.ndarray) -> np.ndarray:
    """How many rows with the same digest come before each: int64 [n]."""
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(rows[order].view(np.int64)) != 0))
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    copies = np.empty(len(rows), np.int64)
    copies[order] = place
    return copies


def _is_mostly_copies(rows: np.ndarray) -> bool:
    return len(np.unique(rows)) < len(rows) / 2


def _numbered(keys: np.ndarray) -> np.ndarray:
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _order(rows: np.ndarray) -> np.ndarray:
    return np.argsort(mixed(~rows), kind="stable")
