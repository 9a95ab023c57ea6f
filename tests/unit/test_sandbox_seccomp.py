"""The filter of system calls as data: a small BPF machine runs it over calls."""

import re
from pathlib import Path

import pytest

from autoresearch.sandbox import seccomp
from autoresearch.sandbox.syscalls import ARCHITECTURES, NUMBERS, number

MACHINES = sorted(ARCHITECTURES)


def answer(machine: str, call: int, arguments=(), architecture: int | None = None, abi: int = 7, has_devices=False) -> int:
    """What the kernel would do: the program over a struct seccomp_data, as in linux/filter.h."""
    words = {0: call, 4: ARCHITECTURES[machine][1] if architecture is None else architecture}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words |= {16 + 8 * index: value & 0xFFFFFFFF, 20 + 8 * index: value >> 32 & 0xFFFFFFFF}
    program, at, accumulator = seccomp.program(machine, abi, has_devices), 0, 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == seccomp.LOAD:
            accumulator = words[k]
        elif code == seccomp.AND:
            accumulator &= k
        elif code == seccomp.EQUAL:
            at += if_true if accumulator == k else if_false
        elif code == seccomp.AT_LEAST:
            at += if_true if accumulator >= k else if_false
        else:
            assert code == seccomp.RETURN
            return k


def named(name: str, *arguments: int, machine: str = "x86_64", abi: int = 7, has_devices: bool = False) -> int:
    return answer(machine, number(name, machine), arguments, abi=abi, has_devices=has_devices)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_listed_is_refused_and_what_is_not_is_allowed(machine):
    for name in seccomp.FORBIDDEN:
        if number(name, machine) is not None:
            assert named(name, machine=machine) == seccomp.EPERM, name
    for name in seccomp.ABSENT:
        assert named(name, machine=machine) == seccomp.ENOSYS, name
    for name in seccomp.IDLE:
        assert named(name, machine=machine) == seccomp.NOTHING_DONE, name
    for name in ("getpid", "memfd_create", "kill", "landlock_restrict_self", "seccomp"):
        assert named(name, machine=machine) == seccomp.ALLOW, name
    for name in seccomp.LOOKUPS:
        if number(name, machine) is not None:
            assert named(name, machine=machine) == seccomp.ASK, name
    assert answer(machine, max(calls[ARCHITECTURES[machine][0]] or 0 for calls in NUMBERS.values())) != seccomp.ENOSYS
    assert answer(machine, seccomp.NEWEST + 1) == seccomp.ENOSYS, "what came later is not known here"
    assert named("truncate", machine=machine, abi=2) == seccomp.EPERM, "Landlock does not see it yet"


