"""One run: train in a child process, score in a fresh one, and bring back numbers. The parent's clock is the one that counts.

Promises: no process of the run is left when this returns or raises; nothing but the run's folder is written; the training
process is told the training tokens only when it says READY, and never where the validation text lies.
Not yet covered: a sandbox around the two processes.
"""

import errno
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from autoresearch.data.prepare import Prepared
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.registry import Backend
from autoresearch.measure.bpb import InvalidLogits, ValidationText
from autoresearch.measure.channel import Channel
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.scorer import Score, rows_per_slot, score, slots
from autoresearch.measure.summary import RunResult
from autoresearch.paths import PACKAGE, cache_dir

GRACE_SECONDS = 2.0  # past the budget, for the last step and the checkpoint; then the process tree is stopped
EXIT_SECONDS = 20.0  # after the checkpoint, for an orderly end
POLL_SECONDS = 0.5
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

# What a worker gets of our environment: enough for compilers, drivers and temporary files, and no keys.
KEPT_VARIABLES = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "PROGRAMDATA",
    "PROGRAMFILES", "PROCESSOR_ARCHITECTURE", "NUMBER_OF_PROCESSORS", "CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What stays the same over all runs of a study."""

    backend: Backend
    prepared: Prepared
    seq_len: int
    eval_bytes: int
    train_seconds: float
    startup_limit_seconds: float
    peak_flops: float | None = None  # the device's data-sheet peak at the training dtype, FLOP/s


@dataclass(frozen=True)
class Progress:
    phase: str  # startup, training, scoring
    elapsed_seconds: float  # in this phase
    fraction: float | None = None  # of this phase, in [0, 1]
    loss: float | None = None  # nats
    tokens_per_second: float | None = None


OnProgress = Callable[[Progress], None]


