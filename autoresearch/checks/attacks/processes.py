"""Attempts on other processes: the harness, and a victim of the trial's that holds the secret in memory and environment."""

import ctypes
import os
import resource
import subprocess
import sys

from autoresearch.checks.attacks.attempt import Refused, Targets, attempt, call, libc, opened_to_write, read, secret_in


def _pid(targets: Targets) -> int:
    return targets["victim"]


def _arguments_of(process: int) -> bytes:
    """macOS: command line and environment of a process of the same user, by sysctl(3)."""
    buffer = ctypes.create_string_buffer(1 << 20)  # ARG_MAX
    name, size = (ctypes.c_int * 3)(1, 49, process), ctypes.c_size_t(len(buffer))  # CTL_KERN, KERN_PROCARGS2
    if libc.sysctl(name, 3, buffer, ctypes.byref(size), None, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw[: size.value]


@attempt("the environment of another process, with its keys")
def environment(targets: Targets) -> str:
    if sys.platform == "darwin":
        return secret_in(_arguments_of(_pid(targets)), targets)
    return read(f"/proc/{_pid(targets)}/environ", targets)


@attempt("the command line of another process")
def command_line(targets: Targets) -> str:
    return read(f"/proc/{_pid(targets)}/cmdline", targets)


@attempt("the list of all processes")
def process_list(targets: Targets) -> str:
    os.stat(f"/proc/{_pid(targets)}/status")
    return f"{sum(name.isdecimal() for name in os.listdir('/proc'))} processes"


@attempt("an open file of another process, /proc/PID/fd")
def open_file(targets: Targets) -> str:
    return read(f"/proc/{_pid(targets)}/fd/{targets['victim_fd']}", targets)


@attempt("the root folder of another process, /proc/PID/root")
def root_folder(targets: Targets) -> str:
    return read(f"/proc/{_pid(targets)}/root{targets['ssh_key']}", targets)


@attempt("the memory of another process, /proc/PID/mem")
def memory_file(targets: Targets) -> str:
    with open(f"/proc/{_pid(targets)}/mem", "rb", buffering=0) as file:
        file.seek(targets["victim_address"])
        return secret_in(file.read(100), targets)


@attempt("the memory of another process, by process_vm_readv")
def process_vm_readv(targets: Targets) -> str:
    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(100)
    ours, theirs = Piece(ctypes.addressof(buffer), 100), Piece(targets["victim_address"], 100)
    call("process_vm_readv", _pid(targets), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return secret_in(buffer.raw, targets)


@attempt("control of another process (ptrace)")
def ptrace(targets: Targets) -> str:
    call("ptrace", 0x4206, _pid(targets), 0, 0)  # PTRACE_SEIZE; it ends with this process
    return "it is traced"


@attempt("an open file of another process, by pidfd_getfd")
def pidfd_getfd(targets: Targets) -> str:
    taken = call("pidfd_getfd", os.pidfd_open(_pid(targets)), targets["victim_fd"], 0)
    return secret_in(os.pread(taken, 1000, 0), targets)


@attempt("whether two processes share a file (kcmp)")
def kcmp(targets: Targets) -> str:
    call("kcmp", os.getpid(), _pid(targets), 1, 0, 0)
    return "they were compared"


@attempt("a signal to the harness", landlock=6)
def signal_harness(targets: Targets) -> str:
    os.kill(targets["harness"], 0)
    return "it would arrive"


@attempt("a signal to another process of the user's", landlock=6)
def signal_other(targets: Targets) -> str:
    os.kill(_pid(targets), 0)
    return "it would arrive"


@attempt("a signal by a process handle (pidfd_send_signal)", landlock=6)
def signal_by_handle(targets: Targets) -> str:
    call("pidfd_send_signal", os.pidfd_open(_pid(targets)), 0, None, 0)
    return "it would arrive"


@attempt("a signal to the keeper, the worker's parent", landlock=6)
def signal_keeper(targets: Targets) -> str:
    os.kill(os.getppid(), 0)
    return "it would arrive"


@attempt("limits of another process (prlimit)")
def limits(targets: Targets) -> str:
    resource.prlimit(_pid(targets), resource.RLIMIT_CORE, resource.prlimit(_pid(targets), resource.RLIMIT_CORE))
    return "they could be set"


@attempt("priority of another process (setpriority)")
def priority(targets: Targets) -> str:
    os.setpriority(os.PRIO_PROCESS, _pid(targets), os.getpriority(os.PRIO_PROCESS, _pid(targets)))
    return "it could be set"


@attempt("priority of another process's disk accesses (ioprio_set)")
def disk_priority(targets: Targets) -> str:
    call("ioprio_set", 1, _pid(targets), 2 << 13 | 4)
    return "it could be set"


@attempt("the processors that another process runs on (sched_setaffinity)", needs="several processors")
def processors(targets: Targets) -> str:
    before = os.sched_getaffinity(_pid(targets))
    os.sched_setaffinity(_pid(targets), {min(before)})
    if os.sched_getaffinity(_pid(targets)) == before:
        raise Refused("nothing changed")
    os.sched_setaffinity(_pid(targets), before)
    return "they were set"


@attempt("which process the system ends first when memory is short (oom_score_adj)")
def out_of_memory_victim(targets: Targets) -> str:
    return opened_to_write(f"/proc/{_pid(targets)}/oom_score_adj")


@attempt("a process that goes on after the run (double fork, new session)", ends=True)
def daemon(targets: Targets) -> str:
    """The trial looks whether it still lives after the worker's end, by its arguments."""
    code = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nos.closerange(0, 99)\n"
    code += "time.sleep(60)"
    subprocess.run([sys.executable, "-S", "-c", code, f"daemon-{targets['secret']}"], check=True)
    return "it was started"


@attempt("a group of namespaces of its own (unshare)", needs="root")
def unshare(targets: Targets) -> str:
    call("unshare", 0x00020000)  # CLONE_NEWNS
    return "it has its own mounts"


@attempt("root in a user namespace of its own", needs="user namespaces")
def user_namespace(targets: Targets) -> str:
    call("unshare", 0x10000000)  # CLONE_NEWUSER
    return "it is root there"


@attempt("a new namespace by clone", needs="root")
def clone_namespace(targets: Targets) -> str:
    child = call("clone", 0x00020000 | 17, 0, 0, 0, 0)  # CLONE_NEWNS | SIGCHLD
    if child == 0:
        libc._exit(0)
    os.waitpid(child, 0)
    return "a child has its own mounts"


@attempt("a child by clone3, whose flags no filter can read", needs="clone3")
def clone3(targets: Targets) -> str:
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)
    child = call("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child == 0:
        libc._exit(0)
    os.waitpid(child, 0)
    return "there was a child"


@attempt("the namespaces of another process (setns)", needs="root")
def setns(targets: Targets) -> str:
    call("setns", os.open(f"/proc/{_pid(targets)}/ns/net", os.O_RDONLY), 0)
    return "it is in them"
