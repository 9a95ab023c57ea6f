"""The filter of system calls: a BPF program as data, made from the lists below. linux.py loads it.

Everything is allowed but what is listed: new sockets (but one that a GPU's driver needs), looking into other processes, the
kernel's rarer doors, what Landlock does not see (chmod, times, attributes of files that one owns), and what leaves or finds a
trace of an earlier process on a file that is only read (hints, leases, flags, cached pages). Calls that look a name up are asked
of the harness (lookups.py). A call of another architecture's ABI ends the process, and one that came to Linux after this list was
made is absent.
"""

import struct
from dataclasses import dataclass

from autoresearch.sandbox.syscalls import ARCHITECTURES, number, present

KILL, ASK, ALLOW = 0x80000000, 0x7FC00000, 0x7FFF0000  # linux/seccomp.h; ASK: SECCOMP_RET_USER_NOTIF
EPERM, ENOSYS, EOPNOTSUPP = (0x00050000 | code for code in (1, 38, 95))
NOTHING_DONE = 0x00050000  # the call is not made and answers 0
X32_BIT = 0x40000000
LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # linux/bpf_common.h

# Refused to agent code and to a coding agent alike: what looks into other processes, the user's keyring, memory and queues that
# others see, clocks, modules and names of the machine.
FOR_NOBODY = (
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "ptrace",
    "kcmp", "open_by_handle_at", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget",
    "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    "unshare", "setns", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon",
    "swapoff", "acct", "settimeofday", "clock_settime", "sethostname",
)  # fmt: skip
# A pair of connected sockets may be made; a datagram one could be pointed at another socket's name, and is not allowed below.
FORBIDDEN = (
    *FOR_NOBODY,
    "timer_create",  # its signal wakes a process that is held
    "connect", "accept", "accept4", "process_madvise", "process_mrelease", "userfaultfd", "modify_ldt", "migrate_pages", "mount",
    "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "adjtimex", "clock_adjtime", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown",
    "fchownat", "utime", "utimes", "futimesat", "utimensat", "file_setattr", "setxattr", "lsetxattr", "fsetxattr", "setxattrat",
    "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "mknod", "mknodat", "quotactl", "quotactl_fd", "setdomainname",
    "iopl", "ioperm", "syslog", "vhangup", "name_to_handle_at", "fanotify_init", "fanotify_mark", "lookup_dcookie", "mincore",
    "cachestat", "move_pages", "inotify_init", "inotify_init1", "inotify_add_watch",
)  # fmt: skip
NAMED_SOCKETS = ("socket", "bind")  # in a cell with devices see SOCKET
# glibc falls back to clone, whose flags a filter can read; programs fall back from io_uring and aio, which no filter sees through.
# pidfd_open: the inode of a process handle counts all processes since boot, in any namespace.
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "pidfd_open")
IDLE = ("fadvise64", "readahead")  # advice on what the kernel keeps of a file: taken without a word, and not followed
# All that take a path, also beside a descriptor, and are not refused anyway.
LOOKUPS = (
    "open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx", "statfs",
    "readlink", "readlinkat", "execve", "execveat", "chdir", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename",
    "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "truncate", "getxattr", "lgetxattr", "getxattrat",
    "listxattr", "llistxattr", "listxattrat", "file_getattr", "uselib",
)  # fmt: skip
# Asked for, too: what moves one of the kernel's counters on that a later process can read (sessions, pipes), or its load; a new
# process, which no look at the list of processes may miss, and which none starts while they are held; a lock, which others can
# see; what may take a descriptor out of a socket, where locking in has not seen it; reading a folder, which leaves a time.
COUNTED = ("setsid", "pipe", "pipe2", "fork", "vfork", "flock", "recvmsg", "recvmmsg", "getdents", "getdents64")
NEWEST = 469  # file_setattr, of Linux 6.17
BEFORE_LANDLOCK_3 = ("truncate",)  # Landlock sees it from its third version on


@dataclass(frozen=True)
class If:
    """`answer` when (word & mask) is one of `values` (inside) or none of them (not inside); else the next one is asked."""

    argument: int
    mask: int
    values: tuple[int, ...]
    inside: bool
    high: bool = False  # the upper 32 bits of the argument
    answer: int = EPERM


