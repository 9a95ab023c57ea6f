"""The process in a cell that starts one command, takes its time and keeps the end of what it prints. Run as a module.

The command is another process, which can't reach into this one: its clock, and its line to the harness, are the harness's own.
Nothing is imported but what it needs: it is started for each measurement.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from typing import IO, Any

OUTPUT_BYTES = 10_000  # of the end of what is printed: a message may have 65,536, and JSON makes six of one
AFTER_SECONDS = 0.5  # chosen: for the last of the output, where what was left in the background holds its end open
NOT_DUMPABLE = 4, 0  # PR_SET_DUMPABLE of linux/prctl.h: nobody but root opens its memory or its descriptors
# Of a worker's environment, not the command's: they would change what Python finds.
_OURS = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "AUTORESEARCH_COMPILE_CACHE")


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    line = os.dup(1)  # to the harness; what a command prints goes into the log
    os.dup2(2, 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(*NOT_DUMPABLE, 0, 0, 0)
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    _say(line, {"type": "started"})
    start = time.perf_counter()
    process = subprocess.Popen(
        job["command"], shell=True, cwd=job["folder"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        env=environment | job["variables"],
    )  # fmt: skip
    assert process.stdout is not None, "it is a pipe"
    output = _Tail(process.stdout)
    status = process.wait()
    seconds = time.perf_counter() - start
    _say(line, {"type": "done", "status": status, "seconds": seconds, "output": output.end()})


def _say(line: int, message: dict[str, Any]) -> None:
    os.write(line, json.dumps(message).encode() + b"\n")


class _Tail:
    """Reads a pipe to its end, shows it in the log, and keeps the last of it."""

    def __init__(self, pipe: IO[bytes]):
        self._pipe, self._kept = pipe, bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> str:
        self._thread.join(AFTER_SECONDS)
        return bytes(self._kept[-OUTPUT_BYTES:]).decode("utf-8", "replace")

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._pipe.fileno(), 1 << 16):
                self._kept += data
                del self._kept[: -2 * OUTPUT_BYTES]
                os.write(2, data)


if __name__ == "__main__":
    main()
