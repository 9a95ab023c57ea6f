"""The worker's end of its line to the harness: JSON lines, some followed by raw bytes, over stdin and stdout.

Pipes that every system has, no socket: a sandbox may forbid sockets. The worker moves the two descriptors away before agent
code runs and points stdout at stderr, which becomes the run's log; so a `print` can't be taken for a message. The harness's end is
child.py's, and what comes out there is checked by border/messages.py.
"""

import json
import os
import threading
from typing import Any, BinaryIO


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


class Channel:
    """The worker's end. send() may be called from several threads; receive() from one."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO):
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._writer.write(encode(message))
            self._writer.flush()

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the harness is gone."""
        line = self._reader.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def receive_bytes(self, count: int) -> bytes:
        """The payload that follows a message, whose length is known from it."""
        data = self._reader.read(count)
        if len(data) != count:
            raise EOFError("the harness is gone")
        return data


def take_stdio() -> Channel:
    """The worker's end. Afterwards fd 0 is empty and fd 1 is the log; child processes inherit only those."""
    reader = os.fdopen(os.dup(0), "rb")
    writer = os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return Channel(reader, writer)