NEW_NAMESPACES = 0x7E020080  # CLONE_NEW* of linux/sched.h: user, pid, net, ipc, uts, cgroup, mount, time
PROCESS_HANDLE, VFORK = 0x1000, 0x4000  # CLONE_PIDFD, CLONE_VFORK
SHARED_FILES, THREAD = 0x400, 0x10000  # CLONE_FILES, CLONE_THREAD
UNSHARE_FILES = 2  # CLOSE_RANGE_UNSHARE of linux/close_range.h
SHARED_MEMORY = 1  # MAP_SHARED, and a bit of MAP_SHARED_VALIDATE: without a file, or of /dev/zero, it takes a number that counts
ANY = 0xFFFFFFFF
# linux/fcntl.h: copies and flags of a descriptor, the size of a pipe, the seals of a memfd. Not: leases, notices, owners, hints on
# how long a file lives, a pipe's new size. Locks (compilers wait for each other by them) are asked for.
FCNTL = (0, 1, 2, 3, 4, 1027, 1030, 1032, 1033, 1034)
FCNTL_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW, and those of an open file
# asm-generic/ioctls.h: TCGETS, TCGETS2 (is it a terminal?), TIOCGPGRP, TIOCOUTQ, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
IOCTLS = (0x5401, 0x802C542A, 0x540F, 0x5411, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# The second byte of a request: terminals, disks, file systems (flags, attributes, clones, maps), sockets, namespaces, handles of
# processes.
IOCTL_TYPES = tuple(kind << 8 for kind in (0x54, 0x12, 0x15, 0x58, 0x66, 0x72, 0x76, 0x89, 0x93, 0x94, 0xB7, 0xFF))
OF_ITSELF = If(0, ANY, (0,), inside=False)
CONDITIONS = {
    "clone": (
        If(0, NEW_NAMESPACES | PROCESS_HANDLE, (0,), inside=False),
        If(0, SHARED_FILES | THREAD, (THREAD,), inside=True),  # a thread with descriptors of its own: locking in would not see them
        If(0, THREAD, (THREAD,), inside=False, answer=ASK),  # a process
        If(0, VFORK, (0,), inside=False, answer=ASK),
    ),
    "close_range": (If(2, UNSHARE_FILES, (0,), inside=False),),
    "socketpair": (If(0, ANY, (1,), inside=False), If(1, 0xF, (1, 5), inside=False)),  # AF_UNIX; SOCK_STREAM, SOCK_SEQPACKET
    "sendto": (If(4, ANY, (0,), inside=False), If(4, ANY, (0,), inside=False, high=True)),  # to a named address
    "getsockopt": (If(2, ANY, (57, 77), inside=True),),  # SO_COOKIE, SO_PEERPIDFD: numbers that count since boot
    "setsockopt": (If(2, ANY, (76,), inside=True),),  # SO_PASSPIDFD
    "fcntl": (If(1, ANY, FCNTL_LOCKS, inside=True, answer=ASK), If(1, ANY, FCNTL, inside=False)),
    "madvise": (If(2, ANY, (20, 21, 25, 100, 101), inside=True),),  # MADV_COLD, PAGEOUT, COLLAPSE, HWPOISON, SOFT_OFFLINE
    "mbind": (If(5, 0b110, (0,), inside=False),),  # MPOL_MF_MOVE, MPOL_MF_MOVE_ALL: pages of a file too
    "preadv2": (If(5, ANY, (0,), inside=False, answer=EOPNOTSUPP),),  # RWF_NOWAIT: is it cached? RWF_DONTCACHE: throw it out
    "pwritev2": (If(5, ANY, (0,), inside=False, answer=EOPNOTSUPP),),
    "setpriority": (If(0, ANY, (2,), inside=True), If(1, ANY, (0,), inside=False)),  # of the whole user, of another process
    "ioprio_set": (If(1, ANY, (0,), inside=False),),
    "prlimit64": (OF_ITSELF,),
    "sched_setscheduler": (OF_ITSELF,),
    "sched_setparam": (OF_ITSELF,),
    "sched_setattr": (OF_ITSELF,),
    # A run stays on the processors that its worker gave it. OpenMP, which binds its threads when it is asked to, goes on unbound.
    "sched_setaffinity": (If(0, 0, (0,), inside=True, answer=NOTHING_DONE),),
}
# libcuda listens on a socket of its own when it starts (@cuda-uvmfd-..., a name without a file), and starts no more without it: on
# an H200 no training began. At level 3 nothing can reach it; nothing is ever taken from it. Landlock refuses a name with a file.
SOCKET = (If(0, ANY, (1,), inside=False), If(1, 0xF, (5,), inside=False))  # AF_UNIX; SOCK_SEQPACKET
MAPPING = (If(3, SHARED_MEMORY, (0,), inside=False, answer=ASK),)
WITHOUT_DEVICES = (If(1, ANY, IOCTLS, inside=False),)
# Threads too: by a thousand of them, started at the right moment, a process moves the load average, and by each the next number of
# a process. A GPU's driver starts some when it likes.
STARTS = (*CONDITIONS["clone"][:2], If(0, 0, (0,), inside=True, answer=ASK))
WITH_DEVICES = (If(1, ANY, IOCTLS, inside=True, answer=ALLOW), If(1, 0xFF00, IOCTL_TYPES, inside=True))

# A coding agent's program (fence.py): the network, and no socket of this machine's other programs (Docker, ssh-agent, D-Bus), with
# a file or an abstract name; the user's keyring; what looks into other processes, changes them, or makes mounts and namespaces.
WITH_NETWORK = {
    "socket": (If(0, ANY, (2, 10, 16), inside=False),),  # AF_INET, AF_INET6, AF_NETLINK
    "clone": (If(0, NEW_NAMESPACES, (0,), inside=False),),
    **{name: CONDITIONS[name] for name in ("socketpair", "setpriority", "ioprio_set", "prlimit64")},
    **{name: CONDITIONS[name] for name in ("sched_setscheduler", "sched_setparam", "sched_setattr")},
    # threads have numbers that a filter can't tell from other processes'
    "sched_setaffinity": (If(0, ANY, (0,), inside=False, answer=NOTHING_DONE),),
}
# io_uring makes sockets that no filter sees; of clone3 none sees the flags, and C libraries fall back to clone.
UNSEEN = ("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3")
# By path, also of a file that it may not open: Landlock does not see it; at level 3 none is there. By descriptor they go on.
# Modes and times are let be without a word: `git init`, `patch` and `shutil.copy` fail on an error.
BY_PATH = (
    "chown", "lchown", "fchownat", "setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat",
    "file_setattr",
)  # fmt: skip
LET_BE = ("chmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat")
TIMES = {"utimensat": tuple(If(1, ANY, (0,), inside=False, high=high, answer=NOTHING_DONE) for high in (False, True))}  # by path

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k


def program(machine: str, landlock_abi: int, has_devices: bool = False, is_command: bool = False) -> list[Instruction]:
    """For a machine of ARCHITECTURES (KeyError for another). has_devices: the cell holds some, whose ioctls nobody can list.
    is_command: modes and times are let be without a word, as programs that copy want it.
    """
    let_be = (*LET_BE, "fchmod", "utimensat") if is_command else ()
    more = (*(BEFORE_LANDLOCK_3 if landlock_abi < 3 else ()), *(() if has_devices else NAMED_SOCKETS))
    forbidden = [name for name in (*FORBIDDEN, *more) if name not in let_be]
    asked = LOOKUPS + COUNTED + (("bind",) if has_devices else ())  # a name is a note to others: none is taken once it is locked in
    lists = ((tuple(forbidden), EPERM), (ABSENT, ENOSYS), (IDLE + let_be, NOTHING_DONE), (asked, ASK))
    ours = (
        {"ioctl": WITH_DEVICES, "socket": SOCKET} if has_devices else {"ioctl": WITHOUT_DEVICES, "mmap": MAPPING, "clone": STARTS}
    )
    return _program(machine, lists, CONDITIONS | ours)


def with_network(machine: str, has_own_root: bool, is_asked: bool = False) -> list[Instruction]:
    """For a coding agent's program, and a user's command: all but what FOR_NOBODY, UNSEEN and WITH_NETWORK refuse.

    has_own_root: and names of its processes, which end together. Else the user's files are there, and what changes them by path is
    shut as well (BY_PATH, LET_BE, TIMES), and new processes are asked for; is_asked: they are in any case.
    """
    both = ((FOR_NOBODY, EPERM), (UNSEEN, ENOSYS))
    if has_own_root and not is_asked:
        return _program(machine, both, WITH_NETWORK)
    asked = {"clone": (*WITH_NETWORK["clone"], If(0, THREAD, (THREAD,), inside=False, answer=ASK))}
    starts = ("fork", "vfork"), ASK
    if has_own_root:
        return _program(machine, (*both, starts), WITH_NETWORK | {"clone": asked["clone"]})
    lists = (*both, (BY_PATH, EPERM), (LET_BE, NOTHING_DONE), starts)
    return _program(machine, lists, WITH_NETWORK | TIMES | asked)


def packed(instructions: list[Instruction]) -> bytes:
    """As the kernel and bwrap take it: an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _program(
    machine: str, lists: tuple[tuple[tuple[str, ...], int], ...], conditions_of: dict[str, tuple[If, ...]]
) -> list[Instruction]:
    instructions = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine][1]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        instructions += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, KILL)]
    instructions += [(AT_LEAST, 0, 1, NEWEST + 1), (RETURN, 0, 0, ENOSYS)]
    for names, answer in lists:
        for name in names:
            if (call := number(name, machine)) is not None:
                instructions += [(EQUAL, 0, 1, call), (RETURN, 0, 0, answer)]
    for name, conditions in conditions_of.items():
        block = [step for condition in conditions for step in _steps(condition)] + [(RETURN, 0, 0, ALLOW)]
        instructions += [(EQUAL, 0, len(block), present(name, machine)), *block]
    return [*instructions, (RETURN, 0, 0, ALLOW)]


def _steps(condition: If) -> list[Instruction]:
    offset = 16 + 8 * condition.argument + 4 * condition.high  # struct seccomp_data, little-endian
    count = len(condition.values)
    # A value that is met jumps to (inside) or behind (not inside) the refusal; so does the last one that is not.
    tests = [(EQUAL, count - 1 - index + (0 if condition.inside else 1), 0, value) for index, value in enumerate(condition.values)]
    if condition.inside:
        tests[-1] = (EQUAL, 0, 1, condition.values[-1])
    return [(LOAD, 0, 0, offset), (AND, 0, 0, condition.mask), *tests, (RETURN, 0, 0, condition.answer)]
