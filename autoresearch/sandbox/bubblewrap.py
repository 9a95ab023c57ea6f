"""Level 3: the worker starts inside of bubblewrap, with process, IPC and network namespaces of its own, and then enters level 2.

All that a worker starts ends with it, a daemon too: the kernel ends a process namespace together with its first process.
bwrap gets the worker's environment, never ours: /proc/1/environ inside shows it, and --clearenv would not hide it.
"""

import shutil
import subprocess

from autoresearch.sandbox.policy import Cell

# No link from inside to a terminal or to a process outside; the files are those outside, unchangeable but for what is named after.
NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent")
FILES = ("--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc")
TRY_SECONDS = 5.0


def prefix(cell: Cell) -> list[str]:
    """What goes before the worker's command line."""
    kept = [path for path in cell.writes if not path.startswith(("/proc", "/dev"))]
    return [
        shutil.which("bwrap") or "bwrap", *NAMESPACES, *FILES, *(word for path in kept for word in ("--bind", path, path)),
        "--chdir", cell.work, "--",
    ]  # fmt: skip


def why_not() -> str | None:
    """Why there is no level 3 here; None when a process was started so."""
    found = shutil.which("bwrap")
    if found is None:
        return "there is no bwrap; install the package bubblewrap"
    try:
        command = [found, *NAMESPACES, *FILES, "--", "/bin/sh", "-c", "exit 0"]
        tried = subprocess.run(command, capture_output=True, text=True, env={}, timeout=TRY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not start: {error}"
    said = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    return f"bwrap does not work here: {said}" if tried.returncode else None
