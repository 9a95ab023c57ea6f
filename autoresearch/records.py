"""Records that cross a border (the ledger, study.toml, a profile, a device's facts): frozen classes, read and written by msgspec.

One error style, with the key that is wrong: `[data] seq_len must be a whole number from 16 to 65536, not '512'`. What a field may
be stands in its type; where msgspec's own words would not say it, in its Meta(description=...).
"""

import dataclasses
import functools
import re
import typing
from typing import Any, TypeVar

import msgspec

from autoresearch.errors import nearest

Record = TypeVar("Record")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_KINDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "a table", "array": "a list",
}  # fmt: skip


def read(kind: type[Record], table: object) -> Record:
    """The table as a record, for what others may have written: no value stands in an error, and keys without a field are let be.

    Raises ValueError in one line.
    """
    try:
        return msgspec.convert(table, kind)
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError
        raise ValueError(_words(str(error))) from None


def read_own(kind: type[Record], table: object, where: str = "", what: str = "the table") -> Record:
    """A dataclass from a table that a person or a program of ours has written: an unknown key is refused, and values are shown.

    where: begins each error, as in "[data] "; what: the table's name in words. Raises ValueError in one line.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{what} must be a table, not {table!r:.80}")
    plain: type = kind  # which mypy knows to be hashable, as the cache wants it; type[Record] it does not
    fields = _fields(plain)
    for key in table:
        if key not in fields:
            raise ValueError(f"{where}unknown key {key!r}{nearest(str(key), fields)} (allowed: {', '.join(fields)})")
    values = {}
    for key, (hint, is_needed) in fields.items():
        if key in table:
            values[key] = value(hint, table[key], f"{where}{key}")
        elif is_needed:
            raise ValueError(f"{where}the key {key!r} is missing; it must be {described(hint)}")
    return kind(**values)


def value(hint: Any, given: object, name: str) -> Any:
    """As `read_own`, of one value."""
    try:
        return msgspec.convert(given, hint)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} must be {described(hint)}, not {given!r:.80}") from None


def hints(kind: type) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    return {name: hint for name, (hint, _) in _fields(kind).items()}


def write(record: object) -> Any:
    """The record as JSON holds it: tables, lists, numbers and text."""
    return msgspec.to_builtins(record)


def described(hint: Any) -> str:
    """What a value of this type is, in words."""
    for part in (hint, *typing.get_args(hint)):
        for meta in typing.get_args(part)[1:] if typing.get_origin(part) is typing.Annotated else ():
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    try:
        msgspec.convert(_Nothing, hint)
    except msgspec.ValidationError as error:
        return _words(str(error)).removeprefix("it must be ")
    return "anything"


class _Nothing:
    """A value of no type."""


@functools.cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Of a dataclass: each field's type, and whether it has no default. Fields whose names begin with _ are not of the table."""
    types = typing.get_type_hints(kind, include_extras=True)
    missing = dataclasses.MISSING
    return {
        field.name: (types[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
        if not field.name.startswith("_")
    }


def _words(message: str) -> str:
    """A message of msgspec's in our words: `n must be a whole number`, `n is missing`."""
    match = _AT.match(message)
    what, path = (match["what"], (match["path"] or "").removeprefix(".")) if match else (message, "")
    if missing := _MISSING.match(what):
        return f"{path + '.' if path else ''}{missing['key']} is missing"
    if what.startswith(("Invalid enum value", "Invalid value")):
        return f"{path or 'it'} is none of the words that it may be"
    if "matching regex" in what:
        return f"{path or 'it'} is no such name"
    wanted = what.removeprefix("Expected ").partition(", got")[0]
    kinds = re.sub(r"`([^`]*)`", lambda kinds: _kinds(kinds[1]), wanted)
    return f"{path or 'it'} must be {kinds}"


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(name.strip(), name.strip()) for name in names.split("|"))
