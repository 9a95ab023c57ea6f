"""Windows: an AppContainer without capabilities for the fence, and a job object that ends all processes with the harness.

Not run on Windows yet. So the container is not used: the level there is 0, and WSL2, where the Linux sandbox works, is the
recommended way. Its data and calls are here for whoever has a Windows machine: `grants` once for the folders of a cell,
`make_container`, and a process started with it (SECURITY_CAPABILITIES). The job object holds every worker (launch.py).
"""

import ctypes
import subprocess
from typing import Any

from autoresearch.sandbox.levels import Reach
from autoresearch.sandbox.policy import Cell

CONTAINER = "autoresearch.worker"
CAPABILITIES: tuple[str, ...] = ()  # internetClient and the like: none, so there is no network
KILL_ON_JOB_CLOSE, DIE_ON_UNHANDLED_EXCEPTION = 0x2000, 0x400  # JOBOBJECT_BASIC_LIMIT_INFORMATION.LimitFlags
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
SYSTEM: Any = ctypes  # WinDLL and its errors, which are there on Windows only
ALREADY_EXISTS = -2147024713  # HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)


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
        self._kernel.CloseHandle(self._job)


def make_container() -> ctypes.c_void_p:
    """The container's SID, made when it is not there. Raises OSError."""
    userenv, sid = SYSTEM.WinDLL("userenv"), ctypes.c_void_p()
    result = userenv.CreateAppContainerProfile(CONTAINER, CONTAINER, "code that an agent wrote", None, 0, ctypes.byref(sid))
    if result == ALREADY_EXISTS:
        result = userenv.DeriveAppContainerSidFromAppContainerName(CONTAINER, ctypes.byref(sid))
    if result:
        raise OSError(f"no AppContainer (HRESULT {result & 0xFFFFFFFF:#x})")
    return sid


def grants(cell: Cell, sid: str) -> list[list[str]]:
    """The commands that open a cell's folders to the container; a container sees nothing of the user's else."""
    reads = [["icacls", path, "/grant", f"*{sid}:(OI)(CI)(RX)", "/Q"] for path in cell.reads if path not in cell.writes]
    return reads + [["icacls", path, "/grant", f"*{sid}:(OI)(CI)(M)", "/Q"] for path in cell.writes]


def reach() -> Reach:
    reason = "AppContainer is written and was never run, so it is not used; under WSL2 the Linux sandbox works"
    return Reach(0, "none", (reason,), False)
