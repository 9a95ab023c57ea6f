"""The trial behind `autoresearch doctor --attack`: every attempt of attacks/, in a real cell, against a world made for it.

The world is a study with its secrets, a home folder, servers, and a process to attack; the cell is what a training gets there. Each
attempt has a worker of its own. `open` is what got through, `broken` what got through though this level promises otherwise.
"""

import contextlib
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch.border.messages import ENDED, Kind, Protocol, flag, text
from autoresearch.checks.attacks import files, kernel, network, processes, traces  # noqa: F401, they enter their attempts
from autoresearch.checks.attacks.attempt import ALL, Attempt
from autoresearch.child import RunFailed, Worker
from autoresearch.sandbox import landlock, policy, workdir

if TYPE_CHECKING:
    import psutil

MODULE = "autoresearch.checks.attacks"
AT_ONCE = 4
PROTOCOL = Protocol("starting", {"done": Kind({"starting": ENDED}, {"open": flag, "how": text(200)})})
LIMIT_SECONDS = 30.0
# What no attempt shows, at any level.
KNOWN = (
    "memory, processors and disk can be used up",
    "how long reading a file takes says whether an earlier process has read it, and the kernel numbers pipes since boot",
    "what a training compiles before its clock starts is used by later ones: code, but nothing learned from text",
)
VICTIM = """
import ctypes, os, sys, time
secret = sys.argv[1].encode()
buffer = ctypes.create_string_buffer(secret)
file = os.memfd_create("file") if hasattr(os, "memfd_create") else os.pipe()[1]
os.write(file, secret)
print(file, ctypes.addressof(buffer), flush=True)
time.sleep(3600)
"""


@dataclass(frozen=True)
class Result:
    name: str
    title: str
    is_open: bool | None  # None: not tried, since without a sandbox it would do harm
    how: str
    promised: bool  # whether this level promises that it is refused

    @property
    def is_broken(self) -> bool:
        return bool(self.is_open and self.promised)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "title": self.title, "open": self.is_open, "how": self.how, "promised_closed": self.promised}


