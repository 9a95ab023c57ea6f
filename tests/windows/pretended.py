"""A Linux Python that is Windows to this project's code, as far as that can be had: for tests/windows/test_pretended.py alone.

Imported at the start of each Python of an environment made for it (`environment`), so in every child process too. What modules of
the project import is exchanged: sys.platform is "win32", os.name is "nt"; fcntl, resource, pwd and the like are not there, nor what
Windows lacks of os, signal, socket, select and time; msvcrt, ctypes.windll and subprocess's flags are there. Libraries see Linux.

For the whole process hold Windows's rules for files, as Microsoft documents them: what any process has open or mapped can't be
removed, renamed or renamed over, what is read-only neither; a folder can't be opened, nor moved over another; a link needs a
privilege; names end in no dot and have no colon; a path of 260 characters is too long; text is written with CR LF, and fsync needs
the right to write. Where the environment holds a file `scanner`, a virus scanner holds each file at its first rename or removal and
at its first opening to append; a file `log` there gets a line of each system call: a process that starts, a job, a lock.

Not Windows: separators, the file system's letters of either case, the scheduler, and all that its kernel does.
"""

import builtins
import contextlib
import errno
import fcntl
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = (str(ROOT / "autoresearch") + os.sep, str(ROOT / "backends") + os.sep)
MISSING = (
    "fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "posix", "syslog", "_posixsubprocess", "spwd", "crypt", "nis",
)  # fmt: skip


def pattern(names: str) -> re.Pattern:
    return re.compile(rf"({'|'.join(names.split())})\Z")


NO_OS = pattern("""
    fork forkpty killpg setsid set[pgu]id setpgrp set(e|re|res)?[ug]id setgroups setpriority set_blocking get(pg|s)id getpgrp
    get(e|re|res)?[ug]id getgroups getloadavg getpriority getrandom sched_.* pidfd_open mkfifo mknod fchmod fchown fchdir l?chown
    chroot memfd_create eventfd.* splice sendfile copy_file_range posix_.* p(read|write).* readv writev uname nice sync f?statvfs
    f?pathconf sysconf.* confstr.* ttyname openpty ctermid wait[34]? waitid W[A-Z]+ (get|set|list|remove)xattr lockf
    (ST|RTLD|SCHED|PRIO)_.*
    O_(DIRECTORY|NOFOLLOW|NONBLOCK|NDELAY|CLOEXEC|PATH|D?SYNC|RSYNC|NOATIME|NOCTTY|ASYNC|DIRECT|LARGEFILE|TMPFILE|ACCMODE)
""")
NO_SIGNAL = pattern("""
    SIG(?!ABRT|FPE|ILL|INT|SEGV|TERM|BREAK|_)[A-Z0-9]+ SIG_(BLOCK|UNBLOCK|SETMASK) pthread_.* alarm [gs]etitimer sig(wait.*|pending)
    siginterrupt pause ITIMER_.*
""")
SIGBREAK = 21
LOG, SCANNER = os.path.join(sys.prefix, "log"), os.path.join(sys.prefix, "scanner")
RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[1-9]|LPT[1-9])(\..*)?\Z|.*[<>:\"|?*\x00-\x1f].*|.*[. ]\Z", re.IGNORECASE | re.DOTALL)
SYSTEM = ("/proc", "/dev", "/sys", "/usr", "/etc", "/lib")
CREATE_SUSPENDED = 4

_real_open, _real_fsync, _real_rename, _real_import = io.open, os.fsync, os.rename, builtins.__import__
_real_temporary_file = tempfile.TemporaryFile
_is_looking = False
_touched: set[tuple[str, str]] = set()


def log(*words: object) -> None:
    with _quietly(), contextlib.suppress(FileNotFoundError):
        descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)


def refused(winerror: int, path: object, number: int = errno.EACCES) -> OSError:
    error = OSError(number, f"[WinError {winerror}]", str(path))
    error.winerror = winerror
    return error


# What the project's modules import


class Other(types.ModuleType):
    """A module without some of its names and with others; what is set is set in the module itself."""

    def __init__(self, module: types.ModuleType, without=lambda name: False, **instead):
        super().__init__(module.__name__)
        types.ModuleType.__getattribute__(self, "__dict__").update(_module=module, _without=without, _instead=instead)

    def __getattribute__(self, name):
        own = types.ModuleType.__getattribute__(self, "__dict__")
        if name in own["_instead"]:
            return own["_instead"][name]
        if own["_without"](name):
            raise AttributeError(f"Windows's module {own['_module'].__name__!r} has no attribute {name!r}")
        return getattr(own["_module"], name)

    def __setattr__(self, name, value):
        setattr(types.ModuleType.__getattribute__(self, "_module"), name, value)


