"""`python -m autoresearch.sandbox.cover PID FOLDER...`: hide folders from a process of level 3 that is already running.

An empty file system is mounted over each, in the process's own mount namespace. What it has open or mapped stays; a path through
the folder leads nowhere any more. So a process that has seen held-out text can't look names up in file systems that a later one
shares: the kernel remembers names that are there and names that are not, and a clock tells which.

A process of its own, since a namespace can only be entered with one thread. Exit status 1, with the reason, when it can't be done.
"""

import ctypes
import fcntl
import os
import sys

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000  # linux/sched.h
GET_OWNER = 0xB701  # NS_GET_USERNS of linux/nsfs.h: the user namespace that a namespace belongs to
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8  # linux/mount.h


def main() -> None:
    pid, *folders = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    if os.fstat(mounts).st_ino == os.stat("/proc/self/ns/mnt").st_ino:
        raise OSError(0, "it has no mount namespace of its own")
    owner = fcntl.ioctl(mounts, GET_OWNER)  # the process may be in another user namespace, below the one that may mount
    if os.fstat(owner).st_ino != os.stat("/proc/self/ns/user").st_ino:
        _check(libc.setns(owner, NEW_USER), "setns of the user namespace")
    _check(libc.setns(mounts, NEW_MOUNTS), "setns of the mounts")
    for folder in folders:
        flags = ctypes.c_ulong(READ_ONLY | NO_SUID | NO_DEVICES | NO_PROGRAMS)
        _check(libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, b"size=4k,mode=0555"), f"mount over {folder}")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
