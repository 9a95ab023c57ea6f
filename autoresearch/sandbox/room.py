"""A worker's own folder: made new for each worker, removed after it, and the only place where it may write.

Beside it lies `<its name>-lent`, empty and only to read, where the training tokens are put once the worker has said READY.

The compile cache in it is made of links into the shared one, which a cell may only read. What a training compiles goes into the
shared one when it says READY, before it has seen a training token: so no later run finds anything there that was learned from text.
"""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from autoresearch.paths import cache_dir

COMPILED = "compile"
LOCK = ".lock"  # how compilers' lock files end: each worker has its own
CACHE_LIMIT_FILES = 20_000  # chosen: beyond it the shared cache begins anew; links to so many take about half a second


def make(work: Path) -> Path:
    """An empty folder, but for the compile cache; and the empty one beside it."""
    remove(work)
    work.mkdir(parents=True)
    lent(work).mkdir()
    shared = shared_cache()
    shared.mkdir(exist_ok=True)
    for folder, _, names in os.walk(shared):
        own = work / COMPILED / Path(folder).relative_to(shared)
        own.mkdir()
        for name in names:
            if not name.endswith(LOCK):
                _link(os.path.join(folder, name), os.path.join(own, name))
    return work


def remove(work: Path) -> None:
    """Whatever a dying process still holds open (Windows) is left for the next time."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(lent(work), ignore_errors=True)


def lent(work: Path) -> Path:
    return work.with_name(work.name + "-lent")


def harvest(work: Path) -> None:
    """Add what was compiled to the shared cache: plain files with new names, each put there whole. A full disk only costs time.

    The worker is still there and may swap a file for a link meanwhile: no link is followed, whatever was seen before.
    """
    own, shared = work / COMPILED, shared_cache()
    with contextlib.suppress(OSError):
        if sum(len(names) for _, _, names in os.walk(shared)) > CACHE_LIMIT_FILES:
            shutil.rmtree(shared, ignore_errors=True)
        for folder, names, place in _walk(own):
            there = shared / Path(folder).relative_to(own)
            for name in names:
                if not name.endswith(LOCK) and not (there / name).exists():
                    with contextlib.suppress(OSError), open(_opened(folder, name, place), "rb") as source:
                        _put(source, there / name)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], int | None]]:
    """(folder, its files' names, its descriptor where the system has such)."""
    if hasattr(os, "fwalk"):
        for path, _, names, place in os.fwalk(folder, follow_symlinks=False):
            yield path, names, place
    else:
        for path, _, names in os.walk(folder):
            yield path, names, None


def _opened(folder: str, name: str, place: int | None) -> int:
    """A plain file's descriptor; OSError for a link or anything else."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    found = os.open(os.path.join(folder, name), flags) if place is None else os.open(name, flags, dir_fd=place)
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise OSError(errno.EINVAL, "no plain file", name)


def _put(source: BinaryIO, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = shared_cache().parent / f"{COMPILED}-{uuid.uuid4().hex}.part"
    with open(part, "wb") as file:
        shutil.copyfileobj(source, file)
    os.replace(part, target)


def lend(train_folder: Path, work: Path) -> Path:
    """The training tokens where the cell may read them: the same file under a second name, or a copy on another disk."""
    target = lent(work) / "tokens.bin"
    try:
        os.link(train_folder / "tokens.bin", target)
    except OSError:
        shutil.copyfile(train_folder / "tokens.bin", target)
    return target


def take(work: Path, name: str, target: Path) -> bool:
    """Move a plain file out of the folder; False when there is none (or a link, which could point anywhere).

    Looked at when it is out of the worker's reach.
    """
    try:
        os.replace(work / name, target)
    except OSError:
        return False
    if stat.S_ISREG(os.lstat(target).st_mode):
        return True
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink()
    return False


def shared_cache() -> Path:
    return cache_dir() / COMPILED


def _link(source: str, target: str) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # Windows gives links to few users
        shutil.copyfile(source, target)
