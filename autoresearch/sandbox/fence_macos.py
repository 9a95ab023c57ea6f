"""The fence of a coding agent on macOS: a Seatbelt profile that allows what it does not name, unlike that of train.py (macos.py).

A client needs the network, name servers, certificates and a dozen of the system's services, which nobody has listed. So writing is
refused but in its folder, reading in the folders of all users and of other disks but for what is named, local sockets, signals to
others, the keychain, and what asks the system to start programs outside. Written from published profiles, not run on a Mac yet.
"""

import subprocess
import tempfile
from pathlib import Path

from autoresearch.sandbox import macos
from autoresearch.sandbox.macos import Rule, named, place
from autoresearch.sandbox.policy import Cell

TRY_SECONDS = 5.0
RULES = (
    Rule("allow", ("default",)),
    Rule("deny", ("file-write*", "signal", "process-info*", "lsopen", "appleevent-send", "job-creation")),
    Rule("allow", ("signal", "process-info*"), ("(target same-sandbox)",)),
    Rule("deny", ("network-outbound",), ("(remote unix-socket)",)),
    Rule("allow", ("network-outbound",), named("literal", "/private/var/run/mDNSResponder")),
    Rule("deny", ("mach-lookup",), named(
        "global-name", "com.apple.SecurityServer", "com.apple.securityd.xpc", "com.apple.pasteboard.1",
    )),
    Rule("deny", ("file-read-data",), named(
        "subpath", "/Users", "/Volumes", "/private/var/folders", "/private/tmp", "/private/var/root",
    )),
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/tty", "/dev/dtracehelper")


def profile(cell: Cell) -> str:
    """As macos.rules: of two rules with a filter the later one counts, and either before one without."""
    reads = (Rule("allow", ("file-read*",), place(path)) for path in cell.reads)
    writes = (Rule("allow", ("file-write*",), place(path)) for path in (*cell.writes, *DEVICES))
    return macos.text([*RULES, *reads, *writes])


def prefix(cell: Cell) -> list[str]:
    return [macos.PROGRAM, "-p", profile(cell)]


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
