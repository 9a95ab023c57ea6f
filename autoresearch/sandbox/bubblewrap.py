"""Level 3: the worker starts inside of bubblewrap, with namespaces and a root folder of its own, and then enters level 2.

The root folder is empty but for what the cell names: other runs, the ledger, the home folder and the prepared texts are not
there, so that their names, sizes and times can't be seen either. What is only read is mounted read-only: reading leaves no time.
All that a worker starts ends with it, a daemon too: the kernel ends a process namespace together with its first process.
bwrap gets the worker's environment, never ours: /proc/1/environ inside shows it, and --clearenv would not hide it.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from autoresearch.sandbox import policy
from autoresearch.sandbox.policy import Cell

NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent")
KERNEL = ("/proc", "/dev")  # made anew; what a cell names there is in the new ones, or is bound as a device
# One mount each instead of hundreds: Landlock gives their files one by one.
WHOLE = ("/sys/devices/system/cpu", "/sys/devices/system/node")
IN_MEMORY_BYTES = 2 << 30  # chosen: of a folder that is memory, and counts as such
LINKS_AT_MOST = 40  # as the kernel follows on one path
TRY_SECONDS = 5.0


def prefix(cell: Cell) -> list[str]:
    """What goes before the worker's command line."""
    return [program(), *NAMESPACES, *root(cell), "--chdir", cell.work, "--"]


def program() -> str:
    return shutil.which("bwrap") or "bwrap"


def root(cell: Cell) -> list[str]:
    """The options that make the root folder. A folder that lies in another one is mounted after it."""
    shown = sorted({_whole(path) for path in [*cell.reads, *cell.writes] if not _is_within(path, KERNEL)})
    writes = {path for path in cell.writes if not _is_within(path, KERNEL)}
    mounts: list[str] = []
    options: list[str] = ["--proc", "/proc", "--dev", "/dev", *in_memory(policy.OWN_SHARED_MEMORY)]
    for path in shown:
        if path in writes or not _is_within(path, mounts):
            mounts.append(path)
            options += ["--bind" if path in writes else "--ro-bind", path, path]
    for path in cell.devices:
        options += ["--dev-bind", path, path]
    for link, target in links(cell.names):
        if not _is_within(link, [*mounts, *KERNEL]):
            options += ["--symlink", target, link]
    return [*options, "--remount-ro", "/"]


def links(names: Iterable[str]) -> list[tuple[str, str]]:
    """(link, what it says) for every symbolic link on the way to those names, each once."""
    targets: dict[str, str] = {}
    for name in names:
        for _ in range(LINKS_AT_MOST):
            link = next((str(path) for path in [*reversed(Path(name).parents), Path(name)] if path.is_symlink()), None)
            if link is None:
                break
            targets[link] = os.readlink(link)
            name = os.path.normpath(os.path.join(os.path.dirname(link), targets[link], os.path.relpath(name, link)))
    return list(targets.items())


def _whole(path: str) -> str:
    return next((folder for folder in WHOLE if _is_within(path, [folder])), path)


def _is_within(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def in_memory(folder: str) -> list[str]:
    """The options for an empty folder there."""
    return [*(["--size", str(IN_MEMORY_BYTES)] if "--size" in _options() else []), "--tmpfs", folder]


@functools.cache
def _options() -> str:
    """bwrap's own list of them: before 0.7 there is no --size, and half of the memory is the kernel's limit."""
    try:
        return subprocess.run([program(), "--help"], capture_output=True, text=True, timeout=TRY_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def why_not() -> str | None:
    """Why there is no level 3 here; None when a process was started so."""
    if shutil.which("bwrap") is None:
        return "there is no bwrap; install the package bubblewrap"
    reads = policy.matching(policy.SYSTEM_READS)
    system = Cell(3, "/", reads=tuple(policy.existing(reads)), names=tuple(reads))
    try:
        command = [*prefix(system), "/bin/sh", "-c", "exit 0"]
        tried = subprocess.run(command, capture_output=True, text=True, env={}, timeout=TRY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not start: {error}"
    error_line = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    return f"bwrap does not work here: {error_line}" if tried.returncode else None
