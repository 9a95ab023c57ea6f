"""A worker's own folder: made new for each worker, removed after it, and the only place where it may write.

Beside it lies `<its name>-lent`, empty and only to read, where the training tokens are put once the worker has said READY.

The compile cache in it is a copy of the shared one. What a training compiles goes back to the shared one when it says READY,
before it has seen a training token: so no later run finds anything there that was learned from text.
"""

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from autoresearch.paths import cache_dir

COMPILED = "compile"
CACHE_LIMIT_BYTES = 1 << 30  # chosen: beyond it the shared cache begins anew


def make(work: Path) -> Path:
    """An empty folder, but for the compile cache."""
    remove(work)
    work.mkdir(parents=True)
    lent(work).mkdir()
    shared = shared_cache()
    if shared.is_dir():
        shutil.copytree(shared, work / COMPILED, symlinks=True, copy_function=shutil.copyfile)
    else:
        (work / COMPILED).mkdir()
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
        if _size(shared) > CACHE_LIMIT_BYTES:
            shutil.rmtree(shared, ignore_errors=True)
        for folder, _, names in os.walk(own):  # does not follow links
            there = shared / Path(folder).relative_to(own)
            for name in names:
                source, target = Path(folder, name), there / name
                if source.is_symlink() or not source.is_file() or target.exists():
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


def _size(folder: Path) -> int:
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)
