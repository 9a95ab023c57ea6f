"""Child processes on every system: an environment without secrets, and an end together with all that they started."""

import os
import re
import signal
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, TypedDict

from autoresearch.sandbox import windows

if TYPE_CHECKING:
    import psutil


class _Group(TypedDict, total=False):
    creationflags: int
    start_new_session: bool


# A group of its own, so that Ctrl-C in the terminal is ours to handle and the whole group can be ended. On Windows Ctrl-Break and a
# closed window reach whatever shares the console, in which group it may be: a child has its own, without a window.
_OWN_GROUP: _Group
if sys.platform == "win32":
    _OWN_GROUP = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP | windows.CREATE_SUSPENDED}
else:
    _OWN_GROUP = {"start_new_session": True}

_jobs: weakref.WeakKeyDictionary[subprocess.Popen[bytes], "weakref.finalize[..., Any]"] = weakref.WeakKeyDictionary()

_ROUNDS, _ROUND_SECONDS = 20, 0.5  # chosen: what a process may start while it is being ended
_LAST_SECONDS = 5.0  # that the system may take to end what was killed

# Of GIT_CONFIG_COUNT, _KEY_0 and _VALUE_0 git wants all or none.
_SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|COOKIE|WEBHOOK|AUTHORIZATION|(PASS|AUTH|JWT|DSN|SAS)(_|$)|_PWD$|_PAT$"
    r"|^GIT_CONFIG_(COUNT|VALUE|PARAMETERS)", re.IGNORECASE,
)  # fmt: skip
_PASSWORD = re.compile(
    r"://[^/@\s]{0,999}:[^/@\s]{1,999}@|\b(password|pwd|accountkey|sharedaccesskey) ?=|authorization:", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether an environment variable of that name looks like a key or a password."""
    return _SECRET.search(name) is not None


def has_password(name: str, value: str) -> bool:
    """Whether a password is in the value: in an address or in words, as of a database, or in a header. A proxy's is needed."""
    return not name.upper().endswith("_PROXY") and _PASSWORD.search(value) is not None


def environment() -> dict[str, str]:
    """Ours, without secrets: for programs that need the user's paths and settings and no keys."""
    return {name: value for name, value in os.environ.items() if not is_secret(name)}


def start(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Popen of a child in a group of its own, which `end_tree` ends with all that it started.

    On Windows a job object holds it: it ends with us, however we end, and when nobody has the Popen any more.
    """
    process = subprocess.Popen(words, **options, **_OWN_GROUP)
    if sys.platform == "win32" and (job := windows.hold(process)):
        _jobs[process] = weakref.finalize(process, job.close)
    return process


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its descendants, and wait until they are gone.

    The process itself goes last: a worker's keeper (sandbox/keeper.py) is the parent of whatever left its own parent, so that what
    is being started while we look turns up in the next round.
    """
    import psutil

    tree: list[psutil.Process] = []
    try:
        root = psutil.Process(process.pid)
        for _ in range(_ROUNDS):
            tree = root.children(recursive=True)
            if not any(map(_is_alive, tree)) or not _is_alive(root):
                break
            _kill(tree)
            _wait(tree, _ROUND_SECONDS)
        tree.append(root)
    except psutil.NoSuchProcess:
        pass
    _kill(tree)
    if hasattr(os, "killpg"):  # children whose parent died before
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the group is gone (macOS says EPERM of zombies)
            pass
    if process in _jobs:  # those on Windows
        _jobs.pop(process)()
    process.wait()
    _wait(tree, _LAST_SECONDS)


def _is_alive(member: "psutil.Process") -> bool:
    """A zombie is not: it waits for a parent that may never look. It is killed all the same: its threads may go on."""
    import psutil

    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(tree: "list[psutil.Process]", seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(map(_is_alive, tree)) and time.monotonic() < end:
        time.sleep(0.01)


def _kill(tree: "list[psutil.Process]") -> None:
    import psutil

    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
