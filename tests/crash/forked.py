"""Processes that are forks of this one, so that a thousand studies can be killed and resumed in minutes.

`quick_workers` starts a study's worker processes as forks: the same code in the same separate processes, without the third of
a second that a fresh interpreter takes to import numpy. `each` runs a function once per item, every call in a process of its own.
"""

import contextlib
import inspect
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from autoresearch import child, durable
from autoresearch.measure import worker
from autoresearch.run import scoring
from autoresearch.sandbox import enter, keeper

LIMIT_SECONDS = 120.0  # of one call


class ForkedWorker(subprocess.Popen):
    """Popen, for a worker that is not locked in (sandbox/launch.py, level 0) only."""

    def _execute_child(self, *arguments, **keywords):
        start = inspect.signature(subprocess.Popen._execute_child).bind(self, *arguments, **keywords)
        given = start.arguments
        if list(given["args"][1:4]) != ["-m", enter.__name__, child.WORKER]:
            return super()._execute_child(*arguments, **keywords)
        self.pid = fork()
        if self.pid == 0:
            _become_worker(given)
        self._child_created = True
        pipes = [given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        self._close_pipe_fds(*pipes)


def fork() -> int:
    with warnings.catch_warnings():  # Python 3.12 warns of threads; ours only wait in read()
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def interruptible(work: Callable[[], int]) -> int:
    """The id of a new process that does work and ends with its status, or with 130 by SIGINT, as the command line does.

    The signal is held back until the process can take it: else it would unwind what it has inherited, and clear away our folders.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pid = fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                status = work()
            except KeyboardInterrupt:  # before the study was open, or after its end
                status = 130
            finally:
                os._exit(status)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return pid


def _become_worker(given: dict) -> None:
    try:
        os.setsid()
        for source, target in (("p2cread", 0), ("c2pwrite", 1), ("errwrite", 2)):
            os.dup2(given[source], target)
        os.closerange(3, 1024)
        os.chdir(given["cwd"])
        os.environ.clear()
        os.environ.update(given["env"])
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
        durable.on_step = None
        keeper.stay()
        enter.say({"type": "entered"})
        worker.main()
    finally:
        os._exit(1)


@contextlib.contextmanager
def quick_workers() -> Iterator[None]:
    """While inside, workers are forks, and hand over few rows at a time (which changes no score)."""
    before = child.subprocess, scoring.rows_per_slot
    child.subprocess = types.SimpleNamespace(**vars(subprocess) | {"Popen": ForkedWorker})
    scoring.rows_per_slot = lambda answer: 64
    try:
        yield
    finally:
        child.subprocess, scoring.rows_per_slot = before


def each(check: Callable, items: Iterable, at_once: int = 4, meanwhile: Callable = lambda: None) -> Iterator[tuple]:
    """(item, check(item)'s result or None, its traceback or None) in the order in which they end.

    meanwhile: called once, when the first of them run.
    """
    waiting = deque(items)
    running: dict[int, tuple] = {}
    while running or waiting:
        while waiting and len(running) < at_once:
            item = waiting.popleft()
            pid, reader = _call(check, item)
            running[reader] = (item, pid, time.monotonic() + LIMIT_SECONDS, [])
        meanwhile()
        meanwhile = int  # which does nothing
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for reader in list(running):
            item, pid, end, parts = running[reader]
            part = os.read(reader, 1 << 16) if reader in ready else None
            if part:
                parts.append(part)
            elif part == b"" or time.monotonic() > end:
                if part is None:
                    os.kill(pid, 9)
                os.waitpid(pid, 0)
                os.close(reader)
                del running[reader]
                yield item, *(pickle.loads(b"".join(parts)) if parts else (None, "it ended without a word, or took too long"))


def _call(check: Callable, item) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.close(reader)
        try:
            answer = (check(item), None)
        except BaseException:
            answer = (None, traceback.format_exc())
        with open(writer, "wb") as out:
            pickle.dump(answer, out)
    finally:
        os._exit(0)
