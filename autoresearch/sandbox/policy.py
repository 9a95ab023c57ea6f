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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from autoresearch.choices import VARIABLES
from autoresearch.errors import UsageError
from autoresearch.paths import PACKAGE

# What programs and drivers need of the system. What is not there is left out.
SYSTEM_READS = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/run/opengl-driver",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/OpenCL",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg",
    "/proc/devices", "/proc/modules", "/proc/driver", "/proc/sys/kernel", "/proc/sys/vm",
    "/sys/devices", "/sys/class", "/sys/bus", "/sys/module", "/sys/fs/cgroup", "/sys/kernel/mm",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
SYSTEM_WRITES = ("/dev/null", "/proc/self/task")  # the second: CUDA names its threads there

# What a worker gets of our environment; the rest is made anew. No name here may hold a secret.
PASSED_ON = (
    "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT",
    "PROGRAMDATA", "PROGRAMFILES", "PROCESSOR_ARCHITECTURE", "NUMBER_OF_PROCESSORS", "CC", "CXX", "CUDA_HOME", "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "OMP_NUM_THREADS", "JAX_PLATFORMS",
    "AUTORESEARCH_DTYPE", *VARIABLES.values(),
)  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """The table [sandbox] of a backend.toml. Patterns as of the shell; `~` is the home folder."""

    devices: tuple[str, ...] = ()  # files in /dev, to read, write and control
    reads: tuple[str, ...] = ()  # folders of a driver outside of /usr
    hub: tuple[str, ...] = ()  # repositories in Hugging Face's cache, as owner/name

    @classmethod
    def from_table(cls, table: Mapping[str, list[str]]) -> "Needs":
        """Raises UsageError for a key or a type that is not known."""
        for key, value in table.items():
            if key not in cls.__dataclass_fields__ or not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
                raise UsageError(f"[sandbox] {key} = {value!r}; it may hold {', '.join(cls.__dataclass_fields__)}, lists of texts")
        return cls(**{key: tuple(value) for key, value in table.items()})


NO_NEEDS = Needs()


@dataclass(frozen=True)
class Cell:
    """Absolute paths, links resolved. A folder stands for all that is in it."""

    level: int  # 0 none, 1 writes fenced, 2 the whole policy, 3 with namespaces of its own
    work: str  # the only folder to write in; also the current, the temporary and the home folder
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Cell":
        table = json.loads(text)
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def cell(level: int, work: Path, reads: Iterable[Path], writes: Iterable[Path] = (), needs: Needs = NO_NEEDS) -> Cell:
    """The cell of one worker. reads, writes: what this run needs beyond the system, Python and `work`.

    Raises UsageError when the system or Python lies around what must stay hidden (a study inside of a Python environment).
    """
    own = [*reads, *writes, work]
    common = existing([*SYSTEM_READS, *python_folders(), *matching(needs.reads), *hub_folders(needs.hub), *library_folders()])
    for hidden in (Path(work).resolve().parent, Path.home().resolve()):
        around = next((folder for folder in common if hidden.is_relative_to(folder)), None)
        if level and around:
            problem = f"{hidden} lies in {around}, which every training may read"
            raise UsageError(problem, "put the study elsewhere, or type --sandbox none")
    return Cell(
        level, str(Path(work).resolve()), reads=tuple(dict.fromkeys([*common, *existing(own)])),
        writes=tuple(dict.fromkeys(existing([*SYSTEM_WRITES, *writes, work]))), devices=tuple(existing(matching(needs.devices))),
    )  # fmt: skip


def python_folders() -> list[str]:
    """Of this Python, its environment, and of this package; not the folder around the package, which may hold anything."""
    paths = sysconfig.get_paths()
    found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, str(Path(sys.executable).resolve().parent)]
    found += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    return [*found, str(PACKAGE)]


def library_folders() -> list[str]:
    """Where the user's variables say that compilers and drivers' libraries lie."""
    found = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        found += os.environ.get(name, "").split(os.pathsep)
    return [path for path in found if path and os.path.isabs(path)]


def hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def hub_folders(repositories: Iterable[str]) -> list[str]:
    """Those repositories alone: beside them lie models that may be private."""
    return [path for name in repositories for path in matching([f"{hub_cache()}/*--{name.replace('/', '--')}"])]


def matching(patterns: Iterable[str]) -> list[str]:
    return [path for pattern in patterns for path in sorted(glob.glob(os.path.expanduser(pattern)))]


def existing(paths: Iterable[str | Path]) -> list[str]:
    """Those that are there, links resolved; what starts with /proc/self stays, since each process has its own."""
    return [str(path) if str(path).startswith("/proc/self") else os.path.realpath(path) for path in paths if os.path.exists(path)]


def environment(one: Cell) -> dict[str, str]:
    """A worker's variables, made from nothing."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    temporary = dict.fromkeys(["HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA"], one.work)
    programs = os.environ.get("PATH", "").split(os.pathsep)
    return (
        kept
        | temporary
        | {
            "PATH": os.pathsep.join(path for path in programs if one.level == 0 or _within(path, one)),
            "USER": "autoresearch",
            "LOGNAME": "autoresearch",
            "HF_HUB_CACHE": str(hub_cache()),
            "HF_HUB_OFFLINE": "1",
        }
    )


def _within(path: str, one: Cell) -> bool:
    return os.path.isdir(path) and any(Path(path).resolve().is_relative_to(folder) for folder in one.reads)
