"""A profile's file: what it may hold, checked key by key, and the frozen `Profile` that comes of it.

    title = "RTX with 12 GB"
    backends = ["cuda"]
    [match]     memory_gb = [10, 14]   capability = [[8, 0]]   name = ["3060"]   matmul_tflops = [0.5]
    [data]      corpus, vocab_size, seq_len, eval_bytes
    [budget]    train_seconds, startup_limit_seconds
    [train]     values of train.py's UPPER_CASE constants
    [runtime]   dtype, compile, attention, threads: in place of the runtime's own choice (autoresearch/choices.py)

Every range is [from, below), or [from] alone for that and up. Anything else, and any value out of bounds, is refused in
one line that names the file, the key and what is allowed.
"""

import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.choices import DTYPES
from autoresearch.errors import UsageError, nearest


@dataclass(frozen=True)
class Match:
    """The conditions under which a profile fits; all that are given must hold, none given fits everything."""

    memory_gb: tuple[float, ...] | None = None  # GiB, (from, below) or (from,)
    capability: tuple[tuple[int, int], ...] | None = None
    name: tuple[str, ...] = ()  # parts of the device's name, upper and lower case alike; one must be there
    matmul_tflops: tuple[float, ...] | None = None

    def to_dict(self) -> dict:
        return {key: value for key in _MATCH if (value := _as_list(getattr(self, key)))}


@dataclass(frozen=True)
class Profile:
    """Sizes for one class of machine. `data`, `budget`, `train` and `runtime` hold the file's tables, complete and checked."""

    name: str
    title: str
    backends: tuple[str, ...]
    match: Match
    data: dict[str, str | int]
    budget: dict[str, int | float]
    train: dict[str, bool | int | float | str | list]
    source: str  # the file it was read from
    runtime: dict[str, bool | int | str] = field(default_factory=dict)  # what is absent stays the runtime's own choice

    def to_dict(self) -> dict:
        """Tables for study.toml; `from_dict` takes them back."""
        return {
            "name": self.name,
            "title": self.title,
            "backends": list(self.backends),
            "match": self.match.to_dict(),
            "data": dict(self.data),
            "budget": dict(self.budget),
            "train": dict(self.train),
            "runtime": dict(self.runtime),
        }

    @classmethod
    def from_dict(cls, table: dict, source: str = "study.toml") -> "Profile":
        table = dict(table)
        return parse(table, str(table.pop("name", "")), source)


