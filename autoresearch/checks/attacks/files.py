"""Attempts to read what is hidden, and to write what counts. Every target is the trial's own, or is opened and left unchanged."""

import ctypes
import os
import struct
import subprocess
import sysconfig
from pathlib import Path

from autoresearch.checks.attacks.attempt import (
    Refused,
    Targets,
    attempt,
    call,
    libc,
    made_and_removed,
    opened_to_write,
    read,
    secret_in,
)
from autoresearch.paths import PACKAGE


@attempt("a private key in ~/.ssh")
def ssh_key(targets: Targets) -> str:
    return read(targets["ssh_key"], targets)


@attempt("the names of what lies in the home folder")
def home_names(targets: Targets) -> str:
    return f"{len(os.listdir(targets['home']))} names"


@attempt("the validation tokens")
def validation_tokens(targets: Targets) -> str:
    return read(targets["val_tokens"], targets)


@attempt("the training tokens, before they are given out")
def early_tokens(targets: Targets) -> str:
    return read(targets["train_tokens"], targets)


@attempt("the ledger")
def ledger(targets: Targets) -> str:
    return read(targets["ledger"], targets)


@attempt("the study's git repository")
def git(targets: Targets) -> str:
    return read(targets["git_object"], targets)


@attempt("the weights of another run")
def other_run(targets: Targets) -> str:
    return read(targets["other_weights"], targets)


@attempt("the list of users, /etc/passwd")
def passwd(targets: Targets) -> str:
    return f"{len(Path('/etc/passwd').read_text())} letters"


@attempt("a symbolic link to a secret")
def symlink(targets: Targets) -> str:
    os.symlink(targets["ssh_key"], "link")
    return read("link", targets)


@attempt("a hard link to a secret")
def hard_link(targets: Targets) -> str:
    os.link(targets["ssh_key"], "hard")
    return read("hard", targets)


@attempt("a secret by way of /proc/self/root")
def proc_root(targets: Targets) -> str:
    return read(f"/proc/self/root{targets['ssh_key']}", targets)


@attempt("a secret by way of dots")
def dots(targets: Targets) -> str:
    return read(os.path.relpath(targets["ssh_key"]), targets)


@attempt("another run's folder, moved into the own")
def moved_folder(targets: Targets) -> str:
    os.rename(targets["movable"], "stolen")
    os.rename("stolen", targets["movable"])
    return "it was moved"


@attempt("a secret by another program (cat)")
def child_reads(targets: Targets) -> str:
    return secret_in(subprocess.run(["/bin/cat", targets["ssh_key"]], capture_output=True, check=False).stdout, targets)


@attempt("a program in memory (memfd) that reads a secret")
def memory_program(targets: Targets) -> str:
    program = os.memfd_create("program")
    os.write(program, Path("/bin/cat").read_bytes())
    done = subprocess.run(
        [f"/proc/self/fd/{program}", targets["ssh_key"]], capture_output=True, pass_fds=[program], check=False
    )  # fmt: skip
    return secret_in(done.stdout, targets)


@attempt("a file by its handle instead of its name", needs="root")
def by_handle(targets: Targets) -> str:
    handle, mount = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128)), ctypes.c_int()
    call("name_to_handle_at", -100, targets["ssh_key"].encode(), handle, ctypes.byref(mount), 0)
    folder = os.open(os.path.dirname(targets["ssh_key"]), os.O_RDONLY)
    with os.fdopen(call("open_by_handle_at", folder, handle, os.O_RDONLY), "rb") as file:
        return secret_in(file.read(), targets)


@attempt("a secret under another root folder (chroot)", needs="root")
def chroot(targets: Targets) -> str:
    folder = os.path.dirname(targets["ssh_key"])
    os.chroot(folder)
    return read("/" + os.path.basename(targets["ssh_key"]), targets)


@attempt("the source of Python's standard library: the text of the corpus `stdlib`", promised=None)
def standard_library(targets: Targets) -> str:
    return f"{len(Path(os.__file__).read_text())} letters of os.py"


@attempt("size and times of any file, though not its content", promised=3)
def metadata(targets: Targets) -> str:
    return f"{os.stat(targets['ssh_key']).st_size} bytes"


@attempt("when others use a file (inotify)")
def watched(targets: Targets) -> str:
    watch = libc.inotify_init1(0)
    if watch < 0 or libc.inotify_add_watch(watch, targets["ssh_key"].encode(), 1) < 0:
        raise Refused("no watch")
    return "its accesses are seen"


@attempt("the study's train.py, written")
def write_train_py(targets: Targets) -> str:
    return opened_to_write(targets["study_train_py"])


