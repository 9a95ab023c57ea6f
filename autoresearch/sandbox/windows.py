"""Windows: a job object that ends all processes with the harness; it holds each child of ours (processes.py). There is no fence.

Not run on Windows yet. The level there is 0, and WSL2, where the Linux sandbox works, is the recommended way.
"""

import ctypes
import subprocess
from typing import Any

from autoresearch.sandbox.policy import Reach

CREATE_SUSPENDED = 0x4  # winbase.h; subprocess has no name for it
KILL_ON_JOB_CLOSE, DIE_ON_UNHANDLED_EXCEPTION = 0x2000, 0x400  # JOBOBJECT_BASIC_LIMIT_INFORMATION.LimitFlags
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
SYSTEM: Any = ctypes  # WinDLL and its errors, which are there on Windows only


class BasicLimits(ctypes.Structure):
    _fields_ = [
        ("PerProcessUserTimeLimit", ctypes.c_int64), ("PerJobUserTimeLimit", ctypes.c_int64), ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t), ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32), ("Affinity", ctypes.c_size_t), ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    ]  # fmt: skip


class ExtendedLimits(ctypes.Structure):
    _fields_ = [
        ("BasicLimitInformation", BasicLimits), ("IoInfo", ctypes.c_uint64 * 6), ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t), ("PeakProcessMemoryUsed", ctypes.c_size_t), ("PeakJobMemoryUsed", ctypes.c_size_t),
    ]  # fmt: skip


def job_limits() -> ExtendedLimits:
    """All processes of the job end when its last handle is closed, as the system does for a harness that is killed."""
    limits = ExtendedLimits()
    limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE | DIE_ON_UNHANDLED_EXCEPTION
    return limits


class Job:
    """A job object with one process and all that it starts: they end when it is closed, and when we end. Raises OSError."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self._kernel = kernel = SYSTEM.WinDLL("kernel32", use_last_error=True)
        kernel.CreateJobObjectW.restype = ctypes.c_void_p
        self._job, limits = ctypes.c_void_p(kernel.CreateJobObjectW(None, None)), job_limits()
        handle: int = process._handle  # type: ignore[attr-defined]  # typeshed leaves it out
        if not (
            self._job
            and kernel.SetInformationJobObject(self._job, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))
            and kernel.AssignProcessToJobObject(self._job, ctypes.c_void_p(int(handle)))
        ):
            raise SYSTEM.WinError(SYSTEM.get_last_error())

    def close(self) -> None:
        if self._job:
            self._kernel.CloseHandle(self._job)
            self._job = ctypes.c_void_p()


def hold(process: subprocess.Popen[bytes]) -> Job | None:
    """Put a process that was started suspended in a job of its own, then set it going: before, it can have started nothing that
    is outside (the python.exe of a virtual environment starts the real one at once). None where the system refuses the job.
    """
    import psutil

    try:
        return Job(process)
    except OSError:
        return None
    finally:
        psutil.Process(process.pid).resume()


def reach() -> Reach:
    reason = "no fence is written for Windows; under WSL2 the Linux sandbox works"
    return Reach(0, "none", (reason,), False)
