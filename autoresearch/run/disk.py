"""A full disk pauses a study and loses nothing.

Before each run there must be room for what a run writes. A ballast file holds a little more: when a write fails although
there was room, giving it up lets the ledger's line through, and the study then waits until somebody made space.
"""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from autoresearch import durable
from autoresearch.errors import EnvironmentFailure

ROOM_BYTES = 1 << 29  # two checkpoints of the largest profile (50M parameters in float32) and some
BALLAST_BYTES = 1 << 22
POLL_SECONDS = 30.0
FULL = (errno.ENOSPC, errno.EDQUOT)
HELD = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ETXTBSY)
FULL_WINDOWS, HELD_WINDOWS = (39, 112), (5, 32, 33)  # winerror.h: the disk is full; access denied, sharing and lock violation


class Disk:
    """The disk that a study's folder lies on, and the ballast in it."""

    def __init__(self, state_folder: Path):
        self._folder = state_folder
        self._ballast = state_folder / "ballast"

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    @property
    def has_room(self) -> bool:
        return self.free_bytes >= ROOM_BYTES

    def lay_ballast(self) -> None:
        """Written, not only reserved: a sparse file would hold no space."""
        if not self._ballast.exists() and self.has_room:
            durable.write(self._ballast, b"\xa5" * BALLAST_BYTES)

    def drop_ballast(self) -> bool:
        """Whether there was one."""
        if not self._ballast.exists():
            return False
        durable.remove(self._ballast)
        return True


def warning(folder: Path) -> str | None:
    """Of a study's place: Windows's disks as WSL2 shows them (/mnt/c), and other hosts' likewise."""
    if sys.platform != "linux":
        return None
    import psutil

    mounts = [mount for mount in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(mount.mountpoint)]
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
    if kind not in ("9p", "drvfs"):
        return None
    return f"{folder} lies on the host's disk ({kind}): slow, and no lock holds against the host's programs; take one like ~/study"


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_full(error: Exception) -> bool:
    """libgit2's errors have no number, only the system's words; pygit2 makes OSErrors of some."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(words in str(error) for words in [*map(os.strerror, FULL), *_words_of_windows(FULL_WINDOWS)])


def is_held(error: Exception) -> bool:
    """Whether a file can't be written because somebody holds it, or forbids it: not the disk's fault."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in HELD  # Python gives an errno to Windows's refusals, too
    words = ["lock", *_words_of_windows(HELD_WINDOWS)]  # the first: libgit2's where another git holds a lock
    return not is_full(error) and any(word in str(error) for word in words)


def _words_of_windows(numbers: tuple[int, ...]) -> list[str]:
    """What the system says of its errors, in the user's language, and libgit2 after it."""
    if sys.platform != "win32":
        return []
    import ctypes

    return [ctypes.FormatError(number).rstrip() for number in numbers]


@contextlib.contextmanager
def errors(folder: Path) -> Iterator[None]:
    """What the disk and the system refuse is the machine's failure, not the experiment's."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise EnvironmentFailure(f"the disk is full at {folder}; free some space and run again") from error
        raise EnvironmentFailure(f"{error}; mend that and run again") from error
