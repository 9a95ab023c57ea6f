"""How many physical cores this process may use: one compute-bound thread for each is the fastest.

Counted are the processors that the process may run on (affinity; a cpuset is part of it), a second hardware thread of a core not
again, and the processor time that its control groups allow. On Apple Silicon only the performance cores count. Every file is
looked up below a root folder, so that made-up trees can be counted too.
"""

import ctypes
import math
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable() -> int:
    """Physical cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return count(os.sched_getaffinity(0))
    import psutil

    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    if sys.platform == "darwin":
        return performance_cores() or physical
    try:
        allowed = len(psutil.Process().cpu_affinity())
    except (AttributeError, OSError, psutil.Error):
        allowed = logical
    return share(physical, logical, allowed)


def count(processors: Iterable[int], root: Path = ROOT) -> int:
    """Linux: the cores of these processors, but no more than the control groups' quota, rounded down, and at least 1."""
    cores = {siblings(processor, root) for processor in processors}
    quota = cgroup_quota(root)
    return max(1, len(cores) if quota is None else min(len(cores), math.floor(quota)))


def share(physical: int, logical: int, allowed: int) -> int:
    """Cores behind `allowed` of the logical processors, where the system does not say which two share a core.

    They are numbered core by core on Windows, so that a mask of neighbours holds whole cores.
    """
    return max(1, min(physical, math.ceil(allowed * physical / logical)))


def performance_cores() -> int | None:
    """Apple Silicon's performance cores, None on an Intel Mac.

    One thread for each is what Apple advises ("Determining system capabilities") and PyTorch's own default on an ARM Mac
    (ATen/ParallelCommon.cpp): an efficiency core that gets an equal part of a product makes the others wait.
    """
    value = ctypes.c_int32(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    status = ctypes.CDLL(None).sysctlbyname(b"hw.perflevel0.physicalcpu", ctypes.byref(value), ctypes.byref(size), None, 0)
    return value.value if status == 0 and value.value > 0 else None


def cgroup_quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that the process's control groups allow, in both versions; None: no limit.

    A group is bound by its own quota and by those of all groups above it, so the smallest counts. In a container without a
    namespace of its own /proc/self/cgroup holds the host's path, and only the mount's root tells which part of it is seen here.
    """
    quotas = []
    for folder, mount, is_v2 in _groups(root):
        for group in (folder, *folder.parents):
            quota = _v2_quota(group) if is_v2 else _v1_quota(group)
            if quota is not None:
                quotas.append(quota)
            if group == mount:
                break
    return min(quotas, default=None)


# cgroups(7): 4:cpu,cpuacct:/docker/1a2b
_GROUP = re.compile(r"\d+:([^:]*):(.*)")
# proc_pid_mountinfo(5): 31 23 0:28 /docker/1a2b /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw
_MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .*- (\S+) \S+ (\S+)")


def _groups(root: Path) -> list[tuple[Path, Path, bool]]:
    """(the process's own group, where its hierarchy is mounted, whether that is version 2), for each that limits processors."""
    paths: dict[str, str] = {}  # controller, "" for version 2: path of the process's group
    for line in _read(root / "proc/self/cgroup").splitlines():
        if match := _GROUP.fullmatch(line):
            paths |= dict.fromkeys(match[1].split(","), match[2])
    groups = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        if not (match := _MOUNT.fullmatch(line)):
            continue
        mounted_part, mount_point, kind, options = match.groups()
        controller = "" if kind == "cgroup2" else "cpu" if kind == "cgroup" and "cpu" in options.split(",") else None
        if controller in paths:
            mount = root / mount_point.lstrip("/")
            seen = PurePosixPath(paths[controller])
            inside = seen.relative_to(mounted_part) if seen.is_relative_to(mounted_part) else PurePosixPath()
            groups.append((mount.joinpath(*(part for part in inside.parts if part not in ("/", ".."))), mount, not controller))
    return groups


def _v2_quota(group: Path) -> float | None:
    """cpu.max: "<microseconds> <period>" or "max <period>"."""
    return _ratio(*_read(group / "cpu.max").split())


def _v1_quota(group: Path) -> float | None:
    """cpu.cfs_quota_us, where -1 is no limit, over cpu.cfs_period_us."""
    return _ratio(*(_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")))


def _ratio(quota: str = "", period: str = "") -> float | None:
    """None where one of them is no number: no such file, or no limit."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def siblings(processor: int, root: Path) -> str:
    """The same text for every hardware thread of one core."""
    return _read(root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list") or str(processor)


def _read(path: Path) -> str:
    """A small system file; empty where there is none or it may not be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
