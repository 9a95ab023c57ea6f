"""All durable writes: when a function here returns, its bytes survive a power loss; when it is cut short, the old state stays.

Windows cannot sync a folder, and there a virus scanner may hold a file for a moment: `replace` tries again.
"""

import os
import sys
import threading
import time
from pathlib import Path

_BUSY_WINDOWS_ERRORS = (5, 32, 33)  # access denied, sharing violation, lock violation


def sync_file(descriptor: int) -> None:
    """fsync; on macOS F_FULLFSYNC, because fsync there leaves the bytes in the drive's own cache (man 2 fsync)."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename over target, atomically, and make the rename itself durable."""
    for attempt in range(10):
        try:
            os.replace(source, target)
            break
        except OSError as error:
            if getattr(error, "winerror", None) not in _BUSY_WINDOWS_ERRORS or attempt == 9:
                raise
            time.sleep(0.05 * 2**attempt)
    sync_folder(target.parent)


def write(path: Path, content: bytes | str) -> None:
    """Write a whole file: all of it or none."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append(path: Path, line: bytes) -> None:
    """Append one line (which ends in a newline) and sync it; the last line of a file is the only one that can be torn."""
    is_new = not path.exists()
    with open(path, "ab") as file:
        file.write(line)
        file.flush()
        sync_file(file.fileno())
    if is_new:
        sync_folder(path.parent)
