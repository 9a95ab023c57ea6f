"""Windows: an AppContainer without capabilities for the fence, and a job object that ends all processes with the harness.

Not run on Windows yet, and so not used: the level there is 0, and WSL2, where the Linux sandbox works, is the recommended way.
What is here is the data and the calls that a worker needs, so that whoever has a Windows machine can try them:
`grants` once for the folders of a cell, `make_container`, a process started with it (SECURITY_CAPABILITIES), `end_with_us`.
"""

import ctypes
import subprocess

from autoresearch.sandbox.levels import Reach
from autoresearch.sandbox.policy import Cell

CONTAINER = "autoresearch.worker"
CAPABILITIES: tuple[str, ...] = ()  # internetClient and the like: none, so there is no network
KILL_ON_JOB_CLOSE, DIE_ON_UNHANDLED_EXCEPTION = 0x2000, 0x400  # JOBOBJECT_BASIC_LIMIT_INFORMATION.LimitFlags
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
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


def end_with_us(process: subprocess.Popen) -> int:
    """Put a process into a new job; the job's handle, to be kept open as long as the process may live. Raises OSError."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    job, limits = kernel.CreateJobObjectW(None, None), job_limits()
    for ok in (
        job and kernel.SetInformationJobObject(ctypes.c_void_p(job), EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)),
        job and kernel.AssignProcessToJobObject(ctypes.c_void_p(job), ctypes.c_void_p(int(process._handle))),
    ):
        if not ok:
            raise ctypes.WinError(ctypes.get_last_error())
    return job


def make_container() -> ctypes.c_void_p:
    """The container's SID, made when it is not there. Raises OSError."""
    userenv, sid = ctypes.WinDLL("userenv"), ctypes.c_void_p()
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