def read(path: Path) -> Profile:
    """The profile in a file, named after it. Raises UsageError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no profile file {path}; `autoresearch profiles` lists the shipped ones") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not readable as TOML: {error}") from error
    return parse(table, path.stem, str(path))


def parse(table: dict, name: str, source: str) -> Profile:
    """Check a whole profile; source is what errors call it. [match], [train] and [runtime] may be absent. Raises UsageError."""
    table = {"match": {}, "train": {}, "runtime": {}, **table}
    _check_table(table, _TOP, source, "")
    for section, rules, needed in _SECTIONS:
        _check_table(table[section], rules, source, section, needed)
    for key, value in table["train"].items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
            raise UsageError(f"{source}: [train] {key}: the name of a constant of train.py is in UPPER_CASE")
        if not _is_literal(value):
            allowed = "a number, text, true, false or a list of numbers"
            raise UsageError(f"{source}: [train] {key} must be {allowed}, not {value!r}")
    given = table["match"]
    match = Match(
        memory_gb=tuple(given["memory_gb"]) if "memory_gb" in given else None,
        capability=tuple(tuple(end) for end in given["capability"]) if "capability" in given else None,
        name=tuple(given.get("name", ())),
        matmul_tflops=tuple(given["matmul_tflops"]) if "matmul_tflops" in given else None,
    )
    backends = tuple(table["backends"])
    tables = (table["data"], table["budget"], table["train"])
    return Profile(name, table["title"], backends, match, *tables, source, table["runtime"])


# A rule: (what is allowed, as text; whether a value is).
Rule = tuple[str, Callable[[object], bool]]


def _check_table(table: object, rules: dict[str, Rule] | None, source: str, section: str, needed: bool = True) -> None:
    where = f"[{section}] " if section else ""
    if not isinstance(table, dict):
        raise UsageError(f"{source}: {section} must be a table: write [{section}] on a line of its own")
    for key, value in table.items() if rules is not None else ():
        if key not in rules:
            raise UsageError(f"{source}: {where}unknown key {key!r}{nearest(key, rules)} (allowed: {', '.join(rules)})")
        allowed, holds = rules[key]
        if not holds(value):
            raise UsageError(f"{source}: {where}{key} must be {allowed}, not {value!r}")
    missing = [key for key in rules or () if needed and key not in table]
    if missing:
        raise UsageError(f"{source}: {where}the key {missing[0]!r} is missing; it must be {rules[missing[0]][0]}")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: object) -> bool:
    return type(value) is list and bool(value) and all(_is_text(part) for part in value)


def _is_quantity(value: object) -> bool:
    return _is_number(value) and value >= 0


def _is_version(value: object) -> bool:
    return type(value) is list and len(value) == 2 and all(type(part) is int and part >= 0 for part in value)


def _is_range(value: object, is_end: Callable[[object], bool]) -> bool:
    if type(value) is not list or len(value) not in (1, 2) or not all(map(is_end, value)):
        return False
    return value[0] < value[-1] or len(value) == 1


def _is_literal(value: object) -> bool:
    """What autoresearch.constants can write into a train.py."""
    if type(value) is list:
        return bool(value) and all(map(_is_number, value))
    return type(value) in (bool, str) or _is_number(value)


def _whole(low: int, high: int) -> Rule:
    return f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high


def _seconds(high: int) -> Rule:
    return f"a number of seconds above 0, up to {high}", lambda value: _is_number(value) and 0 < value <= high


def _as_list(value: object) -> object:
    return [_as_list(part) for part in value] if isinstance(value, tuple) else value


_TOP: dict[str, Rule] = {
    "title": ("text", _is_text),
    "backends": ('a list of backend names, as in ["cuda"]', _is_texts),
    "match": ("a table", lambda value: True),
    "data": ("a table", lambda value: True),
    "budget": ("a table", lambda value: True),
    "train": ("a table", lambda value: True),
    "runtime": ("a table", lambda value: True),
}
_MATCH: dict[str, Rule] = {
    "memory_gb": ("a range in GB, as in [10, 14], or [60] for 60 and up", lambda value: _is_range(value, _is_quantity)),
    "capability": (
        "a range of versions, as in [[7, 0], [8, 0]], or [[8, 0]] for 8.0 and up",
        lambda value: _is_range(value, _is_version),
    ),
    "name": ('a list of parts of device names, as in ["H100"]', _is_texts),
    "matmul_tflops": (
        "a range in TFLOPS, as in [0.1, 0.5], or [0.5] for 0.5 and up",
        lambda value: _is_range(value, _is_quantity),
    ),
}
_DATA: dict[str, Rule] = {
    "corpus": ("the name or the path of a corpus", _is_text),
    # 256 bytes and the special token come first; a token id is two or four bytes, and an embedding row a token.
    "vocab_size": _whole(320, 131_072),
    "seq_len": _whole(16, 65_536),
    # Under 10 kB the score is mostly chance; the upper end is far more than any published run scores (20 MB).
    "eval_bytes": _whole(10_000, 1_000_000_000),
}
_BUDGET: dict[str, Rule] = {"train_seconds": _seconds(7 * 86_400), "startup_limit_seconds": _seconds(86_400)}
_RUNTIME: dict[str, Rule] = {
    "dtype": (f"one of {', '.join(DTYPES)}", lambda value: value in DTYPES),
    "compile": ("true or false", lambda value: type(value) is bool),
    "attention": ("one of the kinds that the backend has, as `autoresearch doctor` names them", _is_text),
    "threads": _whole(1, 1024),
}
# (table, its rules or None for free names, whether every key must be there)
_SECTIONS = (
    ("match", _MATCH, False), ("data", _DATA, True), ("budget", _BUDGET, True), ("train", None, False),
    ("runtime", _RUNTIME, False),
)  # fmt: skip
