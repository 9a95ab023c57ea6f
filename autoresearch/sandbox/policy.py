"""What a worker process may touch, as data: folders and files to read, to write, devices, and its environment variables.

A cell is computed here and applied elsewhere (linux.py, bubblewrap.py, macos.py). What is not named in it is forbidden: the
network, the home folder, the ledger, git, other runs, the validation text. Its one writable folder, `work`, is new for each worker
and removed after it, so that nothing written in one run can be read in another.
"""

import glob
import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoresearch.choices import VARIABLES
from autoresearch.errors import UsageError
from autoresearch.paths import PACKAGE

# What programs need of the system. What is not there is left out. Nothing that counts what all processes did since boot
# (/proc/stat, /proc/loadavg, /sys/fs/cgroup): one run could read there what another one did.
SYSTEM_READS = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/run/opengl-driver",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/OpenCL",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/version", "/proc/filesystems",
    "/proc/sys/kernel/osrelease", "/proc/sys/kernel/cap_last_cap", "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/random/boot_id", "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count", "/proc/sys/vm/mmap_min_addr",
    *(f"/sys/devices/system/cpu/{name}" for name in ("online", "possible", "present", "kernel_max")),
    *(f"/sys/devices/system/cpu/cpu[0-9]*/{name}" for name in ("topology", "cache", "regs", "cpufreq/cpuinfo_*_freq")),
    "/sys/devices/system/node/online", "/sys/devices/system/node/possible", "/sys/devices/system/node/node[0-9]*/cpumap",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
# What a driver needs beyond that, in a cell with devices. Counters are among it: with a GPU they are open.
DRIVER_READS = (
    "/proc/stat", "/proc/devices", "/proc/modules", "/proc/driver", "/proc/sys/kernel", "/proc/sys/vm",
    "/sys/devices", "/sys/class", "/sys/bus", "/sys/module", "/sys/kernel/mm",
)  # fmt: skip
SYSTEM_WRITES = ("/dev/null",)
DRIVER_WRITES = ("/proc/self/task",)  # CUDA names its threads there
OWN_SHARED_MEMORY = "/dev/shm"  # at level 3 an empty one of the worker's own; at level 2 all processes share it, and it stays shut

# What a worker gets of our environment; the rest is made anew. No name here may hold a secret.
PASSED_ON = (
    "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT",
    "PROGRAMDATA", "PROGRAMFILES", "PROCESSOR_ARCHITECTURE", "NUMBER_OF_PROCESSORS", "CC", "CXX", "OMP_NUM_THREADS",
    *VARIABLES.values(),
)  # fmt: skip


WORDS = {0: "none", 1: "writes fenced", 2: "no network, no files but its own", 3: "namespaces, no network, no files but its own"}


@dataclass(frozen=True)
class Reach:
    level: int
    mechanism: str
    reasons: tuple[str, ...]  # what is there, and what a higher level lacks
    tried: bool  # whether this project has run it on such a system

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"meaning": WORDS[self.level]}


@dataclass(frozen=True)
class Needs:
    """The table [sandbox] of a backend.toml. Patterns as of the shell; `~` is the home folder."""

    devices: tuple[str, ...] = ()  # files in /dev, to read, write and control
    reads: tuple[str, ...] = ()  # folders of a driver outside of /usr
    hub: tuple[str, ...] = ()  # repositories in Hugging Face's cache, as owner/name
    variables: tuple[str, ...] = ()  # of the user's, that set up a driver or name a card: workers get what the probe gets


NO_NEEDS = Needs()


@dataclass(frozen=True)
class Cell:
    """Absolute paths, links resolved. A folder stands for all that is in it."""

    level: int  # 0 none, 1 writes fenced, 2 the whole policy, 3 with namespaces and a root folder of its own
    work: str  # the only folder to write in; also the current, the temporary and the home folder
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # what of them was asked for through a link, as it was asked for
    is_command: bool = False  # of a user's command, which may also use this cell's own network and set modes and times: seccomp.py
    file_bytes: int | None = None  # a longer file can't be written, memory that is a file (memfd, /dev/shm) neither; None: no limit

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Cell":
        table = json.loads(text)
        return cls(**(table | {key: tuple(value) for key, value in table.items() if isinstance(value, list)}))


