"""A worker's keeper (Linux): a small process outside of the cell, which ends all that the worker has started, a daemon too.

It is a subreaper: what leaves its parent becomes its child. It ends everything when the worker's first process ends, and when the
harness is gone, even by kill -9.

A process that starts another and ends, again and again, would be killed too late each time. Where nobody else is asked for new
processes (fence.py; in a cell it is the harness), the keeper is: it allows them until the end, then none, and then kills. Who ended
is taken away at once, so that no such chain fills the list of processes, and a crowd gets only so large (lookups.Crowd).
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket

from autoresearch.sandbox import lookups

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def stay(*doors: int, asks: socket.socket | None = None) -> None:
    """Fork: the parent stays behind as the keeper and never returns, the child goes on with the work.

    doors: not kept here. asks: over which the child hands the listener over that tells of new processes, or closes.
    """
    if _libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper")
    worker = os.fork()
    if worker == 0:
        if _libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no parent death signal")
        return
    try:
        for ours in (1, *doors):  # the worker's lines to the harness: their end must show there
            os.close(ours)
        _keep(worker, asks)
    finally:
        os._exit(1)


def _keep(worker: int, asks: socket.socket | None) -> None:
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    line = select.poll()
    line.register(0, 0)  # the harness's end closed: POLLHUP, though nothing is read here
    line.register(os.pidfd_open(worker), select.POLLIN)
    line.register(wake, select.POLLIN)
    handed = socket.recv_fds(asks, 1, 1)[1] if asks else []
    crowd = lookups.Crowd()
    for listener in handed:
        line.register(listener, select.POLLIN)
    quiet = {wake, *handed}
    while (turned := {descriptor for descriptor, _ in line.poll()}) <= quiet:
        if wake in turned:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _take_away(worker)
        for listener in turned.intersection(handed):
            with contextlib.suppress(OSError):  # who asked is gone
                lookups.Asked.receive(listener).answer(listener, errno.EAGAIN if crowd.is_full() else 0)
    for listener in handed:
        os.close(listener)  # from now on nobody starts anything: ENOSYS
    status = None
    while True:
        with contextlib.suppress(OSError):  # without a descriptor or memory: while we are here, the harness finds them below us
            _kill_all(_children())
        try:
            pid, waited = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        status = waited if pid == worker else status
    code = os.waitstatus_to_exitcode(status) if status is not None else 1
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _take_away(worker: int) -> None:
    """Those that have ended, but the worker, whose end is told by its own descriptor."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != worker:
            os.waitpid(ended.si_pid, 0)


def _children() -> list[int]:
    own, pids = str(os.getpid()), []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = file.read().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if parent == own:
                pids.append(int(name))
    return pids


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
