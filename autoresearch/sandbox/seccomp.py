"""The filter of system calls: a BPF program as data, made from the lists below. linux.py loads it.

Everything is allowed but what is listed: new sockets, looking into other processes, the kernel's rarer doors, and what Landlock
does not see (chmod, times, attributes of files that one owns). A call of another architecture's ABI ends the process.
"""

from dataclasses import dataclass

from autoresearch.sandbox.syscalls import ARCHITECTURES, number

KILL, ALLOW = 0x80000000, 0x7FFF0000  # linux/seccomp.h
EPERM, ENOSYS = 0x00050000 | 1, 0x00050000 | 38
X32_BIT = 0x40000000
LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # linux/bpf_common.h

# A pair of connected sockets may be made; a datagram one could be pointed at another socket's name, and is not allowed below.
FORBIDDEN = (
    "socket", "connect", "bind", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "pidfd_getfd", "kcmp", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget",
    "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "modify_ldt", "migrate_pages", "mount",
    "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "unshare", "setns", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes", "futimesat", "utimensat",
    "file_setattr", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat", "mknod", "mknodat", "swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load", "init_module",
    "finit_module", "delete_module", "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "iopl", "ioperm",
    "syslog", "vhangup", "name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark", "lookup_dcookie",
)  # fmt: skip
# glibc falls back to clone, whose flags a filter can read; programs fall back from io_uring, which no filter sees through.
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
BEFORE_LANDLOCK_3 = ("truncate",)  # Landlock sees it from its third version on


@dataclass(frozen=True)
class If:
    """EPERM when (word & mask) is one of `values` (inside) or none of them (not inside)."""

    argument: int
    mask: int
    values: tuple[int, ...]
    inside: bool
    high: bool = False  # the upper 32 bits of the argument


NEW_NAMESPACES = 0x7E020080  # CLONE_NEW* of linux/sched.h: user, pid, net, ipc, uts, cgroup, mount, time
ANY = 0xFFFFFFFF
CONDITIONS = {
    "clone": (If(0, NEW_NAMESPACES, (0,), inside=False),),
    "socketpair": (If(1, 0xF, (1, 5), inside=False),),  # SOCK_STREAM, SOCK_SEQPACKET
    "sendto": (If(4, ANY, (0,), inside=False), If(4, ANY, (0,), inside=False, high=True)),  # to a named address
    "ioctl": (If(1, ANY, (0x5412, 0x541C), inside=True),),  # TIOCSTI, TIOCLINUX: typing into a terminal
    "setpriority": (If(0, ANY, (2,), inside=True), If(1, ANY, (0,), inside=False)),  # of the whole user, of another process
    "ioprio_set": (If(1, ANY, (0,), inside=False),),
    "prlimit64": (If(0, ANY, (0,), inside=False),),
}

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k


def program(machine: str, landlock_abi: int) -> list[Instruction]:
    """For a machine of ARCHITECTURES (KeyError for another)."""
    forbidden = [*FORBIDDEN, *(BEFORE_LANDLOCK_3 if landlock_abi < 3 else ())]
    found = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine][1]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        found += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, KILL)]
    for names, answer in ((forbidden, EPERM), (ABSENT, ENOSYS)):
        for name in names:
            if (call := number(name, machine)) is not None:
                found += [(EQUAL, 0, 1, call), (RETURN, 0, 0, answer)]
    for name, conditions in CONDITIONS.items():
        block = [step for condition in conditions for step in _steps(condition)] + [(RETURN, 0, 0, ALLOW)]
        found += [(EQUAL, 0, len(block), number(name, machine)), *block]
    return [*found, (RETURN, 0, 0, ALLOW)]


def _steps(condition: If) -> list[Instruction]:
    offset = 16 + 8 * condition.argument + 4 * condition.high  # struct seccomp_data, little-endian
    count = len(condition.values)
    # A value that is met jumps to (inside) or behind (not inside) the refusal; so does the last one that is not.
    tests = [(EQUAL, count - 1 - index + (0 if condition.inside else 1), 0, value) for index, value in enumerate(condition.values)]
    if condition.inside:
        tests[-1] = (EQUAL, 0, 1, condition.values[-1])
    return [(LOAD, 0, 0, offset), (AND, 0, 0, condition.mask), *tests, (RETURN, 0, 0, EPERM)]
