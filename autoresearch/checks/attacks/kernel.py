"""Attempts on the kernel's rarer doors: shared memory, keys, other ABIs, clocks, mounts, probes."""

import ctypes
import mmap
import os
import platform
import time

from autoresearch.checks.attacks.attempt import Refused, Targets, attempt, call, libc, numbered


@attempt("System V shared memory")
def shared_memory(targets: Targets) -> str:
    segment = call("shmget", 0, 4096, 0o1600)
    call("shmctl", segment, 0, None)  # IPC_RMID
    return "there was a segment"


@attempt("System V semaphores")
def semaphores(targets: Targets) -> str:
    set_id = call("semget", 0, 1, 0o1600)
    call("semctl", set_id, 0, 0, 0)
    return "there was one"


@attempt("a System V message queue")
def message_queue(targets: Targets) -> str:
    queue_id = call("msgget", 0, 0o1600)
    call("msgctl", queue_id, 0, None)
    return "there was one"


@attempt("a POSIX message queue", needs="mqueue")
def posix_queue(targets: Targets) -> str:
    name = f"autoresearch-attempt-{os.getpid()}".encode()
    os.close(call("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None))
    call("mq_unlink", name)
    return "there was one"


@attempt("the kernel's keys (keyctl)", needs="keyctl")
def keys(targets: Targets) -> str:
    return f"keyring {call('keyctl', 0, -3, 1)}"  # KEYCTL_GET_KEYRING_ID of the session


@attempt("a key for later runs (add_key)", needs="keyctl")
def added_key(targets: Targets) -> str:
    key = call("add_key", b"user", b"autoresearch-attempt", b"secret", 6, -2)  # the process's keyring: gone with it
    return f"key {key}"


@attempt("a program in the kernel (bpf)", needs="root")
def bpf(targets: Targets) -> str:
    attributes = (ctypes.c_uint32 * 18)(2, 4, 4, 1)  # BPF_MAP_TYPE_ARRAY
    os.close(call("bpf", 0, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    return "there was a map"


@attempt("performance counters (perf_event_open)", needs="root")
def performance(targets: Targets) -> str:
    attributes = (ctypes.c_uint32 * 32)(1, 128)  # PERF_TYPE_SOFTWARE, of 128 bytes, the processor's clock
    os.close(call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, 0))
    return "there was a counter"


@attempt("page faults at will (userfaultfd)", needs="root")
def page_faults(targets: Targets) -> str:
    os.close(call("userfaultfd", 0))
    return "there was one"


@attempt("a table of segments (modify_ldt)", needs="x86_64")
def segments(targets: Targets) -> str:
    call("modify_ldt", 0, ctypes.create_string_buffer(64), 64)
    return "it was read"


@attempt("a file system, mounted over another", needs="root")
def mount(targets: Targets) -> str:
    libc.unshare(0x00020000)  # so that nobody else sees it
    libc.mount(None, b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    ctypes.set_errno(0)
    if libc.mount(b"none", os.getcwd().encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "it was mounted"


@attempt("a file system by the newer calls (fsopen)", needs="root")
def new_mount(targets: Targets) -> str:
    os.close(call("fsopen", b"tmpfs", 0))
    return "there was one"


@attempt("another time on the computer's clock (clock_settime)", harmless=False)
def set_clock(targets: Targets) -> str:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "the clock was set"


@attempt("the speed of the computer's clock (adjtimex)")
def clock_speed(targets: Targets) -> str:
    call("adjtimex", ctypes.create_string_buffer(256))  # modes 0: it changes nothing
    return "the clock answers"


@attempt("another name for the computer (sethostname)", needs="root")
def host_name(targets: Targets) -> str:
    name = os.uname().nodename.encode()
    call("sethostname", name, len(name))
    return "it could be set"


@attempt("the kernel's log (syslog)", needs="root")
def kernel_log(targets: Targets) -> str:
    return f"{call('syslog', 3, ctypes.create_string_buffer(4096), 4096)} letters"


@attempt("the computer's ports (iopl)", needs="ports")
def ports(targets: Targets) -> str:
    call("iopl", 3)
    return "they are open"


@attempt("accounting of all processes, switched off (acct)", harmless=False)
def accounting(targets: Targets) -> str:
    call("acct", None)
    return "it is off"


@attempt("notices of every file that is opened (fanotify)", needs="root")
def file_notices(targets: Targets) -> str:
    os.close(call("fanotify_init", 0, 0))
    return "they come"


@attempt("a system call of the x32 ABI", needs="x32")
def x32(targets: Targets) -> str:
    return f"process {numbered(0x40000000 | 39)}"  # getpid


@attempt("a system call of the 32-bit ABI (int 0x80)", needs="x86_64")
def int80(targets: Targets) -> str:
    if platform.machine() != "x86_64":
        raise Refused("not this processor")
    code = b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return f"process {ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()}"


@attempt("more rights by a program that has them (no_new_privs)")
def new_privileges(targets: Targets) -> str:
    if libc.prctl(39, 0, 0, 0, 0):  # PR_GET_NO_NEW_PRIVS
        raise Refused("no program gives any")
    return "a set-uid program would give them"


@attempt("root's special rights (capabilities)", needs="root")
def capabilities(targets: Targets) -> str:
    with open("/proc/self/status", encoding="ascii") as file:
        held = int(next(line.split()[1] for line in file if line.startswith("CapEff:")), 16)
    if not held & ~0b110:  # to pass by the owner's rights of files that the cell names
        raise Refused("none is left")
    return f"{held:#x}"


@attempt("the filter taken off by a second one (seccomp)", ends=True)
def second_filter(targets: Targets) -> str:
    program = (ctypes.c_uint16 * 4)(0x06, 0, 0x0000, 0x7FFF)  # return ALLOW
    header = (ctypes.c_uint64 * 2)(1, ctypes.addressof(program))
    call("seccomp", 1, 0, ctypes.byref(header))
    call("kcmp", os.getpid(), os.getpid(), 0, 0, 0)
    if libc.prctl(39, 0, 0, 0, 0) == 0:
        raise Refused("there was none")
    return "the first one is off"


@attempt("the fence widened by a second one (Landlock)", ends=True)
def second_fence(targets: Targets) -> str:
    from autoresearch.sandbox import landlock

    machine = platform.machine()
    libc.prctl(38, 1, 0, 0, 0)
    before = os.access(targets["ssh_key"], os.R_OK)
    try:
        open(targets["ssh_key"], "rb").close()
        raise Refused("there was none")
    except PermissionError:
        landlock.restrict({os.getcwd(): landlock.WRITE}, machine, landlock.abi(machine))
    with open(targets["ssh_key"], "rb"):
        return f"the first one is off ({before})"
