"""One process at a time in a study (locks.py). The lock file's text is the holder's process id, for the message."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from autoresearch import durable, locks
from autoresearch.errors import UsageError

_YOUNGER_SECONDS = 60.0  # chosen: the system's clock may have been set meanwhile, and numbers come round later than that


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock in the file at path, for the time of the with block. UsageError when another process holds it.

    Its folder is made when it is missing, as it is in a `git clone` of a workspace.
    """
    durable.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)  # it is emptied: no link is
    try:
        if not _patiently(descriptor):
            raise UsageError(
                f"the study in {path.parent.parent} is at work in process {_text(path) or 'unknown'};"
                " wait for it or end it with Ctrl-C; `autoresearch status` shows where it stands"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)  # who goes on living without the lock is no `writer`
    finally:
        os.close(descriptor)


def check(path: Path) -> None:
    """UsageError when another process holds it: before the machine is looked at, which takes seconds and would disturb that one."""
    with hold(path):
        pass


def holder(path: Path) -> str | None:
    """The id of the process that holds the lock now, or None when nobody does."""
    if not path.exists():
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)  # also in a workspace that is read-only
    except PermissionError:
        return None
    try:
        return None if locks.try_lock(descriptor) else _text(path)
    finally:
        os.close(descriptor)


def writer(path: Path) -> int | None:
    """The process that holds the lock, as its text says: for who looks every second, and must not be in anybody's way.

    Unlike `holder` it never takes the lock for a moment. A process that is younger than the text has only got an old one's number.
    """
    import psutil

    try:
        written = path.stat().st_mtime
        process = psutil.Process(int(_text(path)))
        is_it = process.create_time() <= written + _YOUNGER_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, OverflowError, psutil.Error):
        return None
    return process.pid if is_it else None


def _patiently(descriptor: int) -> bool:
    """Try for a second: `holder` takes the lock for a moment, and a process that was just killed may not be gone yet."""
    for attempt in range(10):
        if locks.try_lock(descriptor):
            return True
        if attempt < 9:
            time.sleep(0.1)
    return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
