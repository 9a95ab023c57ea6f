"""What the search knows of earlier texts: the constants' values, and whether a text was tried. Rebuilt from the history alone."""

import re
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from autoresearch import bundle, constants
from autoresearch.agents.base import Past
from autoresearch.constants import Value
from autoresearch.errors import UsageError

_FIRST_BLOCK = re.compile(r"^(?:def|class|async|if|for|while|with|try|@)", re.MULTILINE)

Key = tuple[str, tuple[tuple[str, Value], ...]]  # of a text: its code, and its values by name


@dataclass(frozen=True)
class Text:
    """A train.py as the search sees it: the values of its constants, and all the rest as one string."""

    values: dict[str, Value]
    code: str

    def key(self, changes: Mapping[str, Value] | None = None) -> Key:
        """The same for two texts that differ in how they write the same values only (65536 and 2**16)."""
        return self.code, tuple(sorted({**self.values, **(changes or {})}.items()))


class Texts:
    def __init__(self) -> None:
        self.first_values: dict[str, Value] = {}  # of each constant, where it first appeared
        self._keys: set[Key] = set()
        self._tried: list[dict[str, Value]] = []
        self._learnt: set[tuple[int, str]] = set()
        self._under_way: dict[Key, dict[str, Value]] = {}

    def learn(self, history: tuple[Past, ...], under_way: tuple[Past, ...] = ()) -> None:
        """Take in what is new in the history; and what is under way now, which may yet be dropped without a trace."""
        self._under_way = {text.key(): text.values for past in under_way if (text := parsed(past.train_py))}
        for past in history:
            if (past.number, past.train_py) in self._learnt:  # a text that was sent back has its successor's number
                continue
            self._learnt.add((past.number, past.train_py))
            text = parsed(past.train_py)
            if text is not None:
                self._keys.add(text.key())
                self._tried.append(text.values)
                self.first_values = text.values | self.first_values

    def knows(self, text: Text, changes: Mapping[str, Value]) -> bool:
        """Whether text with these changes is an experiment, of the past or under way."""
        key = text.key(changes)
        return key in self._keys or key in self._under_way

    def holds(self, changes: Mapping[str, Value]) -> bool:
        """Whether some experiment had all these values at once, whatever else it changed."""
        return any(changes.items() <= values.items() for values in (*self._tried, *self._under_way.values()))


@dataclass(frozen=True)
class _Known:
    """A text that was parsed, line by line."""

    lines: list[str]
    own: dict[int, str]  # index of a constant's line: its name
    text: Text

    def edited(self, source: str) -> Text | None:
        """source as the search sees it, where nothing but lines of constants differ; each is a whole statement of its own."""
        lines = source.split("\n")
        if len(lines) != len(self.lines):
            return None
        changed: dict[str, Value] = {}
        for index, (line, known) in enumerate(zip(lines, self.lines, strict=True)):
            if line != known:
                try:
                    read = constants.read(line) if index in self.own else {}
                except UsageError:
                    return None
                if read.keys() != {self.own.get(index)}:
                    return None
                changed |= {name: constant.value for name, constant in read.items()}
        return Text(self.text.values | changed, self.text.code)


_known: deque[_Known] = deque(maxlen=8)  # the last texts that were parsed whole


@lru_cache(maxsize=8192)
def parsed(source: str) -> Text | None:
    """A train.py as the search sees it; None for a text that does not parse.

    Only what stands before the first function or block is parsed, where constants are: ten times faster than all of it. Of a text
    that differs from another one in constants alone, only those lines are.
    """
    is_bundle = bundle.is_bundle(source)  # whose files may have constants of one name
    if not is_bundle and (edit := next(filter(None, (known.edited(source) for known in tuple(_known))), None)):
        return edit
    block = None if is_bundle else _FIRST_BLOCK.search(source)
    head = source[: block.start()] if block else source
    try:
        by_name = constants.read(head)
    except UsageError:
        try:  # the head may end inside a string or a bracket
            head, by_name = source, constants.read(source)
        except UsageError:
            return None
    own = {constant.line: name for name, constant in by_name.items()}
    rest = [line for number, line in enumerate(head.split("\n"), 1) if number not in own]
    code = sys.intern("\n".join(rest) + source[len(head) :])  # thousands of texts share one code
    text = Text({name: constant.value for name, constant in by_name.items()}, code)
    if not is_bundle:
        _known.append(_Known(source.split("\n"), {line - 1: name for line, name in own.items()}, text))
    return text
