"""What else uses the processors: two samples a short time apart, and their difference.

The system's busy time minus that of this process and all that it started, so that processes count too which may not be looked
into (macOS hides those of other users, a container those outside). Each process is read only to name the largest.
"""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoresearch.hardware import cores

if TYPE_CHECKING:
    import psutil

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
    descendants: float = 0.0  # the part of `own` that this process did not use itself


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


def sample(names: bool = True) -> Sample:
    """Raises OSError or psutil.Error where the system's own times can't be read. Without names it is quicker and `others` empty."""
    import psutil

    times = psutil.cpu_times()
    this = psutil.Process()
    family = this.children(recursive=True)
    # A child that has ended is in its parent's children_*; what it used must not turn into another's.
    own_times = this.cpu_times()
    descendants = own_times.children_user + own_times.children_system + sum(_used(child, ended=True) or 0.0 for child in family)
    others = {}
    if names:
        own_ids = {this.pid, *(child.pid for child in family)}
        usage = ((process.pid, _used(process)) for process in psutil.process_iter() if process.pid not in own_ids)
        others = {pid: used for pid, used in usage if used is not None}
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    own = own_times.user + own_times.system + descendants
    return Sample(time.monotonic(), busy, getattr(times, "steal", None), own, others, descendants)


def _used(process: "psutil.Process", ended: bool = False) -> float | None:
    """A process's seconds, with those of its children that have ended if asked for; None: it is gone, or not ours to look at."""
    import psutil

    try:
        used = process.cpu_times()
    except (OSError, psutil.Error):
        return None
    return used.user + used.system + (used.children_user + used.children_system if ended else 0.0)


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
    return Load(share, others, None, stolen), _largest(first, second)


def taken(first: Sample, second: Sample, usable: int, physical: int, logical: int) -> float:
    """The share of the usable cores, in [0, 1], that others took from us between two samples while we were at work.

    As `compare`, but what others used counts only in so far as no core was idle meanwhile: a training on an accelerator needs
    one core of many. What a virtual machine's host took counts in full.
    """
    seconds = second.time - first.time
    busy, own = second.busy - first.busy, max(0.0, second.own - first.own)  # a tree that has ended may take its seconds along
    others = max(0.0, busy - own) / seconds
    left_alone = logical * (1 - min(1.0, usable / physical))
    spare = max(left_alone, physical - busy / seconds, 0.0)
    stolen = max(0.0, (second.stolen or 0.0) - (first.stolen or 0.0)) / (seconds * logical)
    return min(1.0, max(0.0, others - spare) / usable + stolen)


def largest(first: Sample, second: Sample) -> str | None:
    """The name of the other process that used most between two samples with names."""
    return _name(_largest(first, second))


def _largest(first: Sample, second: Sample) -> int | None:
    used = {pid: total - first.others.get(pid, 0.0) for pid, total in second.others.items()}
    pid = max(used, key=used.__getitem__, default=None)
    return pid if pid is not None and used[pid] > 0 else None


def _name(pid: int | None) -> str | None:
    import psutil

    try:
        return None if pid is None else psutil.Process(pid).name()
    except (OSError, psutil.Error):
        return None
