"""All durable writes: when a function here returns, its bytes survive a power loss; when it is cut short, the old state stays.

Every single operation passes through `step` first, so that a test can kill the process, fill the disk or break it at each of
them (tests/faults.py). What is written elsewhere, and needs not be here: the run folders (a run that was cut short is done again;
what a result needs of its folder is synced by session.py), a text that is being prepared (synced, then renamed by `replace`),
caches, and what libgit2 writes, which store.py announces with `step`.

Windows cannot sync a folder, and there a virus scanner, an indexer or a backup may hold a file for a moment: `patiently` tries
again.
"""

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

# Between tries; chosen: 2.5 s in all, of which a scanner takes milliseconds, and a table that is open in a spreadsheet all of it.
_WAITS_SECONDS = [0.01 * 2**attempt for attempt in range(8)]
_LEFTOVER = re.compile(r"\..+\.\d+-\d+\.tmp")  # what `write` makes first, and a kill leaves

# Called before each operation with its kind, its path and, before a write, an open descriptor and the bytes. None: nothing is.
on_step: Callable[..., None] | None = None
Result = TypeVar("Result")


def step(kind: str, path: Path | str, *detail: object) -> None:
    """A durable operation comes next: open, write, sync, sync_folder, rename, unlink, mkdir, truncate, or git."""
    if on_step is not None:
        on_step(kind, path, *detail)


def patiently(act: Callable[[], Result]) -> Result:
    """On Windows again while the system refuses (access denied, a sharing or a lock violation: a PermissionError each)."""
    for seconds in _WAITS_SECONDS if os.name == "nt" else ():
        try:
            return act()
        except PermissionError:
            time.sleep(seconds)
    return act()


def sync_file(descriptor: int) -> None:
    """fsync; on macOS F_FULLFSYNC, because fsync there leaves the bytes in the drive's own cache (man 2 fsync)."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """A file that somebody else has written."""
    step("sync", path)
    mode = "rb+" if os.name == "nt" else "rb"  # it may be read-only; Windows syncs only what is open for writing
    with patiently(lambda: open(path, mode)) as file:
        sync_file(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in it: what was made, renamed or removed there."""
    step("sync_folder", folder)
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """With its parents, as far as they are missing; the name of each is synced."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    step("mkdir", folder)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def replace(source: Path, target: Path) -> None:
    """Rename over target, atomically, and make the rename itself durable."""
    step("rename", target)
    patiently(lambda: os.replace(source, target))
    sync_folder(target.parent)


def write(path: Path, content: bytes | str) -> None:
    """Write a whole file: all of it or none."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        step("open", temporary)
        with open(temporary, "wb", buffering=0) as file:
            _put(file, temporary, data)
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append(path: Path, line: bytes) -> None:
    """Append one line (which ends in a newline) to a file that is there; only the last line of it can be torn."""
    step("open", path)
    with patiently(lambda: open(path, "ab", buffering=0)) as file:
        _put(file, path, line)


def cut(path: Path, size: int) -> None:
    """Shorten a file to size bytes."""
    step("truncate", path)
    with patiently(lambda: open(path, "rb+")) as file:
        file.truncate(size)
        step("sync", path)
        sync_file(file.fileno())


def remove(path: Path) -> None:
    """A file that may be gone already. Not synced: after a power loss it may be there again."""
    step("unlink", path)
    patiently(lambda: path.unlink(missing_ok=True))


def remove_tree(folder: Path) -> None:
    """As `remove`, for a folder with all that is in it."""
    step("unlink", folder)
    if os.name != "nt":
        shutil.rmtree(folder)
        return
    for path in folder.rglob("*"):  # git's objects are read-only, and there that keeps them from being removed
        path.chmod(0o700)
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=_again)
    else:
        shutil.rmtree(folder, onerror=_again)


def _again(act: Callable[[str], object], path: str, _: object) -> None:
    """Each name has its own wait: a scanner may hold every file of the tree for a moment."""
    patiently(lambda: act(path))


def remove_leftovers(folder: Path) -> None:
    """Half-written files of processes that were killed in `write`. Only while nobody writes there."""
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            remove(path)


def _put(file: FileIO, path: Path, data: bytes) -> None:
    """All the bytes, and a sync."""
    step("write", path, file.fileno(), data)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    step("sync", path)
    sync_file(file.fileno())
