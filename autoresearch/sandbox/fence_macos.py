"""The fence of a coding agent on macOS: a Seatbelt profile that allows what it does not name, unlike that of train.py (macos.py).

A client needs the network, name servers, certificates and a dozen of the system's services, which nobody has listed. So writing is
refused but in its folder, reading in the folders of all users and of other disks but for what is named, local sockets, signals to
others, the keychain, and what asks the system to start programs outside. Written from published profiles, not run on a Mac yet.
"""

import subprocess
import tempfile
from pathlib import Path

from autoresearch.sandbox.policy import Cell

PROGRAM = "/usr/bin/sandbox-exec"
TRY_SECONDS = 5.0
HIDDEN = ("/Users", "/Volumes", "/private/var/folders", "/private/tmp", "/private/var/root")
HEAD = (
    "(version 1)", "(allow default)", "(deny file-write*)", "(deny signal)", "(allow signal (target same-sandbox))",
    "(deny process-info*)", "(allow process-info* (target same-sandbox))", "(deny lsopen)", "(deny appleevent-send)",
    "(deny job-creation)", '(deny network-outbound (remote unix-socket))',
    '(allow network-outbound (literal "/private/var/run/mDNSResponder"))',
    '(deny mach-lookup (global-name "com.apple.SecurityServer" "com.apple.securityd.xpc" "com.apple.pasteboard.1"))',
)  # fmt: skip


def profile(cell: Cell) -> str:
    """The last rule that fits counts."""
    return "\n".join([
        *HEAD,
        *(f"(deny file-read-data {_place(path)})" for path in HIDDEN),
        *(f"(allow file-read* {_place(path)})" for path in cell.reads),
        *(f"(allow file-write* {_place(path)})" for path in (*cell.writes, "/dev/null", "/dev/tty", "/dev/dtracehelper")),
    ])  # fmt: skip


def prefix(cell: Cell) -> list[str]:
    return [PROGRAM, "-p", profile(cell)]


def why_not() -> str | None:
    """Why there is no fence; None when a process in one could neither list the users' folders nor write a file."""
    with tempfile.TemporaryDirectory() as folder:
        tries = ["/bin/sh", "-c", '! ls /Users && ! true > "$0"', str(Path(folder, "written"))]
        try:
            command = [*prefix(Cell(1, "/")), *tries]
            tried = subprocess.run(command, capture_output=True, text=True, timeout=TRY_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"sandbox-exec does not start: {error}"
    return f"sandbox-exec does not hold: {tried.stderr.strip()}" if tried.returncode else None


def _place(path: str) -> str:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'(subpath "{quoted}")'
