"""The fence around a coding agent: a program that needs the network and signs in, and is trusted with nothing else.

It writes in one folder, which is new each time and holds its home folder, its temporary files and its work; it reads the system,
itself and what its recipe names. The real home folder, studies, other processes and the sockets of this machine's programs are not
there. All that it starts ends with it, and with us, by kill -9 too.

3   bubblewrap: a root folder and process names of its own; the filter of system calls keeps local sockets away
2   Landlock and the same filter. The list of processes, with their arguments, is open
1   macOS: Seatbelt (fence_macos.py), not run on a Mac yet; what is left behind may live on
0   nothing, or not asked for

On Linux, at every level, a keeper (keeper.py) ends all of it when the program ends, or we do.

Not covered, at any level: whom it talks to, the machine's own servers on the network included, and what it tells them.
"""

import contextlib
import functools
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autoresearch import processes
from autoresearch.paths import PACKAGE
from autoresearch.processes import end_tree
from autoresearch.sandbox import policy
from autoresearch.sandbox.policy import Cell

WORDS = {
    3: "bubblewrap: it writes in its own folder alone; home folder, study, other processes and local sockets are not there",
    2: "Landlock: it writes in its own folder alone and reads neither home folder nor study; local sockets are shut",
    1: "Seatbelt, not run on a Mac yet: it writes in its own folder alone and does not read the home folder",
    0: "none: it has your rights, and is held by its own mode alone",
}
# Beyond policy.SYSTEM_READS: name servers, certificates, and who the user is. Not /etc as a whole, which holds keys.
NETWORK_READS = tuple(
    f"/etc/{name}"
    for name in (
        "resolv.conf", "hosts", "host.conf", "hostname", "nsswitch.conf", "gai.conf", "services", "protocols", "passwd", "group",
        "ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ssl/ca-bundle.pem", "ca-certificates", "ca-certificates.conf",
        "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust", "crypto-policies", "os-release", "lsb-release",
        "debian_version", "gitconfig", "mime.types", "terminfo", "shells", "bash.bashrc", "profile",
    )
)  # fmt: skip
PROCESSES = ("/proc", "/sys/fs/cgroup")  # at level 2; at level 3 they are its own
CERTIFICATES = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
PLACES = ("work", "home", "tmp")  # of a folder that is not its own to change: it can't put something else in their place
# They point at what is not there: sockets, and folders of the home folder.
REMOVED = (
    "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
    "DOCKER_HOST", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "OLDPWD",
)  # fmt: skip
KEEPER_SECONDS = 5.0  # that a keeper has for its end
NICE = 10  # chosen: a tenth of what a training's process gets
MOST_BYTES, MOST_FILES = 2 << 30, 50_000  # chosen, of its folder: far more than an edit takes
_LAUNCHER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from autoresearch.sandbox import fence; fence.main()"


@functools.cache
def reach() -> tuple[int, str]:
    """(the highest level here, why not a higher one, or an empty string). Found out once in a process; it starts bwrap."""
    if sys.platform == "darwin":
        from autoresearch.sandbox import fence_macos

        return (1, "") if (why := fence_macos.why_not()) is None else (0, why)
    if sys.platform != "linux":
        return 0, "no fence is written for this system; under WSL2 the Linux one works"
    from autoresearch.sandbox import bubblewrap, landlock
    from autoresearch.sandbox.syscalls import ARCHITECTURES

    if (machine := platform.machine()) not in ARCHITECTURES:
        return 0, f"no filter of system calls is written for {machine}"
    if (why := bubblewrap.why_not()) is None:
        return 3, ""
    return (2, why) if landlock.abi(machine) else (0, f"{why}; this kernel has no Landlock")


def cell(level: int, folder: Path, reads: Iterable[str | Path]) -> Cell:
    """folder: with PLACES in it, where alone it writes. reads: the program itself, and what its recipe names."""
    system = policy.matching([*policy.SYSTEM_READS, *NETWORK_READS, *(PROCESSES if level == 2 else ())])
    certificates = [os.environ[name] for name in CERTIFICATES if name in os.environ]
    wanted, places = [*system, *certificates, *reads], [folder / name for name in PLACES]
    shared = [policy.OWN_SHARED_MEMORY] if level >= 3 else []
    return Cell(
        level, os.path.realpath(folder / "work"), reads=tuple(dict.fromkeys(policy.existing([*wanted, *places]))),
        writes=tuple(policy.existing([*policy.SYSTEM_WRITES, *places, *shared])),
        names=tuple(dict.fromkeys(policy.with_links([*wanted, *places]))),
    )  # fmt: skip


def home(folder: Path) -> Path:
    """Its home folder there. folder: as `cell`'s."""
    return folder / "home"


