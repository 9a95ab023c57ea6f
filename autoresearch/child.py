"""A worker process and its line to us: started with its own log and environment, waited for with limits, ended as a whole.

With a cell (sandbox/policy.py) no code of the agent runs before the process has said that it is inside. What it says comes through
border/messages.py, what it prints through border/log.py. Two threads of ours read these, a third writes to it: a worker that stops
reading, or says too much, holds up nothing here.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autoresearch.border.log import Log
from autoresearch.border.messages import Conversation, Protocol, invalid, lines
from autoresearch.errors import EnvironmentFailure, RunFailed
from autoresearch.measure.channel import encode
from autoresearch.measure.clock import awake_seconds
from autoresearch.paths import PACKAGE
from autoresearch.processes import end_tree, start
from autoresearch.sandbox import launch, locking, policy, workdir
from autoresearch.sandbox.policy import Cell

if TYPE_CHECKING:
    from autoresearch.sandbox.lookups import Lookups

__all__ = ["OurOwn", "RunFailed", "Worker"]

# What a driver prints before it ends the process (abort(3)) for want of memory: Metal's, through MLX.
ABORTED_OUT_OF_MEMORY = ("kiogpucommandbuffercallbackerroroutofmemory", "insufficient memory", "attempting to allocate")
POLL_SECONDS = 0.5
START_SECONDS = 0.1  # chosen: MLX starts 8 compilers to load a model on a CPU, PyTorch and JAX one process or none
WORKER = "autoresearch.measure.worker"
READ_BYTES = 1 << 16
PIPE_BYTES = 1 << 20  # what Linux gives to any user
INBOX_MESSAGES = 1000  # that wait here; more stay in the pipe, and then the worker waits
OUTBOX_BYTES = 1 << 28  # that a worker has asked for and not read

# What a worker without a cell gets of our environment: enough for compilers, drivers and temporary files, and no keys.
KEPT_VARIABLES = (
    *policy.PASSED_ON, "PATH", "HOME", "USER", "LOGNAME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP",
)  # fmt: skip

Message = dict[str, Any]
# Answers a message in the thread that reads them, at once: (header, payload). None: the message is for `wait`.
Server = Callable[[Message], tuple[Message, bytes] | None]


@dataclass(frozen=True)
class OurOwn:
    """In place of a cell, for code that no agent has edited: it runs outside of cells, with what the harness has compiled there."""

    backend: str


@dataclass(frozen=True)
class _End:
    """What is in the inbox after the last message: why there is no more, where the worker is to blame."""

    failure: RunFailed | None = None


class Worker:
    """A child process with its channel; leaving the `with` ends its whole tree."""

    def __init__(
        self, job: Message, folder: Path, protocol: Protocol, module: str = WORKER, variables: dict[str, str] | None = None,
        *, cell: Cell | OurOwn, serve: Server = lambda message: None,
    ):  # fmt: skip
        """folder: where log.txt goes. module, variables: what runs there and what its environment has beyond a worker's.

        cell: where it runs, which is said at every call; its folder `work`, made by sandbox/workdir.py, is removed at the end.
        OurOwn: it runs in `folder`, and what it compiled is kept when it ends without an exception.
        """
        worker_cell = None if isinstance(cell, OurOwn) else cell
        self._where, self._cell, self._is_inside, self._serve, self._job = cell, worker_cell, worker_cell is None, serve, job
        self._conversation = Conversation(protocol, self._is_inside)
        if isinstance(cell, OurOwn):
            self._compiled = workdir.borrow(folder, cell.backend)
        else:
            self._compiled = Path(cell.work, workdir.COMPILED)
        self._lookups = _lookups(worker_cell, self._has_looked_up_too_much)
        doors = [self._lookups.door] if self._lookups else []
        command = launch.command(worker_cell, module, *doors) if worker_cell else [sys.executable, "-m", module]
        self.process = start(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, pass_fds=doors,
            cwd=worker_cell.work if worker_cell else folder, env=_environment(worker_cell, self._compiled) | (variables or {}),
        )  # fmt: skip
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin is not None and stdout is not None and stderr is not None, "each is a pipe"
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        _widen(self._stdin)
        self._usage = locking.Usage(self.process.pid)
        self._trusted: frozenset[int] = frozenset()  # processes that are ours although they belong to the worker
        self._inbox: queue.Queue[Message | _End] = queue.Queue(INBOX_MESSAGES)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting_bytes = 0  # in the outbox
        self._is_over = False
        with contextlib.ExitStack() as undo:
            for pipe in (stdin, stdout, stderr):
                undo.callback(pipe.close)
            undo.callback(end_tree, self.process)
            self._log = Log(folder / "log.txt", self._stderr.fileno())
            undo.callback(self._log.close)
            self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._write, self._log.pump)]
            try:
                if self._lookups:
                    self._lookups.start()
                for thread in self._threads:
                    thread.start()
            except RuntimeError as error:
                raise EnvironmentFailure(f"{error}: this machine runs as many as it can, by whatever program") from error
            undo.pop_all()
        if self._is_inside:
            self._send(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._is_over = True
        if self._lookups:
            self._lookups.shut()  # it starts no process any more: one that starts another and ends would outrun us
        end_tree(self.process)
        if self._lookups:
            self._lookups.close()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join(timeout=5)  # a process that got away (macOS) may hold their pipes open
        self._log.close()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()
        if isinstance(self._where, OurOwn):
            workdir.give_back(self._compiled, self._where.backend, is_whole=kind is None)
        else:
            launch.forget(self._where)
            workdir.remove(Path(self._where.work))

    def send(self, message: Message, payload: bytes = b"", then: str | None = None) -> None:
        """Ask; it never waits for the worker. then: the state of the conversation from now on (border/messages.py)."""
        if then:
            self._conversation.move(then)
        self._send(message, payload)

    def wait(
        self, kind: str, limit_seconds: float, late: str, handle: Callable[[Message], None] = lambda message: None,
        tick: Callable[[Message | None], None] = lambda message: None,
    ) -> Message:  # fmt: skip
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
            if isinstance(message, _End) or message["type"] in ("failed", "ended"):
                raise self._failure(message)
            handle(message)
            tick(message)
            if message["type"] == kind:
                return message

    def drain(self, limit_seconds: float, handle: Callable[[Message], None]) -> None:
        """Take the last messages of a worker that has done its work, until it ends or the time is up."""
        end = awake_seconds() + limit_seconds
        while (left_seconds := end - awake_seconds()) > 0:
            try:
                message = self._inbox.get(timeout=left_seconds)
            except queue.Empty:
                return
            if isinstance(message, _End) or message["type"] in ("failed", "ended"):
                return
            handle(message)

    def used_seconds(self) -> float:
        """Processor time of the worker and all that it has started so far, as far as it was looked at while it lived.

        Every process that it starts counts START_SECONDS more: it may have come and gone between two looks.
        """
        return self._usage.seconds() + (START_SECONDS * self._lookups.started if self._lookups else 0.0)

    def peak_memory_bytes(self) -> int | None:
        """Of the machine's memory, at most so far: of the worker and all that it has started and that is alive. None: not known."""
        return locking.peak_memory_bytes(self.process.pid, self._trusted)

    def limit_lookups(self, most: int) -> None:
        """In a cell that asks: from now on it may look up so many names, each as often as it is asked for; more end it."""
        if self._lookups:
            self._lookups.limit(most)

    def lock_in(self) -> None:
        """Before it is shown held-out text: nothing it prints is kept any more; in a cell that asks it opens and finds no file."""
        self._log.mute()
        if self._lookups and self._cell:
            locking.lock_in(self.process.pid, self._trusted, self._lookups, self._cell.work)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """In a cell that asks, nothing of the worker runs meanwhile; RunFailed where something does all the same."""
        if self._lookups is None:
            yield
            return
        with locking.held(self.process.pid, self._trusted, self._lookups):
            yield

    def _go_inside(self, message: Message | _End) -> None:
        """The first message: no agent code has run yet, so anything but `entered` is the machine's failure."""
        if isinstance(message, _End) or message["type"] != "entered":
            why = self._failure(message).reason if isinstance(message, _End) else message["reason"]
            raise EnvironmentFailure(f"the sandbox could not be entered ({why}); `autoresearch doctor` says what is there")
        self._is_inside = True

    def _has_looked_up_too_much(self) -> None:
        why = "looked up too many names of files while the clock ran; read, compile and import before it, in warm-up"
        self._put(_End(RunFailed("limit", why)))

    def _read(self) -> None:
        """In a thread: messages from the pipe to the inbox, or to `serve`."""
        pipe = self._stdout.fileno()
        try:
            for line in lines(lambda: os.read(pipe, READ_BYTES), self._conversation.line_bytes):
                self._take(line)
            self._put(_End())
        except RunFailed as failure:
            self._put(_End(failure))
        except (OSError, ValueError):  # the pipe was closed
            self._put(_End())

    def _take(self, line: bytes) -> None:
        message = self._conversation.take(line)
        if message["type"] == "entered":  # it has no job yet, so none of the processes there are now is the agent's
            self._trusted = locking.guards(self.process.pid)
            self._send(self._job)
        answer = self._serve(message)
        if answer is None:
            self._put(message)
            return
        if self._waiting_bytes > OUTBOX_BYTES:
            raise invalid("more questions than it takes answers")
        self._send(*answer)

    def _put(self, message: Message | _End) -> None:
        while not self._is_over:
            try:
                return self._inbox.put(message, timeout=POLL_SECONDS)
            except queue.Full:
                pass

    def _send(self, message: Message, payload: bytes = b"") -> None:
        data = encode(message) + payload
        self._waiting_bytes += len(data)
        self._outbox.put(data)

    def _write(self) -> None:
        """In a thread: what waits in the outbox into the pipe. A worker that died takes nothing; the next wait says so."""
        try:
            while (data := self._outbox.get()) is not None:
                view = memoryview(data)
                while view:
                    view = view[self._stdin.write(view) :]
                self._waiting_bytes -= len(data)
        except (OSError, ValueError):
            pass

    def _failure(self, message: Message | _End) -> RunFailed:
        """Why a worker stopped before its work was done."""
        if isinstance(message, _End) and message.failure:
            return message.failure
        if not isinstance(message, _End) and message["type"] == "failed":
            return RunFailed(message["kind"], message["reason"])
        if not isinstance(message, _End):
            reason = "train.py ended before the harness's clock did; its loop is `for step in run.steps(save=...)`"
            return RunFailed("crash", reason)
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return RunFailed("crash", "the training process closed its line to the harness")
        if status in (-9, 128 + 9):  # the second: said by bwrap of the process in it
            return RunFailed("oom", "the system killed the process (signal 9), as it does when memory runs out")
        ended = f"the process ended {f'by signal {-status}' if status < 0 else f'with status {status}'}"
        self._threads[-1].join(timeout=1)  # the log's: what the process said last may still lie in its pipe
        log_tail = " ".join(self._log.last.decode("utf-8", "replace").lower().split())
        if status in (-6, 128 + 6) and any(words in log_tail for words in ABORTED_OUT_OF_MEMORY):
            return RunFailed("oom", f"{ended}, as Metal's driver ends it when memory runs out")
        return RunFailed("crash", ended)


def _lookups(cell: Cell | None, on_limit: Callable[[], None]) -> "Lookups | None":
    if not (cell and launch.is_asked(cell)):
        return None
    from autoresearch.sandbox.lookups import Lookups

    return Lookups(on_limit)


def _widen(pipe: IO[bytes]) -> None:
    """Room for a batch of text, so that it takes few turns between the two processes. Where that can't be had, it takes more."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _environment(cell: Cell | None, compiled: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return (policy.environment(cell) | launch.variables(cell) if cell else kept) | {
        "HF_HUB_CACHE": str(policy.hub_cache()),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(PACKAGE.parent),  # also when it is not installed; SAFEPATH: the run's folder is not searched
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUTORESEARCH_COMPILE_CACHE": str(compiled),
    }
