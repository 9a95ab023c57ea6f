"""Faults on purpose, for the tests of crash safety: what goes wrong at the k-th durable operation (durable.step).

    AUTORESEARCH_FAULT   kill:K        the process is gone before operation K, counted from 1, as by kill -9
                         half:K        the same, with half of its bytes written when it is a write
                         ENOSPC:K      the disk is full, at K and for the REPEATS operations from there (default 1)
                         EIO:K         the disk fails, in the same way; of a write, half of the bytes are there
                         trace:FILE    nothing; every operation is a line in FILE
    further words        of=KIND       counts only operations of that kind
                         repeats=N
A child process is given the variable and calls `from_environment`; a test calls `armed`.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from autoresearch import durable

Hook = TypeVar("Hook", bound=Callable[..., None])


def from_environment() -> None:
    """Arm what the variable says, for the rest of this process."""
    durable.on_step = named(os.environ["AUTORESEARCH_FAULT"])


def named(text: str) -> Callable[..., None]:
    """The hook that a text as above describes."""
    first, *more = text.split()
    what, _, where = first.partition(":")
    options = dict(word.split("=", 1) for word in more)
    if what == "trace":
        return tracing(where)
    return Fault(what, int(where), options.get("of"), int(options.get("repeats", 1)))


def tracing(file: str) -> Callable[..., None]:
    def hook(kind: str, path: Path | str, *_: object) -> None:
        with open(file, "a", encoding="utf-8") as out:
            out.write(f"{kind}\t{path}\n")

    return hook


class Fault:
    """Counts operations, and does its harm when it is time. `hits` is how often it did."""

    def __init__(self, what: str, k: int, of: str | None = None, repeats: int = 1):
        assert what in ("kill", "half") or hasattr(errno, what), f"no fault {what!r}"
        self._what, self._first, self._of, self._repeats = what, k, of, repeats
        self.count = self.hits = 0

    def __call__(self, kind: str, path: Path | str, *detail: Any) -> None:
        if self._of not in (None, kind):
            return
        self.count += 1
        is_due = self._first <= self.count < self._first + self._repeats
        if not is_due or (self._what == "ENOSPC" and kind == "unlink"):  # which gives space
            return
        self.hits += 1
        if detail and self._what != "kill":  # a write
            descriptor, data = detail
            os.write(descriptor, data[: len(data) // 2])
        if self._what in ("kill", "half"):
            os._exit(137)
        number = getattr(errno, self._what)
        raise OSError(number, os.strerror(number), str(path))


@contextlib.contextmanager
def armed(hook: Hook) -> Iterator[Hook]:
    """While inside, every durable operation of this process passes through hook."""
    before, durable.on_step = durable.on_step, hook
    try:
        yield hook
    finally:
        durable.on_step = before