def environment(given: Mapping[str, str], folder: Path, level: int) -> dict[str, str]:
    """given, as it is inside of the fence: home and temporary files lie in folder."""
    temporary = {} if level == 0 else dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "tmp")) | {"HOME": str(home(folder))}
    kept = {name: value for name, value in given.items() if level == 0 or name not in REMOVED}
    return kept | temporary | {"PWD": str(folder / "work")}


def start(agent_cell: Cell, arguments: list[str], stdin: Path | None, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """The program inside, in a group of its own, with stdout and stderr in one pipe. Raises OSError where it can't be started.

    stdin: a file, since a program that never reads it must not block us, nor wait for more; None: empty.
    """
    text, is_kept = str(stdin or os.devnull), sys.platform == "linux"
    prefix: list[str] = []
    descriptors: list[int] = []
    if agent_cell.level == 3:
        prefix, descriptors = _bubblewrap(agent_cell)
    elif agent_cell.level == 1:
        from autoresearch.sandbox import fence_macos

        prefix = fence_macos.prefix(agent_cell)
    if is_kept:
        prefix = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(PACKAGE.parent), agent_cell.to_json(), text, *prefix]
    with open(text, "rb") as source:
        try:
            return processes.start(
                [*prefix, *arguments], stdin=subprocess.PIPE if is_kept else source, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, cwd=agent_cell.work, env=variables, pass_fds=descriptors,
            )  # fmt: skip
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def output(process: subprocess.Popen[bytes], limit_seconds: float) -> str:
    """All that it says until its end, which comes at the limit at the latest, also for what it has started."""
    line, process.stdin = process.stdin, None  # which `communicate` would close: for the keeper that is our end
    try:
        return process.communicate(timeout=limit_seconds)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode("utf-8", "replace")
    finally:
        process.stdin = line
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End the program with all that it started: by its keeper, who can let nobody start anything more, and where there is none."""
    if process.stdin:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KEEPER_SECONDS)
    end_tree(process)


def _bubblewrap(agent_cell: Cell) -> tuple[list[str], list[int]]:
    """(what goes before the program, the descriptors that bwrap reads)."""
    from autoresearch.sandbox import bubblewrap, seccomp

    assert sys.platform == "linux", "there is no level 3 elsewhere"
    code = os.memfd_create("filter")
    os.write(code, seccomp.packed(seccomp.with_network(platform.machine(), has_own_root=True)))
    os.lseek(code, 0, os.SEEK_SET)
    names = [name for name in bubblewrap.NAMESPACES if name != "--unshare-net"]
    # Where we are root: no rights of root, and no setting of the kernel, which its owner may write without any.
    # Nor its own place among those that go first when memory is short, nor files in /dev, which is memory without a bound.
    shut = ["--remount-ro", "/proc", "--remount-ro", "/dev", "--ro-bind", "/proc/sys", "/proc/sys"]
    inside = [*bubblewrap.in_memory("/tmp"), *bubblewrap.root(agent_cell), *shut, "--cap-drop", "ALL"]
    inside += ["--seccomp", str(code), "--chdir", agent_cell.work, "--"]
    return [bubblewrap.program(), *names, *inside], [code]


def main() -> None:
    """On Linux: `CELL STDIN PROGRAM ARGUMENTS...`. stdin is the line to the harness, which closes when that is gone: bwrap's own
    --die-with-parent has a moment at the start in which it does not look.
    """
    from autoresearch.sandbox import keeper, linux

    text, stdin, *arguments = sys.argv[1:]
    agent_cell = Cell.from_json(text)
    said = os.dup(1)  # the keeper closes its own, so that the end of the output shows
    os.set_inheritable(said, False)
    ours, theirs = socket.socketpair()
    try:
        keeper.stay(2, said, theirs.fileno(), asks=ours)
        _stand_back()
        os.dup2(os.open(stdin, os.O_RDONLY | os.O_CLOEXEC), 0)
        ours.close()
        if agent_cell.level == 2:
            linux.apply_with_network(agent_cell, theirs)
        theirs.close()
        os.execv(arguments[0], arguments)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(said, f"it could not be started in its fence: {error}\n".encode())
        os._exit(127)


def _stand_back() -> None:
    """When memory is short these go first; beside a training they compute little; a file has a largest size."""
    import resource

    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.nice(NICE)
    with contextlib.suppress(ValueError):  # a lower one holds already
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))


def told(level: int) -> dict[str, Any]:
    """For `doctor --json` and `agents --json`."""
    highest, why = reach()
    return {"level": min(level, highest), "meaning": WORDS[min(level, highest)], "reason": why or None}
