"""Locking in a process that is about to see held-out text, from outside: it can open nothing any more, so it can leave no note.

Whatever it could tell a later process by, it needs a descriptor for: a file to write, a hint or a flag on one that both can read,
pages brought into the page cache or thrown out, a pipe whose number is counted. So the limit of open files of each of its processes
is set to 0 (prlimit(2), Linux): descriptors that it has stay, new ones are refused, in children too. Its cell has refused before
what needs no descriptor. And what it has mapped or open is read once by us: its pages are all there, whatever it touches later.

The process does not take part, so it can't pretend. Not covered: systems other than Linux; how busy it keeps the machine; on GPUs,
whose drivers poll, a descriptor that is closed may be used again.
"""

import contextlib
import os
import sys
import time

import psutil

CLOSE_SECONDS = 5.0
WARM_BYTES = 2 << 30  # of mapped files that are read, at most
CALM = 2  # looks in a row at the same processes, all locked in


def used_seconds(pid: int) -> float:
    """Processor time of a process and all that it has started, those that ended too where their parent has waited for them."""
    total = 0.0
    for one in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def guards(pid: int) -> frozenset[int]:
    """Of a worker that has entered its cell and started nothing: the processes around it that are ours."""
    tree = [one.pid for one in _tree(pid)]
    return frozenset(tree[:-1])


def close_doors(pid: int, trusted: frozenset[int]) -> bool:
    """Let no process under pid open a file any more; False when new ones keep coming. Nothing is done but on Linux."""
    if sys.platform != "linux":
        return True
    import resource

    end, calm, before = time.monotonic() + CLOSE_SECONDS, 0, None
    while calm < CALM:
        if time.monotonic() > end:
            return False
        now = [one.pid for one in _tree(pid) if one.pid not in trusted]
        is_closed = all([_close(one, resource) for one in now])
        calm = calm + 1 if is_closed and now == before else 0
        before = now
    _warm(before or [])
    return True


def _close(pid: int, resource) -> bool:
    """Whether it was closed already."""
    try:
        least = 0 if not _has_devices(pid) else 1 + max(map(int, os.listdir(f"/proc/{pid}/fd")), default=0)
        was = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if max(was) <= least:
            return True
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, least))
        return False
    except (OSError, ValueError):  # it ended
        return False


def _has_devices(pid: int) -> bool:
    """Whether it has a GPU's device open: its driver calls poll(2) on several descriptors, which a limit of 0 would refuse."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/dxg")):
                return True
    return False


def _warm(pids: list[int]) -> None:
    """Read every file that they have mapped or open."""
    seen, left, block = set(), WARM_BYTES, bytearray(1 << 20)
    for path in (path for pid in pids for path in _files(pid)):
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) in seen or found.st_size > left:
                continue
            seen.add((found.st_dev, found.st_ino))
            left -= found.st_size
            while file.readinto(block):
                pass


def _files(pid: int) -> set[str]:
    """Plain files that a process has mapped or open, as paths through which we can open them."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            if os.path.isfile(path):
                found.add(path)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        names = {words[5].rstrip("\n") for line in maps if len(words := line.split(maxsplit=5)) == 6}
        found |= {name for name in names if name.startswith("/") and os.path.isfile(name)}
    return found


def _tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants, parents first."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []
