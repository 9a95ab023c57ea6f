"""Workers of this machine: a process each, in a group of its own, so that Ctrl-C is the loop's to handle.

A worker that is killed is started again, and its order is lost; nothing of it goes on (sandbox/keeper.py). One that ends before it
is ready, or again and again, is gone for good.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any

from autoresearch.hardware import slots
from autoresearch.paths import PACKAGE
from autoresearch.processes import end_tree, environment, start
from autoresearch.workers.process import END, GO, Post
from autoresearch.workers.work import LAST, Gone, Here, Order, Said

MODULE = "autoresearch.workers.process"
DEATHS = 3  # in a row, without a run that came to its end
CLOSE_SECONDS = 15.0  # chosen: for an orderly end of all
LOG_BYTES = 2000  # of the end of what a worker that died has printed


class Local:
    def __init__(self, posts: Sequence[Post]):
        self._said: queue.SimpleQueue[tuple[Process, Said | None]] = queue.SimpleQueue()
        self._posts = posts
        self._deaths = dict.fromkeys(range(1, len(posts) + 1), 0)
        self._here: set[int] = set()
        self._processes = {worker: Process(worker, post, self._said) for worker, post in enumerate(posts, 1)}

    @property
    def count(self) -> int:
        return len(self._posts)

    def order(self, worker: int, order: Order) -> None:
        self._processes[worker].send(order)

    def go(self, worker: int) -> None:
        self._processes[worker].send(GO)

    def end(self, worker: int) -> None:
        self._processes[worker].send(END)

    def is_home(self, worker: int) -> bool:
        return True

    @contextmanager
    def lent(self, worker: int) -> Iterator[None]:
        with slots.bound(self._posts[worker - 1].slot.processors):
            yield

    def take(self, seconds: float) -> list[tuple[int, Said]]:
        found: list[tuple[int, Said]] = []
        with suppress(queue.Empty):
            process, said = self._said.get(timeout=seconds)
            while True:
                # not of one that was replaced, or has said Gone
                if self._processes[process.worker] is process and not process.is_closed:
                    found.append((process.worker, self._heard(process, said)))
                process, said = self._said.get_nowait()
        return found

    def _heard(self, process: "Process", said: Said | None) -> Said:
        worker = process.worker
        if isinstance(said, Here):
            self._here.add(worker)
            said = replace(said, is_child=True)
        if isinstance(said, LAST):
            self._deaths[worker] = 0
        if said is not None and not isinstance(said, Gone):
            return said
        reason = said.reason if said else process.death()
        self._deaths[worker] += 1
        for_good = worker not in self._here or self._deaths[worker] >= DEATHS
        process.close()
        if not for_good:
            self._processes[worker] = Process(worker, self._posts[worker - 1], self._said)
        return Gone(reason, for_good)

    def close(self) -> None:
        for process in self._processes.values():
            process.part()
        end = time.monotonic() + CLOSE_SECONDS
        for process in self._processes.values():
            process.close(max(0.0, end - time.monotonic()))


class Process:
    """One, with the thread that hears it. What it says comes with the process, None when it says nothing any more."""

    def __init__(
        self, worker: int, first: object, said: "queue.SimpleQueue[tuple[Process, Any]]", module: str = MODULE,
        variables: dict[str, str] | None = None,
    ):  # fmt: skip
        """first: what it is told first. variables: beside ours, which are without secrets."""
        self.worker, self.is_closed = worker, False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, for as long as it runs
        self._process = start(
            [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=environment() | (variables or {}) | _python_path(),
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None, "each is a pipe"
        self._in, self._out = self._process.stdin, self._process.stdout
        self.send(first)
        self._thread = threading.Thread(target=self._hear, args=(self._out, said), daemon=True)
        self._thread.start()

    def send(self, word: object) -> None:
        """It may be dead: then its end is on its way to us."""
        with suppress(OSError, ValueError):
            self._in.write(pickle.dumps(word))
            self._in.flush()

    def part(self) -> None:
        """Tell it to end."""
        with suppress(OSError):
            self._in.close()

    def close(self, seconds: float = 0.0) -> None:
        self.is_closed = True
        self.part()
        if seconds:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        end_tree(self._process)
        self._thread.join(timeout=5)
        self._out.close()
        self._log.close()

    def death(self) -> str:
        """Why it ended, in one line."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.poll()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        last = self._log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        how = f"was ended by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        return f"its process {how}{f' ({last})' if last else ''}"

    def _hear(self, out: IO[bytes], said: "queue.SimpleQueue[tuple[Process, Any]]") -> None:
        with suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                said.put((self, pickle.load(out)))
        said.put((self, None))


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))}
