"""The line between the harness and a worker: JSON lines, some followed by raw bytes, over the worker's stdin and stdout.

Pipes that every system has, no socket: a sandbox may forbid sockets. The worker moves the two descriptors away before agent
code runs and points stdout at stderr, which is the run's log; so a `print` can't be taken for a message.
"""

import json
import os
import threading
from typing import BinaryIO


class Channel:
    """send() may be called from several threads; receive() from one."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO):
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    def send(self, message: dict, payload: bytes | memoryview = b"") -> None:
        """One message; payload bytes follow its line, and the receiver knows their number from the message."""
        line = json.dumps(message, allow_nan=True).encode() + b"\n"
        with self._lock:
            self._writer.write(line)
            self._writer.write(payload)
            self._writer.flush()

    def receive(self) -> dict | None:
        """The next message, or None when the other side is gone. ValueError for what is not a message."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            return None
        message = json.loads(line)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ValueError(f"not a message: {line[:80]!r}")
        return message

    def receive_bytes(self, count: int) -> bytes:
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
