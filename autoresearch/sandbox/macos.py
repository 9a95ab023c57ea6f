"""Level 2 on macOS: the worker starts under `sandbox-exec` with a Seatbelt profile of our own, which denies what it does not name.

Not run on a Mac yet. What the frameworks need, and what must stay shut, is recorded with its sources in tests/facts/seatbelt.toml,
and the profile is held against it by Seatbelt's own rule. `prove` refuses a cell that does not hold.
"""

import contextlib
import ctypes
import hashlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from autoresearch.sandbox.policy import Cell, Reach

PROGRAM = "/usr/bin/sandbox-exec"


class Rule(NamedTuple):
    """One line of a profile: for any of the operations on what any of the filters names; without a filter, on everything."""

    verdict: str  # allow, deny
    operations: tuple[str, ...]
    filters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"({' '.join((self.verdict, *self.operations, *self.filters))})"


def named(kind: str, *names: str) -> tuple[str, ...]:
    """Filters, one a name. kind: literal, subpath, global-name ..."""
    return tuple(f"({kind} {_quoted(name)})" for name in names)


def place(path: str) -> tuple[str, ...]:
    """The filter of a file, or of a folder with all that is in it."""
    return named("subpath" if os.path.isdir(path) else "literal", path)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


SYSTEM_READS = (
    *named(
        "subpath", "/System", "/Library/Apple", "/Library/Developer", "/Library/Frameworks", "/usr", "/bin", "/sbin",
        "/opt/homebrew", "/opt/local", "/private/var/db/dyld", "/private/var/db/timezone", "/Applications/Xcode.app", "/dev/fd",
    ),
    *named("literal", "/", "/private/etc/localtime", "/dev/random", "/dev/urandom", "/dev/zero", "/dev/null"),
)  # fmt: skip
# Facts of the hardware and of the system's version. Not kern.proc* (other processes, with their environment), and nothing that
# counts since boot (vm, net): one run could read there what another one did.
SYSCTLS = (
    *named("sysctl-name-prefix", "hw.", "machdep.cpu.", "iogpu."),
    *named("sysctl-name", *(f"kern.{name}" for name in (
        "argmax", "boottime", "hostname", "hv_vmm_present", "iossupportversion", "maxfiles", "maxfilesperproc", "maxproc",
        "ngroups", "osproductversion", "osrelease", "ostype", "osvariant_status", "osversion", "secure_kernel", "usrstack64",
        "version",
    )), "machdep.ptrauth_enabled", "security.mac.lockdown_mode_state", "sysctl.proc_cputype", "sysctl.proc_native",
        "sysctl.proc_translated", "vm.pagesize"),
)  # fmt: skip
# LLVM's OpenMP, and so PyTorch, aborts where it can't enter itself here, under its process's number. A name outlives its process:
# so no other name, no semaphore, and `forget` removes them all.
OPENMP_NAME = "/__KMP_REGISTERED_LIB_"
OPENMP = Rule(
    "allow", ("ipc-posix-shm-read-data", "ipc-posix-shm-write-create", "ipc-posix-shm-write-unlink"),
    (f'(ipc-posix-name-regex #"^{OPENMP_NAME}[1-9][0-9]?[0-9]?[0-9]?[0-9]?$")',),
)  # fmt: skip
LAST_PROCESS = 99_999  # PID_MAX of xnu's bsd/sys/proc_internal.h
BEFORE_PLACES = (
    Rule("deny", ("default",)),
    # `default` leaves these out (Firefox, WebKit): another process's environment could be read, with its keys.
    Rule("deny", ("process-info*", "nvram*")),
    Rule("allow", ("process-fork", "process-exec")),  # what is started is in the same cell
    Rule("allow", ("process-info*", "signal"), ("(target self)", "(target same-sandbox)")),
    Rule("allow", ("file-read-metadata", "file-test-existence", "file-map-executable")),
    Rule("allow", ("sysctl-read",), SYSCTLS),
    OPENMP,
    # Metal: the GPU's user client, a virtual machine's too; the service that compiles kernels.
    Rule("allow", ("iokit-open",), named(
        "iokit-user-client-class", "AGXDeviceUserClient", "AGXSharedUserClient", "IOGPUDeviceUserClient", "IOSurfaceRootUserClient",
        "AppleParavirtDeviceUserClient",
    )),
    Rule("allow", ("iokit-get-properties",)),
    Rule("allow", ("mach-lookup",), (
        *named("global-name", "com.apple.MTLCompilerService", "com.apple.system.opendirectoryd.libinfo"),
        *named("xpc-service-name", "com.apple.MTLCompilerService"),
    )),
    Rule("allow", ("file-read*",), SYSTEM_READS),
    Rule("deny", ("file-read-data",), named("subpath", "/System/Volumes/Data")),  # the user's files under their other name
)  # fmt: skip
TEMPORARY_AND_CACHE = (65537, 65538)  # _CS_DARWIN_USER_TEMP_DIR, _CS_DARWIN_USER_CACHE_DIR of unistd.h


def rules(cell: Cell) -> list[Rule]:
    """Of two rules with a filter the later one counts, and either before one without."""
    reads = [path for path in cell.reads if not path.startswith(("/proc", "/sys"))]
    writes = [path for path in cell.writes if not path.startswith("/proc")]
    return [
        *BEFORE_PLACES,
        *(Rule("allow", ("file-read*",), place(path)) for path in reads),
        *(Rule("allow", ("file-write*",), place(path)) for path in writes),
        *(Rule("allow", ("file-read*", "file-write*"), named("subpath", path)) for path in own_folders(cell)),
        Rule("deny", ("file-write-setugid",), named("subpath", "/")),
    ]


def profile(cell: Cell) -> str:
    """The Seatbelt profile, as text. No rule for the network, for Mach services beside Metal's, or for other processes."""
    return text(rules(cell))


def text(lines: Iterable[Rule]) -> str:
    """As sandbox-exec takes it."""
    return "\n".join(["(version 1)", *map(str, lines)])


def prefix(cell: Cell) -> list[str]:
    """What goes before the worker's command line."""
    return [PROGRAM, "-p", profile(cell)]


def variables(cell: Cell) -> dict[str, str]:
    """Metal keeps its compiled kernels in the user's cache folder, which all programs share, whatever TMPDIR is; this moves it."""
    return {"DIRHELPER_USER_DIR_SUFFIX": f"autoresearch-{hashlib.blake2b(cell.work.encode(), digest_size=16).hexdigest()}"}


def own_folders(cell: Cell) -> list[str]:
    """What `variables` makes of the user's temporary and cache folders: the cell's own. The system makes them when it is asked."""
    folders = []
    for number in TEMPORARY_AND_CACHE:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not macOS
            folder = os.confstr(number)
            folders += [str(Path(os.path.realpath(folder), *variables(cell).values()))] if folder else []
    return folders


def forget(cell: Cell) -> None:
    """Remove what a cell whose processes have ended may have left outside of `work`.

    Another program's entry of OpenMP goes as well: it is only looked for when that program ends.
    """
    from autoresearch.border import files

    for folder in own_folders(cell):
        files.remove(Path(folder))
    libc = ctypes.CDLL(None)
    for process in range(1, LAST_PROCESS + 1):
        libc.shm_unlink(f"{OPENMP_NAME}{process}".encode())


def prove() -> None:
    """OSError unless the fence holds: no connection, and no look into the folder of all users."""
    try:
        os.listdir("/Users")
    except PermissionError:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # an address of nobody (RFC 5737); nothing is sent
            except PermissionError:
                return
    raise OSError("the Seatbelt profile does not hold")


def reach() -> Reach:
    if Path(PROGRAM).exists():
        return Reach(2, "Seatbelt", ("sandbox-exec is there; the profile was not run on a Mac yet",), False)
    return Reach(0, "none", (f"there is no {PROGRAM}",), False)