def cell(
    level: int, work: Path, reads: Iterable[Path], writes: Iterable[Path] = (), needs: Needs = NO_NEEDS,
    hidden: Iterable[Path] = (), file_bytes: int | None = None,
) -> Cell:  # fmt: skip
    """The cell of one worker. reads, writes: what this run needs beyond the system, Python and `work`.

    hidden: files and folders that no cell may see anything of (corpus, prepared texts). Raises UsageError when what a cell reads
    lies around one of them or in it, or around the study or the home folder (a study inside of a Python environment).
    """
    own, devices = [*reads, *writes, work], existing(matching(needs.devices))
    wanted = _common(needs, bool(devices))
    shared = [OWN_SHARED_MEMORY] if level >= 3 and sys.platform == "linux" else []
    common, asked = existing(wanted), existing([*own, *shared])
    if level:
        for place in (Path(work).resolve().parent, Path.home().resolve()):
            _keep_out(place, common, "put the study elsewhere, or type --sandbox none")
        _keep_hidden(hidden, [*common, *asked], common)
    return Cell(
        level, os.path.realpath(work), reads=tuple(dict.fromkeys([*common, *asked])),
        writes=tuple(dict.fromkeys(existing([*SYSTEM_WRITES, *(DRIVER_WRITES if devices else ()), *writes, work, *shared]))),
        devices=tuple(devices), names=tuple(dict.fromkeys(with_links([*wanted, *own, sys.executable]))), file_bytes=file_bytes,
    )  # fmt: skip


def check_hidden(level: int, hidden: Iterable[Path], needs: Needs = NO_NEEDS) -> None:
    """As `cell` does, before there is a run: UsageError when any cell could see something of a path."""
    if level:
        common = existing(_common(needs, bool(matching(needs.devices))))
        _keep_hidden(hidden, common, common)


def _common(needs: Needs, has_devices: bool) -> list[str]:
    """What every cell of a backend reads."""
    reads = [*matching(SYSTEM_READS), *python_folders(), *matching(needs.reads), *hub_folders(needs.hub)]
    reads += library_folders(needs.variables)
    return [*reads, *(DRIVER_READS if has_devices else ())]


def with_links(paths: Iterable[str | Path]) -> list[str]:
    """Those that are reached through a symbolic link."""
    names = [os.path.abspath(path) for path in paths]
    return [name for name in names if not name.startswith("/proc/") and os.path.realpath(name) != name and os.path.exists(name)]


def _keep_out(place: Path, readable: Iterable[str], way_out: str) -> None:
    around = next((folder for folder in readable if place.is_relative_to(folder)), None)
    if around:
        raise UsageError(f"{place} lies in {around}, which every training may read", way_out)


def _keep_hidden(hidden: Iterable[Path], readable: list[str], common: list[str]) -> None:
    for place in (Path(os.path.realpath(path)) for path in hidden):
        _keep_out(place, readable, "put it elsewhere, or type --sandbox none")
        _keep_apart(place, common)


def _keep_apart(place: Path, readable: Iterable[str]) -> None:
    """What lies under a name that begins with a dot (.venv) is never part of a corpus."""
    within = [Path(folder).relative_to(place) for folder in readable if Path(folder).is_relative_to(place)]
    inside = next((folder for folder in within if not any(part.startswith(".") for part in folder.parts)), None)
    if inside:
        raise UsageError(f"{place} holds {inside}, which every training may read", "move one of them, or type --sandbox none")


def python_folders() -> list[str]:
    """Of this Python, its environment, and of this package; not the folder around the package, which may hold anything."""
    paths = sysconfig.get_paths()
    folders = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, str(Path(sys.executable).resolve().parent)]
    folders += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [*folders, str(PACKAGE)]


def library_folders(variables: Iterable[str] = ()) -> list[str]:
    """Where the user's variables say that compilers and drivers' libraries lie. variables: of the backend."""
    folders = [os.environ.get(name, "") for name in variables]
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        folders += os.environ.get(name, "").split(os.pathsep)
    return [path for path in folders if path and os.path.isabs(path)]


def hub_cache() -> Path:
    """As huggingface_hub/constants.py works it out."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(folder)))


def hub_folders(repositories: Iterable[str]) -> list[str]:
    """Those repositories alone: beside them lie models that may be private."""
    return [path for name in repositories for path in matching([f"{hub_cache()}/*--{name.replace('/', '--')}"])]


def matching(patterns: Iterable[str]) -> list[str]:
    return [path for pattern in patterns for path in sorted(glob.glob(os.path.expanduser(pattern)))]


def existing(paths: Iterable[str | Path]) -> list[str]:
    """Those that are there, links resolved; what starts with /proc/self stays, since each process has its own."""
    return [str(path) if str(path).startswith("/proc/self") else os.path.realpath(path) for path in paths if os.path.exists(path)]


def environment(worker_cell: Cell) -> dict[str, str]:
    """A worker's variables, made from nothing."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    temporary = dict.fromkeys(["HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA"], worker_cell.work)
    programs = os.environ.get("PATH", "").split(os.pathsep)
    return (
        kept
        | temporary
        | {
            "PATH": os.pathsep.join(path for path in programs if worker_cell.level == 0 or _within(path, worker_cell)),
            "USER": "autoresearch",
            "LOGNAME": "autoresearch",
        }
    )


def _within(path: str, worker_cell: Cell) -> bool:
    return os.path.isdir(path) and any(Path(path).resolve().is_relative_to(folder) for folder in worker_cell.reads)
