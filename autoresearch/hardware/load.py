"""What else uses the processors: two samples a short time apart, and their difference.

The system's busy time minus that of this process and all that it started, so that processes count too which may not be looked
into (macOS hides those of other users, a container those outside). Each process is read only to name the largest.
"""

import os
import time
from dataclasses import dataclass, replace

from autoresearch.hardware import cores

WINDOW_SECONDS = 0.5  # chosen: fifty ticks of the kernel's accounting (10 ms) for each processor
SHORTEST_SECONDS = 0.1  # below ten ticks a share says nothing


@dataclass(frozen=True)
class Sample:
    """All in seconds; processor time since the system or the process began."""

    time: float  # monotonic
    busy: float  # all processors together, without waiting
    stolen: float | None  # taken by a virtual machine's host; None where the system does not count it
    own: float  # by this process and its descendants
    others: dict[int, float]  # by every other process that may be read, by process id


@dataclass(frozen=True)
class Load:
    """None: not measured."""

    share: float | None = None  # of the usable cores, in [0, 1], that other processes took
    processors: float | None = None  # as many processors' time
    largest: str | None = None  # the name of the process that took most of it
    stolen: float | None = None  # of all processors' time, in [0, 1], that the virtual machine's host took


def watch(window_seconds: float = WINDOW_SECONDS) -> Load:
    """Look for window_seconds. Never raises for what the system lacks or forbids."""
    if window_seconds < SHORTEST_SECONDS:
        return Load()
    import psutil

    try:
        first = sample()
        time.sleep(window_seconds)
        second = sample()
        logical = psutil.cpu_count() or 1
        physical = psutil.cpu_count(logical=False) or logical
    except (OSError, psutil.Error):
        return Load()
    load, pid = compare(first, second, cores.usable(), physical, logical)
    return replace(load, largest=_name(pid))


def sample() -> Sample:
    """Raises OSError or psutil.Error where the system's own times can't be read."""
    import psutil

    times = psutil.cpu_times()
    own_ids = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    own, others = 0.0, {}
    for process in psutil.process_iter():
        try:
            used = process.cpu_times()
        except (OSError, psutil.Error):  # it ended, or it is not ours to look at
            continue
        if process.pid in own_ids:
            # A child that has ended is in its parent's children_*; what it used must not turn into another's.
            own += used.user + used.system + used.children_user + used.children_system
        else:
            others[process.pid] = used.user + used.system
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return Sample(time.monotonic(), busy, getattr(times, "steal", None), own, others)


def compare(first: Sample, second: Sample, usable: int, physical: int, logical: int) -> tuple[Load, int | None]:
    """(the load between two samples, the id of the largest other process).

    usable: cores that this process may use, of `physical` with `logical` processors. What others use counts only in so far as it
    does not fit on the processors that this process leaves alone; a second hardware thread is no processor that is left alone.
    """
    seconds = second.time - first.time
    others = max(0.0, (second.busy - first.busy) - (second.own - first.own)) / seconds
    left_alone = logical * (1 - min(1.0, usable / physical))
    share = min(1.0, max(0.0, others - left_alone) / usable)
    stolen = None
    if first.stolen is not None and second.stolen is not None:
        stolen = min(1.0, max(0.0, second.stolen - first.stolen) / (seconds * logical))
    used = {pid: total - first.others.get(pid, 0.0) for pid, total in second.others.items()}
    largest = max(used, key=used.__getitem__, default=None)
    return Load(share, others, None, stolen), largest if largest is not None and used[largest] > 0 else None


def _name(pid: int | None) -> str | None:
    import psutil

    try:
        return None if pid is None else psutil.Process(pid).name()
    except (OSError, psutil.Error):
        return None
