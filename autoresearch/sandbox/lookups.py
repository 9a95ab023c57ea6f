"""Every system call that looks a name up or starts a process or a thread, in a cell on Linux, is asked of the harness before it is
made.

The kernel remembers names that were looked up, there or not, and a clock tells which: so one process could leave a note for a later
one, in folders that both may read. No right to a file stops that. So the filter (seccomp.py) hands these calls on, and `Lookups`
answers them from a thread of the harness: all are made, or so many from a moment on, or, once `shut`, none ever again (EPERM).

A process that starts another and ends before it is looked at, again and again, would be on no list: so while a worker is `held`
nothing is answered, and nobody starts anything. Who waits for an answer can still be stopped, and asks again when it goes on.

What is decided is when, never which name, so that nothing hangs on memory that the process may change meanwhile.
seccomp_unotify(2), linux/seccomp.h.
"""

import contextlib
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from typing import NamedTuple

from autoresearch.sandbox.syscalls import ARCHITECTURES, number

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND: structs of 80 and 24 bytes
SET_FLAGS, TAKE_TURNS = 0x40082104, 1  # SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, since Linux 6.6
STARTING = ("fork", "vfork", "clone")
ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
THREAD = 0x10000  # CLONE_THREAD of linux/sched.h
# Chosen: threads more than at the start, where compilers' and libraries' pools have a few a core; starts between two looks.
MOST_MORE, LOOK_EVERY = 1000 + 32 * (os.cpu_count() or 1), 32


def hand_over(listener: int, door: socket.socket) -> None:
    """In the cell: give the listener to the harness, and keep nothing of it."""
    socket.send_fds(door, [b"."], [listener])
    os.close(listener)
    door.close()


class Asked(NamedTuple):
    """One call that waits for its answer: the beginning of struct seccomp_notif."""

    key: int
    call: int
    first: int  # its first argument

    @classmethod
    def receive(cls, listener: int) -> "Asked":
        """Raises OSError when who asked is gone."""
        asked = bytearray(80)
        fcntl.ioctl(listener, RECEIVE, asked)
        return cls(*(int.from_bytes(asked[start:end], "little") for start, end in ((0, 8), (16, 20), (32, 40))))

    def answer(self, listener: int, code: int) -> None:
        """Have it made, or refused with an error's code. Raises OSError when who asked is gone."""
        fcntl.ioctl(listener, SEND, ANSWER.pack(self.key, 0, -code, 0 if code else CONTINUE))


class Crowd:
    """Whether this machine has MOST_MORE threads more than when it was made: nobody starts another then (EAGAIN)."""

    def __init__(self) -> None:
        self._starts, self._most = 0, _threads() + MOST_MORE

    def is_full(self) -> bool:
        """To be asked before each start; it looks every LOOK_EVERY of them, and at each one while it is full."""
        self._starts += 1
        is_full = self._starts % LOOK_EVERY == 0 and _threads() > self._most
        self._starts -= is_full
        return is_full


def _threads() -> int:
    """Of the whole machine, proc_loadavg(5)."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[2])


class Lookups:
    """The harness's side: `door` is a descriptor for the child, `start` comes once the child has it, `close` once it has ended."""

    def __init__(self, on_limit: Callable[[], None]):
        """on_limit is called in the thread, once, when a name was looked up beyond what `limit` allowed."""
        self.count = self.started = 0  # calls so far, and those of them that start a process
        self._crowd: Crowd | None = None
        self._most: int | None = None
        self._on_limit, self._is_shut = on_limit, False
        machine = platform.machine()
        is_known = machine in ARCHITECTURES
        self._starting = {number(name, machine) for name in STARTING} if is_known else set[int | None]()
        self._clone = number("clone", machine) if is_known else None
        self._ours, self._theirs = socket.socketpair()
        self.door = self._theirs.fileno()
        self._is_held = False
        self._turn = threading.Condition()  # nothing is allowed any more once `shut` or the beginning of `held` has returned
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._theirs.close()
        self._thread.start()

    def limit(self, more: int) -> None:
        """From now on so many."""
        self._most = self.count + more

    def shut(self) -> None:
        """From now on none."""
        with self._turn:
            self._is_shut = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile none is answered."""
        with self._turn:
            self._is_held = True
        try:
            yield
        finally:
            with self._turn:
                self._is_held = False
                self._turn.notify_all()

    def close(self) -> None:
        self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)  # a process that got away would be asking still
        self._ours.close()

    def _serve(self) -> None:
        handed = socket.recv_fds(self._ours, 1, 1)[1]
        if not handed:  # it did not get so far
            return
        self._crowd = Crowd()
        with open(handed[0], "rb", buffering=0) as listener:
            with contextlib.suppress(OSError):  # before Linux 6.6
                fcntl.ioctl(listener, SET_FLAGS, TAKE_TURNS)
            waiting = select.poll()
            waiting.register(listener, select.POLLIN)
            while waiting.poll()[0][1] == select.POLLIN:  # another event: nobody is left who could ask
                with contextlib.suppress(OSError):  # who asked is gone, or was interrupted and asks again
                    self._answer(listener)

    def _answer(self, listener: FileIO) -> None:
        asked = Asked.receive(listener.fileno())
        is_start = asked.call in self._starting
        with self._turn:
            self._turn.wait_for(lambda: not self._is_held)
            self.count += 1
            self.started += is_start and not (asked.call == self._clone and asked.first & THREAD)
            is_beyond = self._most is not None and self.count > self._most
            code = errno.EPERM if is_beyond or self._is_shut else 0
            if is_start and not code and self._crowd and self._crowd.is_full():
                code = errno.EAGAIN
            asked.answer(listener.fileno(), code)
        if is_beyond and self._most is not None and self.count == self._most + 1:
            self._on_limit()