class RunFailed(Exception):
    """The run has no score. kind is the ledger's state for it."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def execute(setup: Setup, train_py: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None) -> RunResult:
    """Train and score the text train_py in folder, which then holds train.py, log.txt, curve.jsonl, checkpoint and documents.npy.

    What goes wrong in agent code is in the result's status and reason. Raises EnvironmentFailure (no disk, no process) and
    KeyboardInterrupt, both after the processes are gone.
    """
    start = awake_seconds()
    facts: dict = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        _train(setup, seed, folder, on_progress, facts)
        scoring_start = awake_seconds()
        result = _score(setup, folder, on_progress)
        np.save(folder / "documents.npy", np.stack([result.document_bits, result.document_bytes]))
        facts |= {"val_bpb": result.val_bpb, "scoring_seconds": awake_seconds() - scoring_start}
        status, reason = "ok", None
    except RunFailed as failure:
        status, reason = failure.kind, failure.reason
    except OSError as error:
        if error.errno in FULL_DISK:
            raise EnvironmentFailure(f"the disk is full at {folder}; free some space and run again") from error
        raise EnvironmentFailure(f"{error}; mend that and run again") from error
    return RunResult(status=status, reason=reason, seed=seed, total_seconds=awake_seconds() - start, **facts)


def _train(setup: Setup, seed: int, folder: Path, on_progress: OnProgress, facts: dict) -> None:
    """Run the train worker to its checkpoint; fill facts as they become known."""
    checkpoint = folder / "checkpoint"
    checkpoint.unlink(missing_ok=True)
    job = _job(setup, folder) | {"type": "train", "seed": seed, "budget_seconds": setup.train_seconds}
    described: dict = {}
    start = awake_seconds()
    with Worker(job, folder) as worker, open(folder / "curve.jsonl", "w", encoding="utf-8") as curve:

        def handle(message: dict) -> None:
            if message["type"] == "facts":
                described.update(message["facts"])
            elif message["type"] == "step":
                facts["total_tokens"] = int(message["tokens"])
                elapsed = awake_seconds() - start
                curve.write(json.dumps({"seconds": round(elapsed, 3)} | message) + "\n")

        def report(phase: str, limit_seconds: float) -> Callable[[dict | None], None]:
            def tick(message: dict | None) -> None:
                elapsed = awake_seconds() - start
                speed = loss = None
                if message and message["type"] == "step":
                    speed, loss = facts["total_tokens"] / elapsed, float(message["loss"])
                on_progress(Progress(phase, elapsed, min(1.0, elapsed / limit_seconds), loss, speed))

            return tick

        late = f"did not ask for training data within {setup.startup_limit_seconds:.0f} s of its start; use run.steps()"
        worker.wait("ready", setup.startup_limit_seconds, late, handle, report("startup", setup.startup_limit_seconds))
        facts["startup_seconds"] = awake_seconds() - start
        start = awake_seconds()
        worker.send({"type": "go", "tokens": str(setup.prepared.train_folder / "tokens.bin"), "dtype": setup.prepared.dtype})
        late = f"no checkpoint {GRACE_SECONDS:.0f} s after its {setup.train_seconds:.0f} s of training"
        limit = setup.train_seconds + GRACE_SECONDS
        saved = worker.wait("saved", limit, late, handle, report("training", setup.train_seconds))
        facts["training_seconds"] = awake_seconds() - start
        facts["num_steps"] = int(saved["steps"])
        if not checkpoint.is_file():
            raise RunFailed("crash", "said that it saved a checkpoint, but there is none")
        worker.drain(EXIT_SECONDS, handle)
    facts |= {name: _count(described.get(name)) for name in ("depth", "num_params", "peak_memory_bytes")}
    flops_per_token = _count(described.get("flops_per_token"))
    if flops_per_token and setup.peak_flops and facts.get("total_tokens"):
        rate = flops_per_token * facts["total_tokens"] / facts["training_seconds"]
        facts["mfu_percent"] = 100 * rate / setup.peak_flops


def _count(value) -> int | None:
    """A number that agent code reported, or None when it is not one."""
    is_number = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    return int(value) if is_number else None


def _score(setup: Setup, folder: Path, on_progress: OnProgress) -> Score:
    prepared = setup.prepared
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    text = ValidationText.load(prepared.val_folder, token_bytes, prepared.dtype, setup.eval_bytes)
    rows = rows_per_slot(setup.seq_len, prepared.vocab_size)
    limit_seconds = setup.startup_limit_seconds + max(120.0, 2 * setup.train_seconds)
    start = awake_seconds()

    def tick(fraction: float) -> None:
        on_progress(Progress("scoring", awake_seconds() - start, fraction))

    with slots(folder, rows, setup.seq_len, prepared.vocab_size) as (paths, views):
        job = _job(setup, folder) | {"type": "score", "rows": rows, "slots": [str(path) for path in paths]}
        with Worker(job, folder) as worker:
            late = f"scoring took more than {limit_seconds:.0f} s"
            worker.wait("ready", limit_seconds, late)

            def send(slot: int, ids: np.ndarray) -> None:
                worker.send({"type": "rows", "slot": slot, "count": len(ids)}, ids.tobytes())

            def receive() -> int:
                left_seconds = start + limit_seconds - awake_seconds()
                return int(worker.wait("scored", left_seconds, late)["slot"])

            try:
                return score(text, setup.seq_len, views, send, receive, tick)
            except InvalidLogits as error:
                raise RunFailed("invalid", str(error)) from error


def _job(setup: Setup, folder: Path) -> dict:
    return {
        "python_path": [str(path) for path in setup.backend.python_path],
        "train_py": str(folder / "train.py"),
        "checkpoint": str(folder / "checkpoint"),
        "vocab_size": setup.prepared.vocab_size,
        "seq_len": setup.seq_len,
    }


class Worker:
    """A child process with its channel; leaving the `with` ends its whole tree."""

    def __init__(self, job: dict, folder: Path):
        self._log = open(folder / "log.txt", "ab")  # noqa: SIM115, closed in __exit__
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        try:
            self.process = subprocess.Popen(  # its own group: Ctrl-C in the terminal is ours to handle
                [sys.executable, "-m", "autoresearch.measure.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=folder, env=_environment(), **options,
            )  # fmt: skip
        except BaseException:
            self._log.close()
            raise
        self._channel = Channel(self.process.stdout, self.process.stdin)
        self._inbox: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.send(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        end_tree(self.process)
        self._log.close()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:  # what was still buffered for a dead process
                pass

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
        if status == -9:
            return "oom", "the system killed the process (signal 9), as it does when memory runs out"
        return "crash", f"the process ended by signal {-status}" if status < 0 else f"the process ended with status {status}"


def end_tree(process: subprocess.Popen) -> None:
    """Kill a process and all that it started, and wait until they are gone (not what left both its parent and its group)."""
    try:
        root = psutil.Process(process.pid)
        tree = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        tree = []
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
    if hasattr(os, "killpg"):  # children whose parent died before
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the group is gone (macOS says EPERM of zombies)
            pass
    process.wait()
    psutil.wait_procs(tree, timeout=5)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": str(PACKAGE.parent),  # also when it is not installed; SAFEPATH: the run's folder is not searched
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUTORESEARCH_COMPILE_CACHE": str(cache_dir() / "compile"),
    }