def run(level: int, names: list[str] | None = None, on_result: Callable[[Result], None] = lambda result: None) -> list[Result]:
    """Every attempt (or those of names) in a cell of that level."""
    results = []
    chosen = [attempt for attempt in ALL.values() if names is None or attempt.name in names]
    with (
        tempfile.TemporaryDirectory(prefix="autoresearch-trial-") as folder,
        world(Path(folder).resolve()) as targets,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for result in pool.map(lambda attempt: _try(attempt, level, Path(targets["run"]), targets), chosen):
            results.append(result)
            on_result(result)
    return results


def is_promised(attempt: Attempt, level: int) -> bool:
    if attempt.promised is None or level < attempt.promised:
        return attempt.ends_with_cell and attempt.promised is not None and level > 0
    version = landlock.abi(platform.machine()) if sys.platform == "linux" else 0
    return level >= 3 or sys.platform != "linux" or version >= attempt.landlock


def _try(attempt: Attempt, level: int, run_folder: Path, targets: dict[str, Any]) -> Result:
    promised = is_promised(attempt, level)
    if level == 0 and not attempt.is_harmless:
        return Result(attempt.name, attempt.title, None, "not tried: it would do harm", promised)
    folder = run_folder / attempt.name
    folder.mkdir()
    work = workdir.make(folder / "work")
    reads = [run_folder / "train.py", workdir.lent(work), Path(targets["compiled"]).parent]
    cell = policy.cell(level, work, reads, file_bytes=traces.FILE_BYTES if level else None)
    with Worker({"type": "attempt", "name": attempt.name, "targets": targets}, folder, PROTOCOL, MODULE, cell=cell) as worker:
        try:
            done = worker.wait("done", LIMIT_SECONDS, "no answer")
            is_open, how = bool(done["open"]), str(done["how"])
        except RunFailed as failure:
            is_open, how = False, failure.reason
    if attempt.name == "daemon" and is_open:
        is_open = lives(f"daemon-{targets['secret']}")
        how = "it lives on" if is_open else "it ended with the run"
    return Result(attempt.name, attempt.title, is_open, how, promised)


def lives(mark: str) -> bool:
    """Whether a process with that argument is there; it is ended then."""
    import psutil

    marked = [process for process in psutil.process_iter() if mark in _arguments(process)]
    for process in marked:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return bool(marked)


def _arguments(process: "psutil.Process") -> list[str]:
    import psutil

    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


@contextlib.contextmanager
def world(folder: Path) -> Iterator[dict[str, Any]]:
    """The targets: made here, gone afterwards."""
    secret = secrets.token_hex(16)
    paths = {
        "ssh_key": "home/.ssh/id_ed25519", "bashrc": "home/.bashrc", "val_tokens": "cache/data/text/val/tokens.bin",
        "train_tokens": "cache/data/text/train/tokens.bin", "compiled": "cache/compile/kernel.so",
        "traced": "cache/compile/traced", "read_once": "cache/compile/read-once", "study_train_py": "study/train.py",
        "git_object": "study/.git/refs/heads/best", "ledger": "study/.autoresearch/events.jsonl",
        "other_weights": "study/.autoresearch/runs/0000-1/checkpoint", "other_log": "study/.autoresearch/runs/0000-1/log.txt",
        "run_train_py": "study/.autoresearch/runs/0001-1/train.py",
    }  # fmt: skip
    targets: dict[str, Any] = {name: str(folder / path) for name, path in paths.items()}
    for path in targets.values():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"{secret}\n", encoding="ascii")
    with open(targets["traced"], "rb+") as file:
        os.fsync(file.fileno())  # what is not on the disk can't be thrown out of the cache
    targets |= {
        "secret": secret, "home": str(folder / "home"), "harness": os.getpid(),
        "movable": str(Path(targets["other_weights"]).parent), "run": str(Path(targets["run_train_py"]).parent),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        targets |= stack.enter_context(_servers(folder, secret))
        targets |= stack.enter_context(_victim(secret))
        targets |= stack.enter_context(_shared_memory(secret))
        yield targets


@contextlib.contextmanager
def _shared_memory(secret: str) -> Iterator[dict[str, str]]:
    """A file that all processes may find, where the system has a folder for such."""
    path = Path(policy.OWN_SHARED_MEMORY, f"autoresearch-trial-{secret[:12]}")
    with contextlib.suppress(OSError):
        path.write_text(secret, encoding="ascii")
    try:
        yield {"shared_memory": str(path)}
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _victim(secret: str) -> Iterator[dict[str, int]]:
    """A process with the secret in its environment, memory, arguments and an open file."""
    command = [sys.executable, "-S", "-c", VICTIM, secret]
    process = subprocess.Popen(
        command, env=os.environ | {"API_KEY": secret}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # its traceback at Ctrl-C
    )  # fmt: skip
    assert process.stdout is not None, "a pipe was asked for"
    try:
        fd, address = process.stdout.readline().split()
        yield {"victim": process.pid, "victim_fd": int(fd), "victim_address": int(address)}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def _servers(folder: Path, secret: str) -> Iterator[dict[str, str | int]]:
    """What answers with the secret to whoever asks: by TCP, UDP, and Unix sockets with a path or an abstract name."""
    abstract = f"autoresearch-trial-{secret[:12]}"
    unix: Any = getattr(socket, "AF_UNIX", None)
    places: dict[str, tuple[Any, int, tuple[str, int] | str]] = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        "unix": (unix, socket.SOCK_STREAM, str(folder / "unix")),
        "unix_datagram": (unix, socket.SOCK_DGRAM, str(folder / "datagram")),
        "abstract": (unix, socket.SOCK_STREAM, "\0" + abstract),
    }
    endpoints: dict[str, str | int] = {"unix_path": str(folder / "unix"), "unix_datagram_path": str(folder / "datagram")}
    endpoints["abstract_name"] = abstract
    with contextlib.ExitStack() as stack:
        for name, (family, kind, address) in places.items():
            endpoints[f"{name}_port"] = 0
            try:
                server = stack.enter_context(socket.socket(family, kind))
                server.bind(address)
            except (OSError, TypeError):  # no IPv6, or no Unix sockets
                continue
            if isinstance(address, tuple):
                endpoints[f"{name}_port"] = server.getsockname()[1]
            threading.Thread(target=_answer, args=(server, kind, secret.encode()), daemon=True).start()
            stack.callback(_shut, server)
        yield endpoints


def _answer(server: socket.socket, kind: int, secret: bytes) -> None:
    with contextlib.suppress(OSError, TypeError):
        if kind == socket.SOCK_STREAM:
            server.listen()
            while True:
                with server.accept()[0] as line:
                    line.sendall(secret)
        while True:
            _, where = server.recvfrom(1000)
            with contextlib.suppress(OSError, TypeError):  # a datagram socket without a name asked
                server.sendto(secret, where)


def _shut(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
