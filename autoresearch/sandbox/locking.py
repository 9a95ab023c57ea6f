"""Locking in a process that is about to see held-out text, from outside, so that it can leave no note for a later one.

Whatever it could tell a later process by, it needs a descriptor or a path for. So, while it is stopped (a process that is looked at
does no work that nobody counts):
- the limit of open files of each of its processes is set to 0 (prlimit(2)): descriptors that it has stay, new ones are refused,
  in children too;
- what it has mapped or open is read once by us: its pages are all there, whatever it touches later;
- it looks up no name any more, reads no folder, locks no file, starts no process and no thread (lookups.py).
Its cell has refused before what needs none of these. The process takes no part, so it can't pretend.

Not covered: systems other than Linux; how busy it keeps the machine; on GPUs, whose drivers poll, a descriptor that is closed may
be used again.
"""

import contextlib
import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil

from autoresearch.errors import RunFailed

if TYPE_CHECKING:
    from autoresearch.sandbox.lookups import Lookups

STOP_SECONDS = 5.0
CALM = 2  # looks in a row at the same processes, all stopped
# Chosen, of an honest scoring's: one process and its helpers, a hundred descriptors, the libraries of a GPU's framework.
PROCESSES, DESCRIPTORS, WARM_BYTES = 64, 4096, 8 << 30
# Chosen, and of one without a device: libraries' pools have a few a core. A thousand that wake at once move the load average.
THREADS = 256 + 8 * (os.cpu_count() or 1)
MOST_HELD = 1024  # processes of a training: compilers' pools have one a core
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/dxg")


class Usage:
    """Processor time of a process and of all that it has started, also of what has ended since it was last looked at."""

    def __init__(self, pid: int):
        self._pid = pid
        self._seen: dict[tuple[int, float], float] = {}

    def seconds(self) -> float:
        for key, seconds in (_times if _HAS_CHILDREN else _psutil_times)(self._pid):
            self._seen[key] = max(self._seen.get(key, 0.0), seconds)
        return sum(self._seen.values())


_HAS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # Linux, as most are built


def _times(pid: int) -> Iterator[tuple[tuple[int, float], float]]:
    """((pid, start), processor time in seconds) of a process and its descendants, proc(5). Asked twice a second and at every batch,
    so without a look at all processes of the machine. One that is just ending may be left out, and counts by what it had before.
    """
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{current}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()
            yield (current, float(words[19])), (int(words[11]) + int(words[12])) / _TICKS
            for thread in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{thread}/children", "rb") as file:
                    waiting += map(int, file.read().split())


def _psutil_times(pid: int) -> Iterator[tuple[tuple[int, float], float]]:
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            yield (process.pid, process.create_time()), times.user + times.system


def peak_memory_bytes(pid: int, trusted: frozenset[int]) -> int | None:
    """Resident memory at most of each process under pid but the trusted, added up; where the system keeps no such peak (macOS) what
    there is now. Memory that they share counts in each, that of a device in none.
    """
    found = []
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error, OSError, ValueError, StopIteration):
            if process.pid not in trusted:
                found.append(_peak(process))
    return sum(found) if found else None


def _peak(process: psutil.Process) -> int:
    if sys.platform == "linux":
        with open(f"/proc/{process.pid}/status", encoding="utf-8", errors="replace") as lines:  # proc(5)
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    memory = process.memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def guards(pid: int) -> frozenset[int]:
    """Of a worker that has entered its cell and started nothing: the processes around it that are ours."""
    return frozenset(process.pid for process in _tree(pid)[:-1])


def lock_in(pid: int, trusted: frozenset[int], lookups: "Lookups", own: str) -> None:
    """All processes under pid but the trusted; lookups are shut while they are stopped. own: the folder that they may write in.

    RunFailed when there is more than an honest one has, or they can't be stopped.
    """
    with held(pid, trusted, lookups, PROCESSES, is_scoring=True) as stopped:
        if not stopped:
            raise RunFailed("crash", "its scoring process ended")
        try:
            if sum(map(_threads, stopped)) > THREADS:
                raise RunFailed("limit", f"its scoring has more than {THREADS} threads")
            open_files = {stopped_pid: _open_files(stopped_pid) for stopped_pid in stopped}
            if sum(map(len, open_files.values())) > DESCRIPTORS:
                raise RunFailed("limit", f"its scoring has more than {DESCRIPTORS} files open")
            for stopped_pid in stopped:
                _close(stopped_pid, open_files[stopped_pid])
            _warm(stopped, open_files, own)
        except OSError as error:  # it ended, or became another, while it was looked at
            raise RunFailed("invalid", f"its scoring can't be looked at while it is held: {error}") from error
        lookups.shut()