@pytest.mark.parametrize("machine", MACHINES)
def test_another_abi_ends_the_process(machine):
    assert answer(machine, 1, architecture=0x40000003) == seccomp.KILL  # AUDIT_ARCH_I386
    x32 = answer(machine, 0x40000000 | 39)
    assert x32 == (seccomp.KILL if machine == "x86_64" else seccomp.ENOSYS)  # aarch64 has no such calls


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "is_allowed"),
    [
        ("clone", (0x00010900,), False),  # a thread with descriptors of its own
        ("close_range", (3, 9, 0), True),
        ("close_range", (3, 9, 2), False),  # the same
        ("clone", (0x10000011,), False),  # a user namespace
        ("clone", (0x40000011,), False),  # a network namespace
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 0x80001), True),  # close on exec
        ("socketpair", (1, 5), True),
        ("socketpair", (1, 2), False),  # datagrams can be sent elsewhere
        ("socketpair", (40, 1), False),  # a family whose module the kernel would look for
        ("sendto", (3, 0, 0, 0, 0), True),
        ("sendto", (3, 0, 0, 0, 0x7F00_0000_0000), False),  # the upper half of the pointer alone
        ("sendto", (3, 0, 0, 0, 0x1000), False),
        ("ioctl", (0, 0x5412), False),
        ("ioctl", (0, 0x541C), False),
        ("ioctl", (0, 0x5401), True),
        ("setpriority", (0, 0), True),
        ("setpriority", (0, 1234), False),
        ("setpriority", (2, 0), False),
        ("prlimit64", (0,), True),
        ("prlimit64", (1,), False),
        ("ioprio_set", (1, 0), True),
        ("ioprio_set", (1, 7), False),
        ("ioctl", (0, 0x80086601), False),  # FS_IOC_GETFLAGS; without devices only what is listed
        ("ioctl", (0, 0xC0104600), False),
        ("fcntl", (3, 1), True),  # F_GETFD
        ("fcntl", (3, 1030, 0), True),  # F_DUPFD_CLOEXEC
        ("fcntl", (3, 1033, 8), True),  # F_ADD_SEALS
        ("fcntl", (3, 1024, 0), False),  # F_SETLEASE
        ("fcntl", (3, 1026, 1), False),  # F_NOTIFY
        ("fcntl", (3, 1031, 4096), False),  # F_SETPIPE_SZ
        ("fcntl", (3, 1035, 0x7F00), False),  # F_GET_RW_HINT
        ("fcntl", (3, 1036, 0x7F00), False),  # F_SET_RW_HINT
        ("fcntl", (3, 1038, 0x7F00), False),  # F_SET_FILE_RW_HINT
        ("fcntl", (3, 8, 1), False),  # F_SETOWN
        ("fcntl", (3, 10, 9), False),  # F_SETSIG
        ("fcntl", (3, 15, 0x7F00), False),  # F_SETOWN_EX
        ("madvise", (0x1000, 4096, 4), True),  # MADV_DONTNEED
        ("madvise", (0x1000, 4096, 14), True),  # MADV_HUGEPAGE
        ("madvise", (0x1000, 4096, 20), False),  # MADV_COLD
        ("madvise", (0x1000, 4096, 21), False),  # MADV_PAGEOUT
        ("madvise", (0x1000, 4096, 25), False),  # MADV_COLLAPSE
        ("mbind", (0x1000, 4096, 1, 0, 0, 0), True),
        ("mbind", (0x1000, 4096, 1, 0, 0, 2), False),  # MPOL_MF_MOVE
        ("sched_setscheduler", (0, 3, 0x7F00), True),
        ("sched_setscheduler", (77, 3, 0x7F00), False),
        ("sched_setparam", (77, 0x7F00), False),
        ("sched_setattr", (0, 0x7F00, 0), True),
        ("sched_setattr", (77, 0x7F00, 0), False),
        ("clone", (0x00001011,), False),  # a process handle
        ("getsockopt", (3, 1, 4), True),  # SO_ERROR
        ("getsockopt", (3, 1, 57), False),  # SO_COOKIE
        ("setsockopt", (3, 1, 76), False),  # SO_PASSPIDFD
    ],
)
def test_arguments_decide(machine, name, arguments, is_allowed):
    assert named(name, *arguments, machine=machine) == (seccomp.ALLOW if is_allowed else seccomp.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_counts_is_asked_for(machine):
    for name in seccomp.COUNTED:
        if number(name, machine) is not None:
            assert named(name, machine=machine) == seccomp.ASK, name
    assert named("clone", 0x4111, machine=machine) == seccomp.ASK  # vfork
    assert named("clone", 17, machine=machine) == seccomp.ASK  # fork
    assert named("clone", 0x003D0F00, machine=machine) == seccomp.ASK  # a thread, as glibc makes it
    assert named("clone", 0x01200011, machine=machine) == seccomp.ASK  # fork, as glibc makes it
    for lock in (5, 6, 7, 36, 37, 38):  # F_GETLK to F_OFD_SETLKW
        assert named("fcntl", 3, lock, 0x7F00, machine=machine) == seccomp.ASK
    assert {named(name, 3, machine=machine) for name in ("flock", "recvmsg", "recvmmsg")} == {seccomp.ASK}
    for flags, found in ((0x22, seccomp.ALLOW), (0x02, seccomp.ALLOW), (0x21, seccomp.ASK), (0x03, seccomp.ASK)):
        assert named("mmap", 0, 4096, 3, flags, machine=machine) == found
    assert named("mmap", 0, 4096, 3, 0x21, machine=machine, has_devices=True) == seccomp.ALLOW, "drivers map what they share"


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_not_an_error_is_not_done_either(machine):
    for who in (0, 77):  # itself, which stays on its worker's processors; a thread of its own, or another process
        assert named("sched_setaffinity", who, 8, machine=machine) == seccomp.NOTHING_DONE
    for name in ("preadv2", "pwritev2"):
        assert named(name, 3, 0, 1, 0, 0, 0, machine=machine) == seccomp.ALLOW
        assert named(name, 3, 0, 1, 0, 0, 8, machine=machine) == seccomp.EOPNOTSUPP  # RWF_NOWAIT


@pytest.mark.parametrize("machine", MACHINES)
def test_a_driver_may_be_asked_what_a_file_system_may_not(machine):
    for request in (0xC0104600, 0x30000001, 27, 0xC0046440, 0xC0184B02, 0x5401):  # NVIDIA, its memory, DRM, AMD, a terminal?
        assert named("ioctl", 3, request, machine=machine, has_devices=True) == seccomp.ALLOW, hex(request)
    # TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FITRIM, FICLONE, FS_IOC_FIEMAP, a namespace's id
    for request in (0x5412, 0x541C, 0x40086602, 0x401C5820, 0x40087602, 0xC0185879, 0x40049409, 0xC020660B, 0x8008B70D):
        assert named("ioctl", 3, request, machine=machine, has_devices=True) == seccomp.EPERM, hex(request)


@pytest.mark.parametrize("machine", MACHINES)
def test_with_devices_there_is_the_one_socket_that_libcuda_listens_on_and_nothing_reaches_it(machine):
    """A name without a file, SOCK_SEQPACKET: without it cuInit fails, and on an H200 no training began."""
    for call in (("socket", 1, 0x80005, 0), ("socket", 1, 5, 0)):
        assert named(*call, machine=machine, has_devices=True) == seccomp.ALLOW, call
        assert named(*call, machine=machine) == seccomp.EPERM, call
    assert named("bind", 3, 0x1000, 28, machine=machine, has_devices=True) == seccomp.ASK, "refused once it is locked in"
    assert named("bind", 3, 0x1000, 28, machine=machine) == seccomp.EPERM
    assert named("ioctl", 3, 0x8927, machine=machine, has_devices=True) == seccomp.EPERM, "SIOCGIFHWADDR"
    for call in (("socket", 1, 1, 0), ("socket", 1, 2, 0), ("socket", 2, 5, 0), ("connect", 3), ("accept", 3), ("accept4", 3)):
        assert named(*call, machine=machine, has_devices=True) == seccomp.EPERM, call


@pytest.mark.parametrize("has_devices", [False, True])
@pytest.mark.parametrize("machine", MACHINES)
def test_jumps_stay_inside(machine, has_devices):
    program = seccomp.program(machine, 1, has_devices)
    assert len(program) < 4096  # BPF_MAXINSNS
    for at, (code, if_true, if_false, _) in enumerate(program):
        if code in (seccomp.EQUAL, seccomp.AT_LEAST):
            assert max(if_true, if_false) < 256 and at + 1 + max(if_true, if_false) < len(program)
    assert program[-1] == (seccomp.RETURN, 0, 0, seccomp.ALLOW)


HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_the_headers(machine):
    found = next((path for path in HEADERS[machine] if path.exists()), None)
    if found is None:
        pytest.skip("the kernel's headers are not installed")
    known = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", found.read_text())}
    compared = [name for name in NUMBERS if name in known]
    assert len(compared) > 80
    for name in compared:
        assert number(name, machine) == known[name], name


# Words in the names of calls that take a path, and of those that have such a word and take none.
PATHS = "open|^creat$|access|stat|readlink|exec|chdir|dir$|dirat$|link|rename|symlink|truncate|xattr|chmod|chown|utime|mknod|at2?$"
NONE = "^(f(stat|truncate|chdir|listxattr|getxattr|statfs)|ustat|statmount)$"


def test_no_call_with_a_path_is_left_out():
    """Of those that this machine's headers know."""
    found = next((path for path in HEADERS["x86_64"] if path.exists()), None)
    if found is None:
        pytest.skip("the kernel's headers are not installed")
    names = re.findall(r"#define __NR_(\w+)\s+\d+", found.read_text())
    taking = [name for name in names if re.search(PATHS, name) and not re.search(NONE, name)]
    assert len(taking) > 50
    assert set(taking) <= {*seccomp.LOOKUPS, *seccomp.FORBIDDEN, *seccomp.ABSENT}
