"""The operating system's lock on a file: dropped when its process dies, however it dies. The file stays; only the lock counts."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoresearch import durable

POLL_SECONDS = 0.2

if sys.platform == "win32":
    import msvcrt

    # Windows keeps others from reading a locked byte, so the locked one lies far behind any text.
    _FAR = 1 << 30

    def try_lock(descriptor: int) -> bool:
        """Whether this process has it now. Raises nothing; closing the descriptor lets go."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Whether this process has it now. Raises nothing; closing the descriptor lets go."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def held(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on the file at path (made when missing, never removed); on_wait is called at each turn of waiting."""
    with durable.patiently(lambda: open(path, "a+b")) as file:
        while not try_lock(file.fileno()):
            on_wait()
            time.sleep(POLL_SECONDS)
        yield  # closing the file lets go