@contextlib.contextmanager
def held(
    pid: int, trusted: frozenset[int], lookups: "Lookups", most: int = MOST_HELD, is_scoring: bool = False
) -> Iterator[list[int]]:
    """Every process under pid but the trusted stands still meanwhile, and starts no other, or the run fails.

    most: as many as there may be. is_scoring: none may be half ended, whose files can't be seen; a training may be at its end, and
    leave nothing to hold.
    """
    with lookups.held():
        stopped = _stop(pid, trusted, most, is_scoring)
        try:
            yield stopped
            left = [process for process in _tree(pid) if process.pid not in trusted and not _has_ended(process.pid, is_scoring)]
            if {process.pid for process in left} - set(stopped) or not all(map(_is_stopped, left)):
                raise RunFailed("invalid", "processes of its own went on while they were held")
        finally:
            for stopped_pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stopped_pid, signal.SIGCONT)


def _stop(pid: int, trusted: frozenset[int], most: int, is_scoring: bool) -> list[int]:
    """Every process, parents first; a stopped one starts no other."""
    end, calm = time.monotonic() + STOP_SECONDS, 0
    before: list[int] = []
    while calm < CALM:
        now = [process for process in _tree(pid) if process.pid not in trusted and not _has_ended(process.pid, is_scoring)]
        if len(now) > most:
            raise RunFailed("limit", f"it has more than {most} processes")
        for process in now:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
        is_calm = [process.pid for process in now] == before and all(map(_is_stopped, now))
        calm, before = calm + 1 if is_calm else 0, [process.pid for process in now]
        if time.monotonic() > end:
            raise RunFailed("invalid", "it kept on starting processes")
        time.sleep(0.001)
    return before


def _has_ended(pid: int, is_scoring: bool) -> bool:
    """All of its threads. RunFailed in a scoring when the first one alone has: what others have open can't be seen through it."""
    try:
        states = {name: _state(pid, name) for name in os.listdir(f"/proc/{pid}/task")}
    except OSError:
        return True
    others = [state for name, state in states.items() if name != str(pid)]
    if states.get(str(pid), "Z") not in "ZX":
        return False
    if any(state not in "ZX" for state in others):
        if not is_scoring:
            return False
        raise RunFailed("limit", "a process of its scoring has ended its first thread and no other")
    return True


def _is_stopped(process: psutil.Process) -> bool:
    """All of its threads that have not ended."""
    try:
        names = os.listdir(f"/proc/{process.pid}/task")
        return all(_state(process.pid, name) in "TtZX" for name in names)
    except OSError:
        return False


def _state(pid: int, thread: str) -> str:
    with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


def _open_files(pid: int) -> dict[str, str]:
    """What a process has open: {path of ours to it: its own name}."""
    folder = f"/proc/{pid}/fd"
    return {f"{folder}/{name}": os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def _close(pid: int, open_files: dict[str, str]) -> None:
    import resource

    has_device = any(name.startswith(DEVICES) for name in open_files.values())
    least = 1 + max((int(path.rpartition("/")[2]) for path in open_files), default=0) if has_device else 0
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, least))


def _warm(pids: list[int], open_files: dict[int, dict[str, str]], own: str) -> None:
    """Read every file that they have mapped or open, as long as it says it is: those of the kernel (0 bytes, and no end) are none.

    What lies in `own` is the worker's, goes with it, and its names are the worker's choice: nothing is opened by them.
    """
    seen, left = set(), WARM_BYTES
    opened = ((path, None, os.O_RDONLY | os.O_NONBLOCK) for pid in pids for path in open_files[pid])
    mapped = ((path, inode, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW) for pid in pids for path, inode in _mapped(pid, own))
    for path, inode, flags in {*opened, *mapped}:
        with _opened(path, flags) as file:
            known = os.fstat(file) if file is not None else None
            if known is None or not stat.S_ISREG(known.st_mode) or (known.st_dev, known.st_ino) in seen:
                continue
            if inode is not None and inode != known.st_ino:
                continue
            seen.add((known.st_dev, known.st_ino))
            left -= known.st_size
            if left < 0:
                raise RunFailed("limit", f"its scoring has files of more than {WARM_BYTES >> 30} GiB open or mapped")
            rest = known.st_size
            with contextlib.suppress(OSError):
                while rest > 0 and file is not None and (block := os.read(file, min(rest, 1 << 20))):
                    rest -= len(block)


@contextlib.contextmanager
def _opened(path: str, flags: int) -> Iterator[int | None]:
    """Its descriptor, closed in the end whatever it is of; None where it can't be opened."""
    try:
        file = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):  # ours: what is not read now would be a note
            raise
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def _mapped(pid: int, own: str) -> set[tuple[str, int]]:
    """(path, inode) of the files that a process has mapped, but for those in its own folder."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        mapped = {(words[5].rstrip("\n"), int(words[4])) for line in maps if len(words := line.split(maxsplit=5)) == 6}
        return {(name, inode) for name, inode in mapped if name.startswith("/") and not f"{name}/".startswith(f"{own}/")}
    return set()


def _tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants, parents first."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []
