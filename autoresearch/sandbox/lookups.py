"""Every system call that looks a name up or starts a process, in a cell on Linux, is asked of the harness before it is made.

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

from autoresearch.sandbox.syscalls import ARCHITECTURES, number

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND: structs of 80 and 24 bytes
SET_FLAGS, TAKE_TURNS = 0x40082104, 1  # SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, since Linux 6.6
STARTING = ("fork", "vfork", "clone")
ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


def hand_over(listener: int, door: socket.socket) -> None:
    """In the cell: give the listener to the harness, and keep nothing of it."""
    socket.send_fds(door, [b"."], [listener])
    os.close(listener)
    door.close()


def answer(listener: int, code: int) -> None:
    """Take a call and have it made, or refuse it with an error's code. Raises OSError when who asked is gone."""
    asked = bytearray(80)
    fcntl.ioctl(listener, RECEIVE, asked)
    key = int.from_bytes(asked[:8], "little")
    fcntl.ioctl(listener, SEND, ANSWER.pack(key, 0, -code, 0 if code else CONTINUE))


class Lookups:
    """The harness's side: `door` is a descriptor for the child, `start` comes once the child has it, `close` once it has ended."""

    def __init__(self, on_limit: Callable[[], None]):
        """on_limit is called in the thread, once, when a name was looked up beyond what `limit` allowed."""
        self.count = self.started = 0  # calls so far, and those of them that start a process
        self._most: int | None = None
        self._on_limit, self._is_shut = on_limit, False
        machine = platform.machine()
        self._starting = {number(name, machine) for name in STARTING} if machine in ARCHITECTURES else set[int | None]()
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
        found = socket.recv_fds(self._ours, 1, 1)[1]
        if not found:  # it did not get so far
            return
        with open(found[0], "rb", buffering=0) as listener:
            with contextlib.suppress(OSError):  # before Linux 6.6
                fcntl.ioctl(listener, SET_FLAGS, TAKE_TURNS)
            waiting = select.poll()
            waiting.register(listener, select.POLLIN)
            while waiting.poll()[0][1] == select.POLLIN:  # another event: nobody is left who could ask
                with contextlib.suppress(OSError):  # the one who asked is gone, or was interrupted and asks again
                    self._answer(listener)

    def _answer(self, listener: FileIO) -> None:
        asked = bytearray(80)
        fcntl.ioctl(listener, RECEIVE, asked)
        key = int.from_bytes(asked[:8], "little")
        with self._turn:
            self._turn.wait_for(lambda: not self._is_held)
            self.count += 1
            self.started += int.from_bytes(asked[16:20], "little") in self._starting
            is_beyond = self._most is not None and self.count > self._most
            is_refused = is_beyond or self._is_shut
            fcntl.ioctl(listener, SEND, ANSWER.pack(key, 0, -errno.EPERM if is_refused else 0, 0 if is_refused else CONTINUE))
        if is_beyond and self._most is not None and self.count == self._most + 1:
            self._on_limit()
