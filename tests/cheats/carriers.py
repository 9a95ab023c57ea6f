"""Ways by which something of one process stays behind for a later one: how each is left, and how it is found again.

A carrier has two places, of which one is marked (one bit), or a counter that is moved on. This runs as a worker does
(`python -m carriers`, the job on stdin), one process that marks and another that looks. test_carriers.py plays the table.
"""

import ctypes
import fcntl
import json
import mmap
import os
import resource
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

SIZE_BYTES = 1 << 16
STEPS, THREADS = 20_000, 1000  # how far a counter is moved
GET_FLAGS, SET_FLAGS, NO_DUMP = 0x80086601, 0x40086602, 0x40  # linux/fs.h
GET_VERSION, SET_VERSION = 0x80087601, 0x40087602
GET_RW_HINT, SET_RW_HINT, HINT_SHORT = 1035, 1036, 2  # linux/fcntl.h
CREATE = 0o1600  # IPC_CREAT, and to read and write
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


@dataclass(frozen=True)
class Carrier:
    """mark and look get a place: a path, the id of a process, or for a counter nothing of use."""

    mark: Callable
    look: Callable
    on: str = "file"  # file, folder, process, outside (a file that the harness wrote for the writer), counter, numbers (begin anew)
    open_at: tuple[int, ...] = ()  # the levels that do not close it
    cold: int | None = None  # before it is marked, the files are put out of the kernel's cache, and then show this
    clean: Callable | None = None  # by the test afterwards, without a cell
    everywhere: bool = True  # it works on every Linux where there is no cell


def call(function, *arguments) -> int:
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), function.__name__)
    return result


def key(place) -> int:
    return zlib.crc32(str(place).encode()) & 0x7FFFFFFF


@contextmanager
def opened(path):
    place = os.open(path, os.O_RDONLY)
    try:
        yield place
    finally:
        os.close(place)


@contextmanager
def mapped(path):
    with opened(path) as place:
        yield ctypes.c_void_p(libc.mmap(None, SIZE_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, place, 0))


def read(path) -> None:
    with open(path, "rb", buffering=0) as file:
        file.readall()


