"""Landlock, the kernel's own fence around files, TCP and signals, through three system calls (landlock(7)). No root is needed."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Mapping

from autoresearch.sandbox.syscalls import present

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
OF_ABI = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # version: the file rights that it brought
BIND_TCP, CONNECT_TCP = 1, 2  # since 4
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2  # since 6

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
DEVICE = READ | WRITE_FILE | IOCTL_DEV
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others are of folders

_libc = ctypes.CDLL(None, use_errno=True)


def abi(machine: str) -> int:
    """The kernel's version of Landlock; 0 without it."""
    call = present("landlock_create_ruleset", machine)
    version: int = _libc.syscall(ctypes.c_long(call), None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, version)


def handled(version: int) -> int:
    """Every file right that this version knows: what no rule gives is refused."""
    return sum(rights for since, rights in OF_ABI.items() if since <= version)


def ruleset(version: int, has_network: bool = False) -> bytes:
    """struct landlock_ruleset_attr, as long as this version's."""
    fields = [handled(version)]
    if version >= 4:
        fields.append(0 if has_network else BIND_TCP | CONNECT_TCP)
    if version >= 6:
        fields.append(SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS)
    return struct.pack(f"={len(fields)}Q", *fields)


def restrict(rights: Mapping[str, int], machine: str, version: int, has_network: bool = False) -> None:
    """Fence this thread and all that it starts: each path, and what lies under it, has those rights. Raises OSError."""
    attribute = ruleset(version, has_network)
    fence = _call("landlock_create_ruleset", machine, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint32(0))
    try:
        for path, wanted in rights.items():
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                known = handled(version) if stat.S_ISDIR(os.fstat(descriptor).st_mode) else handled(version) & OF_FILES
                rule = struct.pack("=Qi", wanted & known, descriptor)
                _call("landlock_add_rule", machine, ctypes.c_int(fence), ctypes.c_int(1), rule, ctypes.c_uint32(0))
            finally:
                os.close(descriptor)
        _call("landlock_restrict_self", machine, ctypes.c_int(fence), ctypes.c_uint32(0))
    finally:
        os.close(fence)


def _call(name: str, machine: str, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(present(name, machine)), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)} ({errno.errorcode.get(code, code)})")
    return result