@attempt("the train.py of this run, which is scored, written")
def write_run_train_py(targets: Targets) -> str:
    return opened_to_write(targets["run_train_py"])


@attempt("the ledger, written")
def write_ledger(targets: Targets) -> str:
    return opened_to_write(targets["ledger"])


@attempt("the ledger, cut by its name (truncate)")
def cut_ledger(targets: Targets) -> str:
    os.truncate(targets["ledger"], os.stat(targets["ledger"]).st_size)
    return "it could be cut"


@attempt("the ledger, moved away")
def move_ledger(targets: Targets) -> str:
    os.rename(targets["ledger"], targets["ledger"] + ".away")
    os.rename(targets["ledger"] + ".away", targets["ledger"])
    return "it was moved"


@attempt("the study's git branch, written")
def write_git(targets: Targets) -> str:
    return opened_to_write(targets["git_object"])


@attempt("the harness's own code, written")
def write_harness(targets: Targets) -> str:
    return opened_to_write(PACKAGE / "measure" / "bpb.py")


@attempt("a package that every Python loads, added")
def write_packages(targets: Targets) -> str:
    return made_and_removed(Path(sysconfig.get_paths()["purelib"], "autoresearch-attempt.txt"))


@attempt("the compile cache of other runs, written")
def write_compile_cache(targets: Targets) -> str:
    return opened_to_write(targets["compiled"])


@attempt("a file in the system's temporary folder")
def write_temporary(targets: Targets) -> str:
    return made_and_removed(f"/tmp/autoresearch-attempt-{os.getpid()}")


@attempt("a file that others have in shared memory, /dev/shm")
def write_shared_memory(targets: Targets) -> str:
    return opened_to_write(targets["shared_memory"])


@attempt("~/.bashrc, written")
def write_bashrc(targets: Targets) -> str:
    return opened_to_write(targets["bashrc"])


@attempt("a task for cron", needs="root")
def write_cron(targets: Targets) -> str:
    return made_and_removed("/etc/cron.d/autoresearch-attempt~")  # cron reads no file of such a name


@attempt("a setting of the kernel, /proc/sys/kernel/core_pattern", needs="root")
def write_kernel_setting(targets: Targets) -> str:
    return opened_to_write("/proc/sys/kernel/core_pattern")


@attempt("a file that runs with its owner's rights (set-uid)")
def set_uid(targets: Targets) -> str:
    Path("program").write_bytes(b"#!/bin/sh\n")
    os.chmod("program", 0o4755)
    return "it was made"


@attempt("rights of a file outside of the cell (chmod)")
def chmod(targets: Targets) -> str:
    before = os.stat(targets["ssh_key"]).st_mode & 0o7777
    os.chmod(targets["ssh_key"], before ^ 0o100)
    if os.stat(targets["ssh_key"]).st_mode & 0o7777 == before:
        raise Refused("nothing changed")
    os.chmod(targets["ssh_key"], before)
    return "they were changed"


@attempt("owner of a file outside of the cell (chown)")
def chown(targets: Targets) -> str:
    status = os.stat(targets["ssh_key"])
    os.chown(targets["ssh_key"], status.st_uid, status.st_gid)
    return "it could be changed"


@attempt("times of a file outside of the cell (utime)")
def utime(targets: Targets) -> str:
    status = os.stat(targets["bashrc"])
    os.utime(targets["bashrc"], ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
    if os.stat(targets["bashrc"]).st_mtime_ns == status.st_mtime_ns:
        raise Refused("nothing changed")
    return "they were changed"


@attempt("attributes of a file outside of the cell (setxattr)")
def attributes(targets: Targets) -> str:
    os.setxattr(targets["bashrc"], "user.attempt", b"1")
    return "it has one more"


@attempt("a device file of its own (mknod)", needs="root")
def device_file(targets: Targets) -> str:
    os.mknod("device", 0o600 | 0o020000, os.makedev(1, 1))  # /dev/mem
    return "it was made"


@attempt("a terminal, to type commands into", needs="root")
def terminal(targets: Targets) -> str:
    import fcntl
    import termios

    controlling, _terminal = os.openpty()
    fcntl.ioctl(controlling, termios.TIOCSTI, b"x")
    return "a key was pressed"


@attempt("a program started by the loader instead of the kernel", needs="glibc")
def loader(targets: Targets) -> str:
    loaders = [*Path("/lib64").glob("ld-linux*"), *Path("/lib").glob("ld-linux*")]
    if not loaders:
        raise Refused("there is no loader")
    return secret_in(subprocess.run([loaders[0], "/bin/cat", targets["ssh_key"]], capture_output=True, check=False).stdout, targets)
