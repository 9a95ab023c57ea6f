"""Columns of text -> what a model is fed: float32 numbers and int32 codes of kinds.

What a column is, its scale and its codes are decided by the training rows alone. NaN is a missing number. Of codes, 0 is a value
that fewer than RARE training rows have (so that training sees it, and a value that only held-out rows have is no surprise), 1 is
a missing one. A date becomes numbers: its day, day of the year, day of the week and second of the day.
"""

import contextlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RARE = 3  # chosen
MOST_CODES = 10_000  # of a column: the most frequent ones
MOSTLY = 0.9  # of its values, for a column to be one of numbers or dates; the others count as missing
UNSEEN, MISSING, KNOWN = 0, 1, 2

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_TIME = r"(\d{2}:\d{2}(?::\d{2})?)(?:\.\d+)? ?(?:Z|UTC|[+-]\d{2}:?\d{2})?"
_DATE = re.compile(rf"(\d{{4}})[-/](\d{{2}})[-/](\d{{2}})(?:[ T]{_TIME})?", re.ASCII)
_IDENTIFIER = re.compile(r"(^|[_ .-])(id|uuid|guid|key|index|row|nr|no)$|^(unnamed: ?\d*|)$|[a-z]Id$|[a-z]ID$")


@dataclass
class Inputs:
    numbers: np.ndarray  # float32 [n, N]
    codes: np.ndarray  # int32 [n, C]
    number_names: list[str] = field(default_factory=list)
    code_names: list[str] = field(default_factory=list)
    cards: list[int] = field(default_factory=list)  # how many codes each has, at least 3
    warnings: list[str] = field(default_factory=list)


def as_numbers(text: pa.Array) -> np.ndarray:
    """float64 [n]; NaN for null and for what is no finite number."""
    try:
        values = text.cast(pa.float64())
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(text, _NUMBER)
        values = pc.if_else(is_number, text, None).cast(pa.float64())
    values = values.to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values, np.nan)


def as_dates(text: pa.Array) -> np.ndarray:
    """datetime64[s] [n], as written whatever its time zone; NaT for null and for what is no date such as 2013-01-31."""
    encoded = text.dictionary_encode()
    dates = [_date(value) for value in encoded.dictionary.to_pylist()]
    index = pc.fill_null(encoded.indices, len(dates)).to_numpy(zero_copy_only=False)
    return np.array([*dates, "NaT"], "datetime64[s]")[index]


def _date(value: str) -> str:
    match = _DATE.fullmatch(value)
    if match:
        written = f"{match[1]}-{match[2]}-{match[3]}T{match[4] or '00:00'}"
        with contextlib.suppress(ValueError):  # the 31st of February
            np.datetime64(written, "s")
            return written
    return "NaT"


def names_of_rows(columns: dict[str, pa.Array], keep: Collection[str]) -> dict[str, str]:
    """Columns that name each row instead of describing it, with the reason: no value of theirs comes back in another row."""
    found = {}
    for name, text in columns.items():
        count = len(text) - text.null_count
        distinct = pc.count_distinct(text).as_py()
        if name in keep or not count or distinct <= count // 2:
            continue
        numbers = as_numbers(text)
        if np.isfinite(numbers).sum() > count // 2:
            finite = numbers[np.isfinite(numbers)]
            whole = distinct == len(finite) == len(text) and bool((finite == np.floor(finite)).all())
            if whole and np.ptp(finite) < 2 * len(finite):
                found[name] = "it numbers the rows"
            elif whole and _IDENTIFIER.search(name):
                found[name] = "it is another whole number in each row"
        elif np.isnat(as_dates(text)).sum() - text.null_count > count // 2:
            found[name] = f"it is text that is another in most rows ({distinct:,} in {count:,})"
    return found