def _is_ours(importer: dict) -> bool:
    return str(importer.get("__file__", "")).startswith(OURS)


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    if level or not globals or not _is_ours(globals):
        return _real_import(name, globals, locals, fromlist, level)
    if name in MISSING:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if name in STAND_INS:
        return STAND_INS[name]
    found = _real_import(name, globals, locals, fromlist, level)
    return _others().get(found.__name__, found)


def _others() -> dict[str, types.ModuleType]:
    if not _made:
        import ctypes
        import platform
        import select
        import socket

        kernel = Kernel()
        _made.update(
            os=Other(os, NO_OS.match, name="nt", supports_dir_fd=set(), supports_fd={os.stat}, O_BINARY=0, kill=_kill),
            sys=Other(sys, pattern("[gs]etdlopenflags abiflags").match, platform="win32"),
            signal=Other(
                signal, NO_SIGNAL.match, SIGBREAK=SIGBREAK, CTRL_C_EVENT=0, CTRL_BREAK_EVENT=1, signal=_signal, Signals=_Signal,
                getsignal=signal.getsignal,
            ),
            socket=Other(socket, pattern("AF_UNIX AF_NETLINK AF_PACKET SCM_.* (send|recv)_fds").match),
            time=Other(time, pattern("clock_.* CLOCK_.* pthread_getcpuclockid tzset").match),
            select=Other(select, pattern("e?poll devpoll kqueue E?POLL.*").match),
            subprocess=Other(
                subprocess, Popen=Popen, CREATE_NEW_PROCESS_GROUP=0x200, CREATE_NO_WINDOW=0x08000000, CREATE_NEW_CONSOLE=0x10,
                DETACHED_PROCESS=8, CREATE_BREAKAWAY_FROM_JOB=0x01000000,
            ),
            ctypes=Other(
                ctypes, WinDLL=lambda *_, **__: kernel, windll=types.SimpleNamespace(kernel32=kernel, kernelbase=kernel),
                WinError=lambda code=None: refused(code or 5, "kernel32"), get_last_error=lambda: 5, CDLL=_no_library,
                FormatError=lambda code=None: f"[WinError {code}]",
            ),
            platform=Other(
                platform, system=lambda: "Windows", platform=lambda *_: "Windows-10-10.0.19045-SP0", libc_ver=lambda *_: ("", ""),
                machine=lambda: "AMD64",
            ),
        )  # fmt: skip
    return _made


_made: dict[str, types.ModuleType] = {}


def _no_library(name=None, *_, **__):
    raise TypeError("Windows: LoadLibrary wants a name") if name is None else FileNotFoundError(f"Could not find module {name!r}")


class _Signal:
    def __init__(self, number: int):
        self.name = "SIGBREAK" if number == SIGBREAK else signal.Signals(number).name


def _signal(number, handler):
    if number not in (signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV, signal.SIGTERM, SIGBREAK):
        raise ValueError("invalid signal value")
    return signal.signal(number, handler)


def _kill(pid: int, number: int) -> None:
    log("kill", pid, number)
    os.kill(pid, signal.SIGKILL)  # TerminateProcess, whatever the signal is, also for 0


class Popen(subprocess.Popen):
    def __init__(self, args, *more, creationflags=0, pass_fds=(), preexec_fn=None, start_new_session=False, **rest):
        assert not pass_fds, "pass_fds not supported on Windows."
        assert preexec_fn is None, "preexec_fn is not supported on Windows platforms"
        words = [args] if isinstance(args, (str, os.PathLike)) else list(args)
        if shutil.which(words[0]) is None:
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the file specified", words[0])
        if creationflags & CREATE_SUSPENDED:
            words = ["/bin/sh", "-c", 'kill -STOP $$; exec "$0" "$@"', *map(os.fspath, words)]
        has_own_console = bool(creationflags & 0x08000210)
        super().__init__(words, *more, start_new_session=has_own_console, **rest)
        self._handle = self.pid
        log("CreateProcess", self.pid, hex(creationflags))
        while creationflags & CREATE_SUSPENDED and _state(self.pid) not in "TZX":
            time.sleep(0.001)

    def _handle_exitstatus(self, *arguments, **keywords):
        super()._handle_exitstatus(*arguments, **keywords)
        if self.returncode is not None and self.returncode < 0:
            self.returncode = 15  # TerminateProcess's second argument


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "X"


# JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE: the pipe ends with whoever holds the job, too. A process and what it has started are in one
# session here, whatever became of its parent.
KILL_ON_CLOSE = """
import contextlib, os, signal, sys
sys.stdin.read()
for one in map(int, filter(str.isdigit, os.listdir("/proc"))):
    with contextlib.suppress(OSError):
        if os.getsid(one) == int(sys.argv[1]):
            os.kill(one, signal.SIGKILL)
"""


class Kernel:
    """kernel32 and kernelbase: what the project calls of them; anything else is an AttributeError."""

    def __init__(self):
        self._jobs: dict[int, list[subprocess.Popen]] = {}
        for name in (
            "CreateJobObjectW",
            "SetInformationJobObject",
            "AssignProcessToJobObject",
            "TerminateJobObject",
            "CloseHandle",
        ):
            call = types.SimpleNamespace(restype=None, argtypes=None)
            setattr(self, name, type(name, (), {"__call__": staticmethod(getattr(self, f"_{name}")), **vars(call)})())

    def _CreateJobObjectW(self, *_):
        number = 1000 + len(self._jobs)
        self._jobs[number] = []
        log("CreateJobObjectW", number)
        return number

    def _SetInformationJobObject(self, job, kind, limits, size):
        log("SetInformationJobObject", job.value, kind, hex(limits._obj.BasicLimitInformation.LimitFlags), size)
        return 1

    def _AssignProcessToJobObject(self, job, process):
        is_suspended = _state(process.value) == "T"
        log("AssignProcessToJobObject", job.value, process.value, "suspended" if is_suspended else "running")
        words = [sys.executable, "-I", "-S", "-c", KILL_ON_CLOSE, str(process.value)]
        self._jobs[job.value].append(subprocess.Popen(words, stdin=subprocess.PIPE, cwd="/", start_new_session=True))
        return 1

    def _TerminateJobObject(self, job, status):
        log("TerminateJobObject", job.value)
        self._end(job.value)
        return 1

    def _CloseHandle(self, job):
        log("CloseHandle", job.value)
        self._end(job.value)
        return 1

    def _end(self, job: int) -> None:
        for last_handle in self._jobs[job]:
            last_handle.communicate()

    def SetThreadExecutionState(self, state):
        log("SetThreadExecutionState", hex(state.value))
        return 1

    def QueryUnbiasedInterruptTime(self, ticks):
        ticks._obj.value = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 100

    def QueryInterruptTime(self, ticks):
        ticks._obj.value = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 100


def _locking(descriptor: int, mode: int, count: int) -> None:
    """A lock of the handle, from its position on; nobody else reads or writes those bytes, which here means: nothing lies there."""
    assert mode == MSVCRT.LK_NBLCK
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    assert start >= os.fstat(descriptor).st_size, "whoever reads the file would be refused"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the handle, too, and also of one that only reads
    except OSError as error:
        log("locking", os.readlink(f"/proc/self/fd/{descriptor}"), start, count, "refused")
        raise PermissionError(errno.EACCES, "Permission denied") from error
    log("locking", os.readlink(f"/proc/self/fd/{descriptor}"), start, count)


def _no_key(*_):
    raise FileNotFoundError("LongPathsEnabled: as Windows is installed")


MSVCRT, WINREG = types.ModuleType("msvcrt"), types.ModuleType("winreg")
WINREG.HKEY_LOCAL_MACHINE, WINREG.OpenKey = 0x80000002, _no_key
STAND_INS = {"msvcrt": MSVCRT, "winreg": WINREG}
MSVCRT.LK_NBLCK, MSVCRT.LK_UNLCK, MSVCRT.locking = 2, 0, _locking


# Windows's rules for files, in the whole process


@contextlib.contextmanager
def _quietly():
    global _is_looking
    before, _is_looking = _is_looking, True
    try:
        yield
    finally:
        _is_looking = before


def _holder(path: str) -> str | None:
    """Who has a file open or mapped; of a folder, anything in it, or for its current one."""
    below = path + os.sep
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/{pid}/exe").startswith(sys.base_prefix):
                continue  # no Python
            opened = {_link(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")} | {_link(f"/proc/{pid}/cwd")}
            with _real_open(f"/proc/{pid}/maps", errors="replace") as maps:
                opened |= {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count("/") > 1}
            if any(one == path or one.startswith(below) for one in opened):
                return pid
    return None


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def _check_name(path: str) -> None:
    if path.startswith(SYSTEM) or path.startswith((sys.prefix, sys.base_prefix)):
        return
    if len(path) >= 260:
        log("too long", len(path), path)
        raise refused(206, path, errno.ENOENT)
    if any(RESERVED.match(part) for part in path.split("/") if part not in (".", "..")):
        raise refused(123, path, errno.EINVAL)


def _scanned(kind: str, path: str) -> None:
    if (kind, path) not in _touched and os.path.exists(SCANNER):
        _touched.add((kind, path))
        log("scanner holds", path)
        raise refused(32, path)


def _absolute(path) -> str | None:
    return None if isinstance(path, int) else os.path.abspath(os.fsdecode(path))


def _check(event: str, arguments: tuple) -> None:
    if event == "open":
        path, flags = _absolute(arguments[0]), arguments[2]
        if path is None or path.startswith(SYSTEM):
            return
        _check_name(path)
        if os.path.isdir(path):
            raise refused(5, path)
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if writes and os.path.isfile(path) and not os.stat(path).st_mode & 0o200:
            raise refused(5, path)
        if flags & os.O_APPEND:
            _scanned("append", path)
    elif event in ("os.remove", "os.rmdir"):
        path = _absolute(arguments[0])
        if path.startswith(("/dev", "/proc")) or not os.path.lexists(path):
            return
        if event == "os.remove" and not os.path.islink(path) and not os.stat(path).st_mode & 0o200:
            raise refused(5, path)
        if holder := _holder(path):
            log("held", path, holder)
            raise refused(32, path)
        _scanned(event, path)
    elif event == "os.rename":
        source, target = map(_absolute, arguments[:2])
        _check_name(target)
        if not os.path.lexists(source):
            return
        if os.path.isdir(target) or (os.path.isfile(target) and not os.stat(target).st_mode & 0o200):
            raise refused(5, target)
        for path in (source, target):
            if holder := _holder(path):
                log("held", path, holder)
                raise refused(5 if path == target else 32, path)
        _scanned(event, target)
    elif event == "os.mkdir":
        _check_name(_absolute(arguments[0]))
    elif event == "os.symlink":
        raise refused(1314, arguments[1], errno.EINVAL)


def _hook(event: str, arguments: tuple) -> None:
    if event in ("open", "os.remove", "os.rmdir", "os.rename", "os.mkdir", "os.symlink") and not _is_looking:
        with _quietly():
            _check(event, arguments)


def _open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    if "b" not in mode:
        caller = sys._getframe(1).f_code.co_filename
        caller = sys._getframe(2).f_code.co_filename if caller.endswith("pathlib.py") else caller
        assert encoding or not caller.startswith(OURS), f"{caller}: the code page of the system would count for {file}"
        if newline is None and mode.strip("t") not in ("r",):
            newline = "\r\n"
    return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)


def _fsync(descriptor) -> None:
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "FlushFileBuffers needs GENERIC_WRITE")
    _real_fsync(number)


def _rename(source, target, **more) -> None:
    if os.path.lexists(target):
        raise refused(183, target, errno.EEXIST)
    _real_rename(source, target, **more)


def _temporary_file(*arguments, **keywords):
    with _quietly():  # Linux removes its name at once, Windows when it is closed
        return _real_temporary_file(*arguments, **keywords)


def begin() -> None:
    import psutil  # noqa: F401, before anything is exchanged

    tempfile.TemporaryFile = _temporary_file
    shutil._use_fd_functions = False
    os.fsync, os.rename, io.open, builtins.open = _fsync, _rename, _open, _open
    builtins.__import__ = _import
    sys.addaudithook(_hook)


def environment(folder: Path) -> Path:
    """The Python of a new environment in folder, with what this one has installed, in which all of this holds."""
    import site
    import venv

    venv.EnvBuilder(symlinks=True).create(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    lines = [*site.getsitepackages(), str(ROOT), str(Path(__file__).parent), "import pretended; pretended.begin()"]
    (packages / "pretended.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "bin" / "python"
