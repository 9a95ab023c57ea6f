"""Put this process into a cell on Linux: no new privileges, no capabilities, Landlock, and the filter of system calls last, whose
listener goes to the harness (lookups.py).

Promises: after `apply` returns, this process and all that it starts are inside, for good; when a part can't be applied, OSError.
It must be called while there is one thread: Landlock fences the calling thread, and those that it starts later.
"""

import ctypes
import errno
import os
import platform
import socket
import struct

from autoresearch.sandbox import landlock, lookups, seccomp
from autoresearch.sandbox.policy import Cell
from autoresearch.sandbox.syscalls import ARCHITECTURES, present

NO_NEW_PRIVILEGES, SECCOMP_FILTER, NEW_LISTENER = 38, 1, 8  # linux/prctl.h, linux/seccomp.h
CAPABILITIES_VERSION = 0x20080522  # linux/capability.h
# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root still reads other users' files, where the cell lets it
KEPT_CAPABILITIES = 1 << 1 | 1 << 2

_libc = ctypes.CDLL(None, use_errno=True)


def apply(cell: Cell, door: int) -> None:
    """door: the descriptor of a socket to the harness's Lookups. Raises OSError with one line."""
    is_own = cell.is_command and cell.level >= 3  # its network and what it may write are nobody else's
    machine, version = _restrict(cell, has_network=is_own)
    to_harness = socket.socket(fileno=door)
    if is_own:
        program = seccomp.with_network(machine, has_own_root=True, is_asked=True)
    else:
        program = seccomp.program(machine, version, bool(cell.devices), is_command=cell.is_command)
    listener = _load(program, machine, NEW_LISTENER)
    lookups.hand_over(listener, to_harness)
    _prove(machine)


def apply_with_network(cell: Cell, to_keeper: socket.socket) -> None:
    """The same for a program that needs the network (fence.py): its keeper is asked for new processes alone, and sockets are the
    internet's.
    """
    machine, _ = _restrict(cell, has_network=True)
    listener = _load(seccomp.with_network(machine, has_own_root=False), machine, NEW_LISTENER)
    lookups.hand_over(listener, to_keeper)
    _prove(machine)


def _restrict(cell: Cell, has_network: bool = False) -> tuple[str, int]:
    """Landlock, without rights of root: (machine, Landlock's version). Raises OSError."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter of system calls is written for {machine}")
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise OSError(errno.EBUSY, f"{threads} threads are running already")
    version = landlock.abi(machine)
    if version < 1:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    _check(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    _drop_capabilities(machine)
    landlock.restrict(rights(cell), machine, version, has_network)
    return machine, version


def rights(cell: Cell) -> dict[str, int]:
    """Landlock's rights for each path of the cell."""
    wanted = dict.fromkeys(cell.reads, landlock.READ)
    for paths, more in ((cell.writes, landlock.WRITE), (cell.devices, landlock.DEVICE)):
        for path in paths:
            wanted[path] = wanted.get(path, 0) | more
    return wanted


def _drop_capabilities(machine: str) -> None:
    header = struct.pack("=Ii", CAPABILITIES_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, held), "capget")
    effective, permitted, _, *_ = struct.unpack("=6I", held.raw)
    kept = struct.pack("=6I", effective & KEPT_CAPABILITIES, permitted & KEPT_CAPABILITIES, 0, 0, 0, 0)
    _check(_libc.syscall(ctypes.c_long(present("capset", machine)), header, kept), "capset")


def _load(instructions: list[seccomp.Instruction], machine: str, flags: int = 0) -> int:
    """The listener, where one is asked for. EBUSY: a program around this one listens already, as some container managers do."""
    code = ctypes.create_string_buffer(seccomp.packed(instructions))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(code))
    call = ctypes.c_long(present("seccomp", machine))
    return _check(_libc.syscall(call, ctypes.c_uint(SECCOMP_FILTER), ctypes.c_uint(flags), program), "seccomp")


def _prove(machine: str) -> None:
    """Both fences hold: a socket is refused by the one, the root folder by the other."""
    made = _libc.syscall(ctypes.c_long(present("socket", machine)), 1, 1, 0)
    if made >= 0 or ctypes.get_errno() != errno.EPERM:
        raise OSError(errno.EPERM, "the filter of system calls does not hold")
    try:
        os.listdir("/")
    except PermissionError:
        return
    raise OSError(errno.EPERM, "Landlock does not hold")


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
