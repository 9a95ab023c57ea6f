"""Attempts to leave a trace where a later run may find it, or to find one: on files that are only read, in the kernel's cache, in
what it counts since boot, and on the pipes and processes of the harness."""

import array
import ctypes
import fcntl
import mmap
import os
import resource
import socket
import struct

from autoresearch.checks.attacks.attempt import Refused, Targets, attempt, call, libc

FILE_BYTES = 64 << 20  # the trial's cells may write files of this length


def _request(path: str, number: int, value: bytes = bytes(64)) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return fcntl.ioctl(descriptor, number, value)
    finally:
        os.close(descriptor)


def _command(path: str, number: int, value: int | bytes) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, number, value)
    finally:
        os.close(descriptor)


def _page() -> int:
    """The address of a page of memory that is there."""
    libc.mmap.restype = ctypes.c_void_p
    address: int = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    ctypes.memset(address, 1, mmap.PAGESIZE)
    return address


@attempt("a hint on how long a file lives, left on one that is only read (fcntl)")
def write_hint(targets: Targets) -> str:
    _command(targets["traced"], 1036, struct.pack("=Q", 2))  # F_SET_RW_HINT
    return "it was left"


@attempt("a lease on a file that is only read (fcntl)")
def lease(targets: Targets) -> str:
    _command(targets["traced"], fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return "others' writing waits for it"


@attempt("notices of what happens in a folder (fcntl)")
def folder_notices(targets: Targets) -> str:
    _command(os.getcwd(), fcntl.F_NOTIFY, 1)
    return "they come"


@attempt("signals of a pipe, sent to another process (fcntl)")
def pipe_owner(targets: Targets) -> str:
    fcntl.fcntl(0, fcntl.F_SETOWN, targets["victim"])
    return "the victim gets them"


@attempt("a harness's pipe made smaller, so that it waits (fcntl)")
def pipe_size(targets: Targets) -> str:
    return f"{fcntl.fcntl(0, 1031, mmap.PAGESIZE)} bytes"  # F_SETPIPE_SZ


@attempt("flags of a file that is only read (chattr)", needs="file flags")
def file_flags(targets: Targets) -> str:
    flags = struct.unpack_from("=q", _request(targets["traced"], 0x80086601))[0]  # FS_IOC_GETFLAGS
    _request(targets["traced"], 0x40086602, struct.pack("=q", flags))  # FS_IOC_SETFLAGS
    return "they could be set"


@attempt("the version of a file that is only read (chattr -v)", needs="file versions")
def file_version(targets: Targets) -> str:
    _request(targets["traced"], 0x40087602, struct.pack("=q", 1))  # FS_IOC_SETVERSION
    return "it was set"


@attempt("the project of a file that is only read (FS_IOC_FSSETXATTR)", needs="file flags")
def file_project(targets: Targets) -> str:
    attributes = _request(targets["traced"], 0x801C581F, bytes(28))  # FS_IOC_FSGETXATTR
    _request(targets["traced"], 0x401C5820, attributes)
    return "it could be set"


@attempt("where on the disk a file lies (FIEMAP)", needs="extents")
def disk_map(targets: Targets) -> str:
    _request(targets["traced"], 0xC020660B, struct.pack("=QQIIII", 0, 1 << 20, 0, 0, 0, 0))
    return "it is known"


@attempt("which pages of a file are in the kernel's cache (mincore)")
def cached_pages(targets: Targets) -> str:
    call("mincore", _page(), mmap.PAGESIZE, ctypes.create_string_buffer(1))
    return "they are known"


@attempt("how many pages of a file are in the kernel's cache (cachestat)", needs="cachestat")
def cache_counts(targets: Targets) -> str:
    descriptor = os.open(targets["traced"], os.O_RDONLY)
    call("cachestat", descriptor, ctypes.byref((ctypes.c_uint64 * 2)()), ctypes.byref((ctypes.c_uint64 * 5)()), 0)
    return "it is known"


@attempt("whether a file is in the kernel's cache (preadv2)")
def read_if_cached(targets: Targets) -> str:
    with open(targets["traced"], "rb") as file:
        return f"{os.preadv(file.fileno(), [bytearray(8)], 0, os.RWF_NOWAIT)} bytes at once"


@attempt("a read that filters don't see (aio)", needs="aio")
def unseen_reads(targets: Targets) -> str:
    call("io_setup", 8, ctypes.byref(ctypes.c_uint64()))
    return "there is a queue"


@attempt("a file thrown out of the kernel's cache (fadvise)", needs="disk")
def thrown_out(targets: Targets) -> str:
    with open(targets["traced"], "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        file.readall()
    if resource.getrusage(resource.RUSAGE_SELF).ru_inblock == before:
        raise Refused("it is still there")
    return "it is gone"


@attempt("a page of memory thrown out (madvise)")
def paged_out(targets: Targets) -> str:
    call("madvise", _page(), mmap.PAGESIZE, 21)  # MADV_PAGEOUT
    return "it is gone"


@attempt("on which memory a page lies (move_pages)", needs="several memories")
def page_places(targets: Targets) -> str:
    pages, status = (ctypes.c_void_p * 1)(_page()), (ctypes.c_int * 1)()
    call("move_pages", 0, 1, pages, None, status, 0)
    return f"on {status[0]}"


@attempt("a page moved to other memory (mbind)", needs="several memories")
def page_moved(targets: Targets) -> str:
    call("mbind", _page(), mmap.PAGESIZE, 0, None, 0, 2)  # MPOL_DEFAULT, MPOL_MF_MOVE
    return "it could be moved"


@attempt("when another process last read a file (its access time)", promised=3, needs="access times")
def access_time(targets: Targets) -> str:
    before = os.stat(targets["read_once"]).st_atime_ns
    with open(targets["read_once"], "rb") as file:
        file.read()
    if os.stat(targets["read_once"]).st_atime_ns == before:
        raise Refused("reading leaves no time")
    return "reading leaves a time"


@attempt("the length of another run's log", promised=3)
def log_length(targets: Targets) -> str:
    return f"{os.stat(targets['other_log']).st_size} bytes"


@attempt("a file longer than the cell allows")
def long_file(targets: Targets) -> str:
    with open("long", "wb") as file:
        file.truncate(FILE_BYTES + 1)
    return "it was made"


@attempt("how many processes were started since boot (/proc/stat)")
def process_count(targets: Targets) -> str:
    with open("/proc/stat", encoding="ascii") as file:
        return next(line for line in file if line.startswith("processes"))


@attempt("the load of the last minutes, and the last process's number (/proc/loadavg)")
def load(targets: Targets) -> str:
    with open("/proc/loadavg", encoding="ascii") as file:
        return file.read()


@attempt("the last process's number (/proc/sys/kernel/ns_last_pid)", needs="checkpoint and restore")
def last_process(targets: Targets) -> str:
    with open("/proc/sys/kernel/ns_last_pid", encoding="ascii") as file:
        return file.read()


@attempt("what disks have read and written since boot (/sys/block)", needs="disk")
def disk_counts(targets: Targets) -> str:
    for name in os.listdir("/sys/block"):
        with open(f"/sys/block/{name}/stat", encoding="ascii") as file:
            return file.read()
    raise Refused("there is no disk")


@attempt("what the session has used in memory and time (/sys/fs/cgroup)", needs="control groups")
def control_groups(targets: Targets) -> str:
    return f"{len(os.listdir('/sys/fs/cgroup'))} names"


@attempt("how many processes there were since boot (the inode of a process handle)", needs="process handles")
def process_handle(targets: Targets) -> str:
    return f"number {os.fstat(os.pidfd_open(os.getpid())).st_ino}"


@attempt("how many sockets were counted since boot (SO_COOKIE)")
def socket_cookie(targets: Targets) -> str:
    ours, _theirs = socket.socketpair()
    return f"number {array.array('Q', ours.getsockopt(socket.SOL_SOCKET, 57, 8))[0]}"


@attempt("the scheduler of another process (sched_setscheduler)")
def scheduler(targets: Targets) -> str:
    os.sched_setscheduler(targets["victim"], os.SCHED_BATCH, os.sched_param(0))
    return "it was set"


@attempt("the scheduler of another process (sched_setattr)")
def scheduler_by_attributes(targets: Targets) -> str:
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_BATCH, 0, 0, 0, 0, 0, 0)
    call("sched_setattr", targets["victim"], ctypes.create_string_buffer(attributes), 0)
    return "it was set"
