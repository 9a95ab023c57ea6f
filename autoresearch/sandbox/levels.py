"""Which level this system reaches, and why: facts for doctor, and the choice behind `--sandbox auto|none`.

3   2, and process, IPC and network namespaces of its own (Linux with bubblewrap)
2   no network, no file but those named, no way into other processes (Linux: Landlock and seccomp; macOS: Seatbelt)
1   writes are fenced
0   nothing: agent code has the user's rights
"""

import functools
import platform
import sys

from autoresearch.errors import UsageError
from autoresearch.sandbox.policy import WORDS, Reach

__all__ = ["LEAST", "WORDS", "Reach", "choose", "reach"]

LEAST = 2  # that agents' code takes


@functools.cache
def reach() -> Reach:
    """Found out once in a process; it starts bwrap, where that is there."""
    if sys.platform == "linux":
        return _linux()
    if sys.platform == "darwin":
        from autoresearch.sandbox import macos

        return macos.reach()
    from autoresearch.sandbox import windows

    return windows.reach()


def choose(option: str, is_shipped: bool = False) -> int:
    """The level for `--sandbox auto|none`. UsageError where a study's train.py, which an agent may have written, would have less
    than LEAST. is_shipped: it is for code that was installed.
    """
    if option == "none":
        return 0
    reached = reach()
    if not is_shipped and reached.level < LEAST:
        raise UsageError(
            f"the sandbox reaches level {reached.level} here, and agents' code wants {LEAST} ({reached.reasons[-1]})",
            "`--sandbox none` runs it with your rights all the same",
        )
    return reached.level


def check(level: int) -> None:
    """UsageError where this machine does not reach it: one worker's cells are as strong as another's."""
    reached = reach()
    if reached.level < level:
        raise UsageError(f"the sandbox reaches level {reached.level} here, and the study's is {level} ({reached.reasons[-1]})")


def has_fence() -> bool:
    """Whether a sandbox is written for this system; elsewhere the attempts to get out of one can't even be imported."""
    return sys.platform in ("linux", "darwin")


def _linux() -> Reach:
    from autoresearch.sandbox import bubblewrap, landlock
    from autoresearch.sandbox.syscalls import ARCHITECTURES

    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return Reach(0, "none", (f"no filter of system calls is written for {machine}",), True)
    version = landlock.abi(machine)
    if version < 1:
        return Reach(0, "none", ("this kernel has no Landlock (Linux 5.13 has it, when it is in the boot line's lsm=)",), True)
    reasons = [f"Landlock {version}, seccomp"]
    if version < 6:
        reasons.append("Landlock before version 6 (Linux 6.12) does not stop signals to the user's other processes")
    missing = bubblewrap.why_not()
    if missing:
        return Reach(2, "Landlock and seccomp", (*reasons, f"no level 3: {missing}"), True)
    return Reach(3, "bubblewrap, Landlock and seccomp", (*reasons, "bubblewrap"), True)
