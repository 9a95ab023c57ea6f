"""What a run prints, as the file log.txt: its beginning and its end, however much there is.

A worker writes into a pipe and never sees the file: it can't stretch, cut or truncate it. `mute` ends the log before a process is
shown held-out text: what it prints from then on is thrown away.
"""

import os
from collections import deque
from pathlib import Path

from autoresearch import durable

HEAD_BYTES, TAIL_BYTES = 1 << 20, 1 << 18
READ_BYTES = 1 << 16


class Log:
    """Follows one pipe. `pump` is for a thread of its own, until the last writer is gone."""

    def __init__(self, path: Path, pipe: int):
        """path: appended to, up to HEAD_BYTES in all; a run's processes share it, one after the other."""
        self._pipe = pipe
        self._file = durable.patiently(lambda: open(path, "ab"))  # noqa: SIM115, closed by `close`
        self._head_bytes_left = max(0, HEAD_BYTES - os.fstat(self._file.fileno()).st_size)
        self._tail: deque[bytes] = deque()
        self._tail_bytes = self._left_out = 0
        self._is_muted = False
        self.last = b""  # of what was kept, as much as was read at once

    def mute(self) -> None:
        """From here on nothing is kept."""
        self._is_muted = True

    def pump(self) -> None:
        try:
            while data := os.read(self._pipe, READ_BYTES):
                if not self._is_muted:
                    self._keep(data)
        except (OSError, ValueError):  # a full disk, a closed pipe: a log ends nothing
            while _read(self._pipe):
                pass

    def close(self) -> None:
        """Write the end of a log that was too long."""
        try:
            if self._tail:
                gap = f"\n... {self._left_out} bytes left out ...\n" if self._left_out else ""
                self._file.write(gap.encode() + b"".join(self._tail))
            self._file.close()
        except (OSError, ValueError):
            pass

    def _keep(self, data: bytes) -> None:
        self.last = (self.last + data)[-READ_BYTES:]
        now, later = data[: self._head_bytes_left], data[self._head_bytes_left :]
        if now:
            self._file.write(now)
            self._file.flush()
            self._head_bytes_left -= len(now)
        if later:
            self._tail.append(later)
            self._tail_bytes += len(later)
            while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
                self._left_out += len(self._tail[0])
                self._tail_bytes -= len(self._tail.popleft())


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, READ_BYTES)
    except OSError:
        return b""