def inputs(columns: dict[str, pa.Array], train: np.ndarray, categories: Collection[str], clock: str | None = None) -> Inputs:
    """train: bool [n]. clock: the column that the rows are split by, if by time: all that is held out lies beyond what training has
    seen of it, so that only its place in the day, the week and the year is an input.
    """
    numbers: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    made = Inputs(np.empty(0), np.empty(0))
    constant = []
    for name, text in columns.items():
        before = len(numbers), len(codes)
        values = as_numbers(text)
        there = train & ~np.asarray(text.is_null())
        share = _share(np.isfinite(values), there)
        if name in categories:
            _add_codes(made, codes, name, text, train)
        elif share >= MOSTLY:
            _warn_of_text(made.warnings, name, text, values)
            if name != clock:
                _add_number(made, numbers, name, values, train)
        elif _share(~np.isnat(days := as_dates(text)), there) >= MOSTLY:
            for part, of_part in _calendar(days).items():
                if (name, part) != (clock, "day"):
                    _add_number(made, numbers, f"{name}.{part}", of_part, train)
        else:
            if share > 1 - MOSTLY:
                made.warnings.append(f"{name} holds numbers and text, {share:.0%} numbers: each value is taken as a kind")
            _add_codes(made, codes, name, text, train)
        if before == (len(numbers), len(codes)) and name != clock:
            constant.append(name)
    if constant:
        made.warnings.append(f"{_listed(constant)}: one value or none in the training rows, left out")
    rows = len(train)
    made.numbers = np.stack(numbers, axis=1) if numbers else np.zeros((rows, 0), np.float32)
    made.codes = np.stack(codes, axis=1) if codes else np.zeros((rows, 0), np.int32)
    return made


def _share(known: np.ndarray, there: np.ndarray) -> float:
    return float(known[there].mean()) if there.any() else 0.0


def _warn_of_text(warnings: list[str], name: str, text: pa.Array, values: np.ndarray) -> None:
    odd = ~np.isfinite(values) & ~np.asarray(text.is_null())
    if odd.any():
        example = text[int(odd.argmax())].as_py()
        many = f"{int(odd.sum()):,} of its values"
        warnings.append(f"{name} is a column of numbers, but {many} are not, such as {example[:40]!r}: taken as missing")


def _calendar(days: np.ndarray) -> dict[str, np.ndarray]:
    """float64 [n] each, NaN where there is no date. Day 0 of the epoch was a Thursday."""
    whole = days.astype("datetime64[D]")
    seconds = (days - whole).astype(np.float64)
    number = whole.astype(np.int64).astype(np.float64)
    parts = {
        "day": number + seconds / 86_400,
        "yearday": (whole - days.astype("datetime64[Y]")).astype(np.float64),
        "weekday": (number + 3) % 7,
        "second": seconds,
    }
    return {part: np.where(np.isnat(days), np.nan, values) for part, values in parts.items()}


def _add_number(made: Inputs, numbers: list[np.ndarray], name: str, values: np.ndarray, train: np.ndarray) -> None:
    """Less the median, in units of the distance between the quartiles (where that is 0: half of the range), as RealMLP does
    (arXiv 2407.04491): an outlier moves neither.
    """
    known = values[train & np.isfinite(values)]
    is_missing = ~np.isfinite(values[train])
    if not len(known) or (known.min() == known.max() and not is_missing.any()):
        return
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    scale = (high - low) or np.ptp(known) / 2 or 1.0
    made.number_names.append(name)
    numbers.append(np.clip((values - middle) / scale, -1e30, 1e30).astype(np.float32))


def _add_codes(made: Inputs, codes: list[np.ndarray], name: str, text: pa.Array, train: np.ndarray) -> None:
    encoded = text.dictionary_encode()
    index = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    counts = np.bincount(index[train], minlength=len(encoded.dictionary) + 1)
    values = encoded.dictionary.to_pylist()
    known = sorted((at for at in range(len(values)) if counts[at] >= RARE), key=lambda at: (-counts[at], values[at]))[:MOST_CODES]
    place = np.full(len(values) + 1, UNSEEN, np.int32)
    place[known] = KNOWN + np.arange(len(known), dtype=np.int32)
    place[-1] = MISSING
    column = place[index]
    if len(np.unique(column[train])) < 2:
        return
    made.code_names.append(name)
    made.cards.append(KNOWN + len(known))
    codes.append(column)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more columns" if len(names) > 5 else "")
