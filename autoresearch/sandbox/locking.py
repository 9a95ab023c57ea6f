"""Locking in a process that is about to see held-out text, from outside, so that it can leave no note for a later one.

Whatever it could tell a later process by, it needs a descriptor or a path for. So, while it is stopped (a process that is looked at
does no work that nobody counts):
- the limit of open files of each of its processes is set to 0 (prlimit(2)): descriptors that it has stay, new ones are refused,
  in children too;
- what it has mapped or open is read once by us: its pages are all there, whatever it touches later;
- it looks up no name any more (lookups.py).
Its cell has refused before what needs neither. The process takes no part, so it can't pretend.

Not covered: systems other than Linux; how busy it keeps the machine; on GPUs, whose drivers poll, a descriptor that is closed may
be used again.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import psutil

from autoresearch.errors import RunFailed

STOP_SECONDS = 5.0
CALM = 2  # looks in a row at the same processes, all stopped
# Chosen, of an honest scoring's: one process and its helpers, a hundred descriptors, the libraries of a GPU's framework.
PROCESSES, DESCRIPTORS, WARM_BYTES = 64, 4096, 8 << 30
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
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{one}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()
            yield (one, float(words[19])), (int(words[11]) + int(words[12])) / _TICKS
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", "rb") as file:
                    waiting += map(int, file.read().split())


def _psutil_times(pid: int) -> Iterator[tuple[tuple[int, float], float]]:
    for one in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            yield (one.pid, one.create_time()), times.user + times.system


def guards(pid: int) -> frozenset[int]:
    """Of a worker that has entered its cell and started nothing: the processes around it that are ours."""
    return frozenset(one.pid for one in _tree(pid)[:-1])


def lock_in(pid: int, trusted: frozenset[int], shut: Callable[[], None]) -> None:
    """All processes under pid but the trusted; shut is called while they are stopped.

    RunFailed when there is more than an honest one has, or they can't be stopped.
    """
    stopped = _stop(pid, trusted)
    try:
        found = {one: _open_files(one) for one in stopped}
        if sum(map(len, found.values())) > DESCRIPTORS:
            raise RunFailed("limit", f"its scoring has more than {DESCRIPTORS} files open")
        for one in stopped:
            _close(one, found[one])
        _warm(stopped, found)
        shut()
    finally:
        for one in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def _stop(pid: int, trusted: frozenset[int]) -> list[int]:
    """Every process, parents first; a stopped one starts no other."""
    end, calm = time.monotonic() + STOP_SECONDS, 0
    before: list[int] = []
    while calm < CALM:
        now = [one for one in _tree(pid) if one.pid not in trusted and not _has_ended(one.pid)]
        if len(now) > PROCESSES:
            raise RunFailed("limit", f"its scoring has more than {PROCESSES} processes")
        for one in now:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGSTOP)
        is_calm = [one.pid for one in now] == before and all(map(_is_stopped, now))
        calm, before = calm + 1 if is_calm else 0, [one.pid for one in now]
        if time.monotonic() > end:
            raise RunFailed("invalid", "its scoring kept on starting processes")
        time.sleep(0.001)
    if not before:
        raise RunFailed("crash", "its scoring process ended")
    return before


def _has_ended(pid: int) -> bool:
    """All of its threads. RunFailed when the first one alone has: what the others have open can't be seen through it."""
    try:
        states = {name: _state(pid, name) for name in os.listdir(f"/proc/{pid}/task")}
    except OSError:
        return True
    others = [state for name, state in states.items() if name != str(pid)]
    if states.get(str(pid), "Z") not in "ZX":
        return False
    if any(state not in "ZX" for state in others):
        raise RunFailed("limit", "a process of its scoring has ended its first thread and no other")
    return True


def _is_stopped(process: psutil.Process) -> bool:
    """All of its threads."""
    try:
        names = os.listdir(f"/proc/{process.pid}/task")
        return all(_state(process.pid, name) in "Tt" for name in names)
    except OSError:
        return False


def _state(pid: int, thread: str) -> str:
    with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


def _open_files(pid: int) -> dict[str, str]:
    """What a process has open: {path of ours to it: its own name}."""
    folder = f"/proc/{pid}/fd"
    return {f"{folder}/{name}": os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def _close(pid: int, found: dict[str, str]) -> None:
    import resource

    has_device = any(name.startswith(DEVICES) for name in found.values())
    least = 1 + max((int(path.rpartition("/")[2]) for path in found), default=0) if has_device else 0
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, least))


def _warm(pids: list[int], found: dict[int, dict[str, str]]) -> None:
    """Read every file that they have mapped or open."""
    seen, left, block = set(), WARM_BYTES, bytearray(1 << 20)
    for path in {path for pid in pids for path in (*found[pid], *_mapped(pid))}:
        with contextlib.suppress(OSError):
            if not os.path.isfile(path):
                continue
            with open(path, "rb", buffering=0) as file:
                known = os.fstat(file.fileno())
                if (known.st_dev, known.st_ino) in seen:
                    continue
                seen.add((known.st_dev, known.st_ino))
                left -= known.st_size
                if left < 0:
                    raise RunFailed("limit", f"its scoring has files of more than {WARM_BYTES >> 30} GiB open or mapped")
                while file.readinto(block):
                    pass


def _mapped(pid: int) -> set[str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        names = {words[5].rstrip("\n") for line in maps if len(words := line.split(maxsplit=5)) == 6}
        return {name for name in names if name.startswith("/")}
    return set()


def _tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants, parents first."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []
