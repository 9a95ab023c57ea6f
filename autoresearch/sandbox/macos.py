"""Level 2 on macOS: the worker starts under `sandbox-exec` with a Seatbelt profile of our own, which denies what it does not name.

Not run on a Mac yet: written from the profiles that Chromium, Apple and others publish. `prove` refuses a cell that does not hold.
"""

import os
import socket
from pathlib import Path

from autoresearch.sandbox.policy import Cell, Reach

PROGRAM = "/usr/bin/sandbox-exec"
SYSTEM_READS = (
    "/System", "/Library/Apple", "/Library/Developer", "/Library/Frameworks", "/usr", "/bin", "/sbin", "/opt/homebrew",
    "/opt/local",
    "/private/var/db/dyld", "/private/var/db/timezone", "/private/etc/localtime", "/Applications/Xcode.app",
    "/dev/random", "/dev/urandom", "/dev/zero", "/dev/null",
)  # fmt: skip
# Metal: the GPU's user client, and the service that compiles its kernels.
METAL = (
    '(allow iokit-open (iokit-user-client-class "AGXDeviceUserClient" "AGXSharedUserClient" "IOSurfaceRootUserClient"))',
    '(allow mach-lookup (global-name "com.apple.MTLCompilerService") (global-name "com.apple.system.opendirectoryd.libinfo"))',
)
HEAD = (
    "(version 1)", "(deny default)", "(allow process-fork)", "(allow process-exec)", "(allow signal (target same-sandbox))",
    "(allow sysctl-read)", "(allow file-read-metadata)", "(allow process-info* (target same-sandbox))", "(allow ipc-posix-sem)",
)  # fmt: skip


def profile(cell: Cell) -> str:
    """The Seatbelt profile, as text. No rule for the network, for Mach services beside Metal's, or for other processes."""
    reads = [*SYSTEM_READS, *(path for path in cell.reads if not path.startswith(("/proc", "/sys")))]
    return "\n".join([
        *HEAD,
        '(allow file-read* (literal "/"))',
        *(f"(allow file-read* {_place(path)})" for path in dict.fromkeys(reads)),
        *(f"(allow file-write* {_place(path)})" for path in cell.writes if not path.startswith("/proc")),
        "(deny file-write-setugid)",
        *METAL,
    ])  # fmt: skip


def prefix(cell: Cell) -> list[str]:
    """What goes before the worker's command line."""
    return [PROGRAM, "-p", profile(cell)]


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


def _place(path: str) -> str:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'(subpath "{quoted}")' if os.path.isdir(path) else f'(literal "{quoted}")'
