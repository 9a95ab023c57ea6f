"""A worker's keeper (Linux): a small process outside of the cell, which ends all that the worker has started, a daemon too.

It is a subreaper: what leaves its parent becomes its child. It ends everything when the worker's first process ends, and when the
harness is gone, even by kill -9.
"""

import contextlib
import ctypes
import os
import select
import signal

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def stay(*doors: int) -> None:
    """Fork: the parent stays behind as the keeper and never returns, the child goes on with the work. doors: not kept here."""
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
        _keep(worker)
    finally:
        os._exit(1)


def _keep(worker: int) -> None:
    line = select.poll()
    line.register(0, 0)  # the harness's end closed: POLLHUP, though nothing is read here
    ended = os.pidfd_open(worker)
    line.register(ended, select.POLLIN)
    line.poll()
    status = None
    while True:
        with contextlib.suppress(OSError):  # without a descriptor or memory: while we are here, the harness finds them below us
            _kill_all(_children())
        try:
            pid, found = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        status = found if pid == worker else status
    code = os.waitstatus_to_exitcode(status) if status is not None else 1
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _children() -> list[int]:
    own, found = str(os.getpid()), []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = file.read().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if parent == own:
                found.append(int(name))
    return found


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
