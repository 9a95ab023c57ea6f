"""Holding off the computer's idle sleep while a study runs, where the system allows; silent where it does not.

    Linux    systemd-inhibit around a `cat` that ends when our end of its pipe closes, so a kill of us releases it too
    macOS    caffeinate -i -w PID, which ends with us
    Windows  SetThreadExecutionState, which ends with the thread

Promises: nothing stays held after this process. Not covered: a closed lid and a sleep that the user asks for come through on most
systems; a run that they meet is invalid (loop/watch.py) and runs again.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from autoresearch.processes import environment, start

WHY = "a training runs"
ASK_SECONDS = 5
_ES_CONTINUOUS, _ES_SYSTEM_REQUIRED = 0x80000000, 0x00000001  # winbase.h


def command(platform: str, pid: int) -> list[str] | None:
    """The program that holds it off until our pipe to it closes or the process pid ends; None: there is none."""
    if platform == "linux":
        return ["systemd-inhibit", "--what=sleep:idle", "--who=autoresearch", f"--why={WHY}", "--mode=block", "cat"]
    if platform == "darwin":
        return ["caffeinate", "-i", "-w", str(pid)]
    return None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold it off inside."""
    if sys.platform == "win32":
        _windows(_ES_CONTINUOUS | _ES_SYSTEM_REQUIRED)
        try:
            yield
        finally:
            _windows(_ES_CONTINUOUS)
        return
    process = _start(command(sys.platform, os.getpid()), subprocess.DEVNULL)
    try:
        yield
    finally:
        if process is not None:
            assert process.stdin is not None, "_start gives it a pipe"
            process.stdin.close()
            process.terminate()
            process.wait()


def note() -> str:
    """For doctor: whether it works here. Asks the system."""
    if sys.platform == "win32":
        return "held off while a study runs, by SetThreadExecutionState; a closed lid is not"
    words = command(sys.platform, os.getpid())
    if words is None or shutil.which(words[0]) is None:
        return "not held off: this system has no program for it; see that it does not sleep at night"
    process = _start(words, subprocess.PIPE)
    if process is None:
        return f"not held off: {words[0]} does not start"
    try:  # caffeinate ends with us: that it is still there after a moment says that it works
        _, refusal = process.communicate(timeout=ASK_SECONDS if sys.platform == "linux" else 0.2)
        works = process.returncode == 0
    except subprocess.TimeoutExpired:
        works, refusal = sys.platform != "linux", b""
        process.kill()
        process.communicate()
    if works:
        return f"held off while a study runs, by {words[0]}; a closed lid is not"
    lines = refusal.decode("utf-8", "replace").strip().splitlines() or ["it does not answer"]
    return f"not held off: {words[0]} says {lines[0]!r}; see that the computer does not sleep at night"


def _start(words: list[str] | None, stderr: int) -> subprocess.Popen[bytes] | None:
    if words is None or shutil.which(words[0]) is None:
        return None
    try:  # in a session of its own: no terminal on which the system could ask for a password, and no Ctrl-C
        return start(words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr)
    except OSError:
        return None


def _windows(state: int) -> None:
    if sys.platform == "win32":  # nowhere else has ctypes a windll
        import ctypes

        ctypes.windll.kernel32.SetThreadExecutionState(ctypes.c_uint(state))
