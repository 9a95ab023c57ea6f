"""A worker process and its line to us: started with its own log and environment, waited for with limits, ended as a whole.

With a cell (sandbox/policy.py) no code of the agent runs before the process has said that it is inside.
"""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from autoresearch.errors import EnvironmentFailure
from autoresearch.measure.channel import Channel
from autoresearch.measure.clock import awake_seconds
from autoresearch.paths import PACKAGE
from autoresearch.processes import OWN_GROUP, end_tree
from autoresearch.sandbox import launch, policy, room
from autoresearch.sandbox.policy import Cell

POLL_SECONDS = 0.5
WORKER = "autoresearch.measure.worker"

# What a worker without a cell gets of our environment: enough for compilers, drivers and temporary files, and no keys.
KEPT_VARIABLES = (
    *policy.PASSED_ON, "PATH", "HOME", "USER", "LOGNAME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP",
    "HF_HOME",
)  # fmt: skip


class RunFailed(Exception):
    """The run has no score. kind is the ledger's state for it."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class Worker:
    """A child process with its channel; leaving the `with` ends its whole tree."""

    def __init__(
        self, job: dict, folder: Path, module: str = WORKER, variables: dict[str, str] | None = None, cell: Cell | None = None
    ):
        """folder: where log.txt goes. module, variables: what runs there and what its environment has beyond a worker's.

        cell: where it runs; its folder `work`, made by sandbox/room.py, is removed at the end. Without one it is code of our own,
        runs in `folder`, and shares the compile cache.
        """
        self._cell, self._is_inside = cell, cell is None
        self._log = open(folder / "log.txt", "ab")  # noqa: SIM115, closed in __exit__
        command = launch.command(cell, module) if cell else [sys.executable, "-m", module]
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=cell.work if cell else folder,
                env=_environment(cell) | (variables or {}), **OWN_GROUP,
            )  # fmt: skip
        except BaseException:
            self._log.close()
            raise
        self._tie = launch.tie(self.process)
        self._channel = Channel(self.process.stdout, self.process.stdin)
        self._inbox: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.send(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        end_tree(self.process)
        if self._tie:
            self._tie.close()
        self._log.close()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:  # what was still buffered for a dead process
                pass
        if self._cell:
            room.remove(Path(self._cell.work))

    def send(self, message: dict, payload: bytes = b"") -> None:
        try:
            self._channel.send(message, payload)
        except OSError:
            pass  # it died; the next wait says so

    def wait(self, kind: str, limit_seconds: float, late: str, handle=lambda message: None, tick=lambda message: None) -> dict:
        """The next message of that kind; others go to handle; tick is called at each message and twice a second."""
        start = awake_seconds()
        while True:
            left_seconds = start + limit_seconds - awake_seconds()
            if left_seconds <= 0:
                raise RunFailed("timeout", late)
            try:
                message = self._inbox.get(timeout=min(POLL_SECONDS, left_seconds))
            except queue.Empty:
                tick(None)
                continue
            if not self._is_inside:
                self._go_inside(message)
                continue
            if message is None or message["type"] in ("failed", "ended"):
                raise RunFailed(*self._last_words(message))
            try:
                handle(message)
                tick(message)
            except (KeyError, TypeError, ValueError) as error:
                raise RunFailed("invalid", f"a malformed message came from the training process: {message}"[:300]) from error
            if message["type"] == kind:
                return message

    def drain(self, limit_seconds: float, handle: Callable[[dict], None]) -> None:
        """Take the last messages of a worker that has done its work, until it ends or the time is up."""
        end = awake_seconds() + limit_seconds
        while (left_seconds := end - awake_seconds()) > 0:
            try:
                message = self._inbox.get(timeout=left_seconds)
            except queue.Empty:
                return
            if message is None or message["type"] in ("failed", "ended"):
                return
            handle(message)

    def _go_inside(self, message: dict | None) -> None:
        """The first message: no agent code has run yet, so anything but `entered` is the machine's failure."""
        if message is None or message["type"] != "entered":
            why = message["reason"] if message and "reason" in message else self._last_words(None)[1]
            raise EnvironmentFailure(f"the sandbox could not be entered ({why}); `autoresearch doctor` says what is there")
        self._is_inside = True

    def _read(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._inbox.put(message)
        except (ValueError, OSError):
            pass  # not our protocol any more: as good as gone
        self._inbox.put(None)

    def _last_words(self, message: dict | None) -> tuple[str, str]:
        """(kind, reason) for a worker that stopped before its work was done."""
        if message and message["type"] == "failed":
            return str(message["kind"]), str(message["reason"])
        if message and message["type"] == "ended":
            return "crash", "train.py ended before the harness's clock did; its loop is `for step in run.steps(save=...)`"
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "crash", "the training process closed its line to the harness"
        if status in (-9, 128 + 9):  # the second: said by bwrap of the process in it
            return "oom", "the system killed the process (signal 9), as it does when memory runs out"
        return "crash", f"the process ended by signal {-status}" if status < 0 else f"the process ended with status {status}"


def _environment(cell: Cell | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    compiled = Path(cell.work, room.COMPILED) if cell else room.shared_cache()
    return (policy.environment(cell) if cell else kept) | {
        "PYTHONPATH": str(PACKAGE.parent),  # also when it is not installed; SAFEPATH: the run's folder is not searched
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUTORESEARCH_COMPILE_CACHE": str(compiled),
    }