def disk_reads(path) -> bool:
    """Whether the file had to come from the disk: what a clock shows as well."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    read(path)
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock > before


def resident_pages(path) -> int:
    with mapped(path) as address:
        pages = ctypes.create_string_buffer(SIZE_BYTES // mmap.PAGESIZE)
        call(libc.mincore, address, ctypes.c_size_t(SIZE_BYTES), pages)
        return sum(page & 1 for page in pages.raw[:-1])


def cached_pages(path) -> int:
    with opened(path) as place:
        span, found = (ctypes.c_uint64 * 2)(0, SIZE_BYTES), (ctypes.c_uint64 * 5)()
        call(libc.syscall, ctypes.c_long(451), place, span, found, 0)
        return found[0]


def reads_at_once(path) -> bool:
    with opened(path) as place:
        try:
            return os.preadv(place, [bytearray(mmap.PAGESIZE)], 0, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False


def throw_out(path) -> None:
    with opened(path) as place:
        os.posix_fadvise(place, 0, 0, os.POSIX_FADV_DONTNEED)


def page_out(path) -> None:
    with mapped(path) as address:
        ctypes.string_at(address.value, SIZE_BYTES)
        call(libc.madvise, address, ctypes.c_size_t(SIZE_BYTES), 21)  # MADV_PAGEOUT


def number(path, request: int) -> int:
    with opened(path) as place:
        return struct.unpack("=q", fcntl.ioctl(place, request, bytes(8)))[0]


def set_number(path, request: int, value: int) -> None:
    with opened(path) as place:
        fcntl.ioctl(place, request, struct.pack("=q", value))


def set_flag(path) -> None:
    set_number(path, SET_FLAGS, number(path, GET_FLAGS) | NO_DUMP)


def hint(path) -> int:
    with opened(path) as place:
        return struct.unpack("=Q", fcntl.fcntl(place, GET_RW_HINT, bytes(8)))[0]


def set_hint(path) -> None:
    with opened(path) as place:
        fcntl.fcntl(place, SET_RW_HINT, struct.pack("=Q", HINT_SHORT))


def linked(path) -> None:
    os.link(path, f"link-{key(path)}")


def shared_name(path) -> str:
    return f"/dev/shm/carrier-{key(path)}"


def temporary_name(path) -> str:
    return f"/tmp/carrier-{key(path)}"


def make(path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def queue(path) -> bytes:
    return f"/carrier-{key(path)}".encode()


def queue_made(path) -> None:
    os.close(call(libc.mq_open, queue(path), os.O_CREAT | os.O_RDWR, 0o600, None))


def keyring(name: str, *arguments) -> int:
    return call(libc.syscall, ctypes.c_long({"add": 248, "keyctl": 250}[name]), *arguments)  # x86-64


def set_sched(pid: int) -> None:
    os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def set_affinity(pid: int) -> None:
    os.sched_setaffinity(pid, {max(os.sched_getaffinity(pid))})


def processes() -> None:
    for _ in range(THREADS):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


def newest_process() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def process_handle() -> int:
    handle = os.pidfd_open(os.getpid())
    return os.fstat(handle).st_ino


def process_count() -> int:
    with open("/proc/stat", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("processes"))


def last_process() -> int:
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[-1])


def pipe() -> int:
    ends = os.pipe()
    found = os.fstat(ends[0]).st_ino
    for end in ends:
        os.close(end)
    return found


def cookie() -> int:
    first, second = socket.socketpair()
    with first, second:
        return struct.unpack("=Q", first.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE


def many(act: Callable) -> Callable:
    return lambda place: [act() for _ in range(STEPS)]


def newest(act: Callable) -> Callable:
    """Each processor has a part of the counter: the largest of their answers."""

    def look(place) -> int:
        found, processors = [], os.sched_getaffinity(0)
        for one in processors:
            os.sched_setaffinity(0, {one})
            found.append(act())
        os.sched_setaffinity(0, processors)
        return max(found)

    return look


TABLE: dict[str, Carrier] = {
    # what a file keeps
    "content": Carrier(lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)), lambda p: os.stat(p).st_size),
    "write hint": Carrier(set_hint, hint),
    "rights": Carrier(lambda p: os.chmod(p, 0o640), lambda p: os.stat(p).st_mode),
    "times": Carrier(lambda p: os.utime(p, (1, 1)), lambda p: os.stat(p).st_mtime),
    "attribute": Carrier(lambda p: os.setxattr(p, "user.x", b"1"), os.listxattr, everywhere=False),
    "flag (chattr)": Carrier(set_flag, lambda p: number(p, GET_FLAGS), everywhere=False),
    "version (chattr -v)": Carrier(lambda p: set_number(p, SET_VERSION, 1), lambda p: number(p, GET_VERSION), everywhere=False),
    "another name (hard link)": Carrier(linked, lambda p: os.stat(p).st_ctime_ns, everywhere=False),
    "time of the last reading": Carrier(read, lambda p: os.stat(p).st_atime_ns, open_at=(2,), everywhere=False),
    "time of the last listing": Carrier(os.listdir, lambda p: os.stat(p).st_atime_ns, "folder", open_at=(2,), everywhere=False),
    "a file in a folder": Carrier(lambda p: make(p + "/x"), os.listdir, "folder"),
    "length of an older log": Carrier(lambda p: None, lambda p: os.stat(p).st_size, "outside", open_at=(2,)),
    # what the kernel's cache keeps
    "cached pages (mincore)": Carrier(read, resident_pages, cold=0, everywhere=False),
    "cached pages (cachestat)": Carrier(read, cached_pages, cold=0, everywhere=False),
    "cached pages (preadv2)": Carrier(read, reads_at_once, cold=0, everywhere=False),
    "cached pages (disk reads)": Carrier(read, disk_reads, cold=1, open_at=(2, 3), everywhere=False),
    "pages thrown out (fadvise)": Carrier(throw_out, disk_reads, everywhere=False),
    "pages thrown out (madvise)": Carrier(page_out, disk_reads, everywhere=False),
    # names that all processes share
    "name in /dev/shm": Carrier(
        lambda p: make(shared_name(p)), lambda p: os.path.exists(shared_name(p)), clean=lambda p: os.unlink(shared_name(p))
    ),
    "name in /tmp": Carrier(
        lambda p: make(temporary_name(p)), lambda p: os.path.exists(temporary_name(p)), clean=lambda p: os.unlink(temporary_name(p))
    ),
    "shared memory (System V)": Carrier(
        lambda p: call(libc.shmget, key(p), 4096, CREATE), lambda p: call(libc.shmget, key(p), 0, 0) >= 0,
        clean=lambda p: libc.shmctl(libc.shmget(key(p), 0, 0), 0, None),
    ),
    "semaphore (System V)": Carrier(
        lambda p: call(libc.semget, key(p), 1, CREATE), lambda p: call(libc.semget, key(p), 0, 0) >= 0,
        clean=lambda p: libc.semctl(libc.semget(key(p), 0, 0), 0, 0),
    ),
    "messages (System V)": Carrier(
        lambda p: call(libc.msgget, key(p), CREATE), lambda p: call(libc.msgget, key(p), 0) >= 0,
        clean=lambda p: libc.msgctl(libc.msgget(key(p), 0), 0, None),
    ),
    "messages (POSIX)": Carrier(
        queue_made, lambda p: call(libc.mq_open, queue(p), os.O_RDWR) >= 0,
        clean=lambda p: libc.mq_unlink(queue(p)), everywhere=False,
    ),
    "key": Carrier(
        lambda p: keyring("add", b"user", queue(p), b"x", 1, -4),  # the user's keyring
        lambda p: keyring("keyctl", 10, -4, b"user", queue(p), 0) > 0,
        clean=lambda p: keyring("keyctl", 9, keyring("keyctl", 10, -4, b"user", queue(p), 0), -4), everywhere=False,
    ),
    # what others' processes keep
    "priority": Carrier(lambda p: os.setpriority(os.PRIO_PROCESS, p, 5), lambda p: os.getpriority(os.PRIO_PROCESS, p), "process"),
    "scheduler": Carrier(set_sched, os.sched_getscheduler, "process"),
    "processors": Carrier(set_affinity, lambda p: sorted(os.sched_getaffinity(p)), "process", everywhere=False),
    "limits": Carrier(
        lambda p: resource.prlimit(p, resource.RLIMIT_CORE, (0, 0)), lambda p: resource.prlimit(p, resource.RLIMIT_CORE), "process",
        everywhere=False,
    ),
    # what counts since boot
    "process numbers": Carrier(lambda p: processes(), lambda p: newest_process(), "numbers", open_at=(2,), everywhere=False),
    "process handles": Carrier(lambda p: processes(), lambda p: process_handle(), "counter", everywhere=False),
    "processes in /proc/stat": Carrier(lambda p: processes(), lambda p: process_count(), "counter"),
    "processes in /proc/loadavg": Carrier(lambda p: processes(), lambda p: last_process(), "numbers", everywhere=False),
    "socket cookies": Carrier(many(cookie), newest(cookie), "counter"),
    "inodes of pipes": Carrier(many(pipe), newest(pipe), "counter", open_at=(2, 3)),
}  # fmt: skip


def attempted(act: Callable, place):
    try:
        return act(place)
    except (OSError, ValueError) as error:
        return f"refused: {error}"


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    os.dup2(2, 1)
    if job["what"] == "mark":
        found = {name: str(attempted(TABLE[name].mark, place)) for name, place in job["places"].items()}
    else:
        found = {name: [attempted(TABLE[name].look, place) for place in places] for name, places in job["places"].items()}
    os.write(answer, json.dumps({"type": "done", "found": found}).encode() + b"\n")


if __name__ == "__main__":
    main()
