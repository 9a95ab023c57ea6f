"""A worker's own folder: made new for each worker, removed after it, and the only place where it may write.

Beside it lies `<its name>-lent`, empty and only to read, where the training tokens are put once the worker has said READY.

The compile cache in it is made of links into the shared one, which a cell may only read. What a training compiles goes into the
shared one when it says READY, before it has seen a training token: so no later run finds anything there that was learned from text.
"""

import contextlib
import os
import shutil
import uuid
from pathlib import Path

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
    """Add what was compiled to the shared cache: plain files with new names, each put there whole. A full disk only costs time."""
    own, shared = work / COMPILED, shared_cache()
    with contextlib.suppress(OSError):
        if sum(len(names) for _, _, names in os.walk(shared)) > CACHE_LIMIT_FILES:
            shutil.rmtree(shared, ignore_errors=True)
        for folder, _, names in os.walk(own):  # does not follow links
            there = shared / Path(folder).relative_to(own)
            for name in names:
                source, target = Path(folder, name), there / name
                if source.is_symlink() or not source.is_file() or target.exists() or name.endswith(LOCK):
                    continue
                there.mkdir(parents=True, exist_ok=True)
                part = shared.parent / f"{COMPILED}-{uuid.uuid4().hex}.part"
                shutil.copyfile(source, part)
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
    """Move a plain file out of the folder; False when there is none (or a link, which could point anywhere)."""
    source = work / name
    if source.is_symlink() or not source.is_file():
        return False
    os.replace(source, target)
    return True


def shared_cache() -> Path:
    return cache_dir() / COMPILED


def _link(source: str, target: str) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # Windows gives links to few users
        shutil.copyfile(source, target)
