"""Every file that a cell has written: taken out, counted, copied and removed without trusting its name, kind, size or content.

Nothing here parses what a checkpoint holds but `parameters`, by a header of bounded length, and nothing maps a file that a worker
could shorten. What breaks a limit is RunFailed("invalid"); nothing else is raised but OSError of our own disk.
"""

import contextlib
import errno
import json
import math
import os
import stat
import struct
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePath
from typing import BinaryIO

from autoresearch import durable
from autoresearch.errors import RunFailed

CHECKPOINT_BYTES = 64 << 30  # of a checkpoint where nothing is known of the baseline's
MOST_DIMENSIONS = 64  # what PyTorch takes
HEADER_BYTES = 16 << 20  # of a safetensors file
HEADER_OF_TENSOR_BYTES = 512  # of it for each tensor, whose entry takes about 100; what is more could hold weights
# Bits of an element in safetensors' names. What is no floating-point number could be anything: each of its bits is a parameter.
FLOATS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4}
OTHERS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "C64": 64}
# Of what one training may add to the compile cache. Chosen: 40 times what the largest shipped train.py compiles to on a CPU.
HARVEST_FILES, HARVEST_BYTES, HARVEST_DEPTH, HARVEST_NAME = 5_000, 1 << 30, 12, 512
HARVEST_LOOKS, HARVEST_SECONDS = 20_000, 20.0  # at what is there, of whatever kind; chosen: 50 times what a walk of ours takes
_BY_FOLDER = os.open in os.supports_dir_fd  # not on Windows, where nothing fences agent code either
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def take(work: Path, name: str, target: Path, most_bytes: int = CHECKPOINT_BYTES) -> bool:
    """Move a plain file out of a worker's folder; False when there is none (or a link, which could point anywhere).

    Looked at when it is out of the worker's reach. RunFailed when it is larger than it may be, in its size or in what it promises
    to be (a file with holes).
    """
    try:
        durable.patiently(lambda: os.replace(work / name, target))
    except OSError:
        return False
    status = os.lstat(target)
    if not stat.S_ISREG(status.st_mode):
        remove(target)
        return False
    if status.st_size > most_bytes or status.st_nlink > 1 or _has_holes(status):
        target.unlink()
        what = "it has holes or another name" if status.st_size <= most_bytes else f"it has {status.st_size:,} bytes"
        raise RunFailed("invalid", f"its checkpoint is refused: {what}; {most_bytes:,} bytes are allowed")
    return True


class Held:
    """A folder of an agent's as it is now. What is put in its place later is another one, and is not read. OSError without it."""

    def __init__(self, folder: Path):
        self._path, self._folder = folder, os.open(folder, _READ | os.O_DIRECTORY) if _BY_FOLDER else None

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._folder)

    def names(self, most: int) -> list[str]:
        """Paths of what may be files below it, as many at most; through no link, and without a promise that they stay."""
        found = (Path(parent, name) for parent, _, names in os.walk(self._path) for name in names)
        return [path.relative_to(self._path).as_posix() for path in islice(found, most)]

    def read(self, name: str, most_bytes: int) -> tuple[bytes, float]:
        """(content, time of its last change in seconds) of a plain file with no other name, through no link.

        OSError says why there is none.
        """
        try:
            opened = self._opened(PurePath(name))
        except OSError as error:
            raise _not_plain() if error.errno == errno.ELOOP else error from None
        try:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise _not_plain()
            if status.st_size > most_bytes:
                raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, and {most_bytes:,} are allowed")
            with open(opened, "rb", closefd=False) as file:
                return file.read(most_bytes), status.st_mtime
        finally:
            os.close(opened)

    def _opened(self, name: PurePath) -> int:
        if self._folder is None:
            if any((self._path / path).is_symlink() for path in (name, *name.parents)) or not (self._path / name).is_file():
                raise _not_plain()
            return os.open(self._path / name, _READ)
        folders = [self._folder]
        try:
            for part in name.parts[:-1]:
                folders.append(os.open(part, _READ | os.O_DIRECTORY, dir_fd=folders[-1]))
            return os.open(name.name, _READ, dir_fd=folders[-1])
        finally:
            for folder in folders[1:]:
                os.close(folder)


def _not_plain() -> OSError:
    return OSError(errno.EINVAL, "it is no regular file (a link, a folder, a pipe, or it has another name)")


def _has_holes(status: os.stat_result) -> bool:
    """Fewer blocks than bytes. File systems that compress have fewer too, or keep small files elsewhere: a quarter is enough."""
    blocks = getattr(status, "st_blocks", None)
    return blocks is not None and status.st_size > 1 << 20 and blocks * 512 < status.st_size // 4


def parameters(checkpoint: Path) -> int:
    """How many parameters a file of weights can hold: of safetensors its floats, and of what else is in it the bits.

    A file that is no well-formed safetensors counts a parameter a byte. In any case there are at least a quarter of its bytes, so
    that nothing is gained by packing several numbers into one.
    """
    size = checkpoint.stat().st_size
    found = _elements_if_whole(checkpoint, size)
    return size if found is None else found


def is_safetensors(path: Path) -> bool:
    """Whether its header is well-formed and its tensors fill the file."""
    return _elements_if_whole(path, path.stat().st_size) is not None


def _elements_if_whole(checkpoint: Path, size: int) -> int | None:
    try:
        return _elements(checkpoint, size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
        return None


def _elements(checkpoint: Path, size: int) -> int:
    """By the header. ValueError and the like where it is not what safetensors writes: shapes, types and places that agree."""
    with open(checkpoint, "rb") as file:
        length: int = struct.unpack("<Q", file.read(8))[0]
        if length > min(size - 8, HEADER_BYTES):
            raise ValueError(length)
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    counted = 0
    places: list[tuple[int, int]] = []
    for entry in header.values():
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError(shape)
        if len(shape) > MOST_DIMENSIONS or max(shape, default=0) > 8 * size:  # their product could take minutes
            raise ValueError(len(shape))
        bits = FLOATS.get(entry["dtype"]) or OTHERS[entry["dtype"]]
        elements = math.prod(shape)
        if elements * bits != 8 * (end - start):
            raise ValueError(shape)
        counted += elements if entry["dtype"] in FLOATS else elements * bits
        places.append((start, end))
    end_before = 0
    for start, end in sorted(places):
        if start != end_before:
            raise ValueError(places)
        end_before = end
    if end_before != size - 8 - length:
        raise ValueError(end_before)
    hidden = max(0, length - HEADER_OF_TENSOR_BYTES * (1 + len(places)))
    return max(counted, -(-end_before // 4)) + hidden


def harvest(own: Path, layer: Path, but: str | None = None) -> None:
    """Add what a worker has compiled in `own` to a layer of the cache: plain files with new names, each put there whole.
    None whose name ends with `but`.

    The worker is still there and may put links in the place of files and folders, and of `own` itself: it may not change the folder
    around that. Each step down is from an open folder and through no link. Beyond the limits nothing more is taken. A full disk
    only costs time.
    """
    files, size = 0, 0
    with contextlib.suppress(OSError):
        for opened, name in _plain_files(own):
            with open(opened, "rb") as source, contextlib.suppress(OSError):
                status = os.fstat(source.fileno())
                is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and not _has_holes(status)
                is_wanted = _is_sayable(name) and not (but and name.name.endswith(but)) and not (layer / name).exists()
                if is_plain and is_wanted and size + status.st_size <= HARVEST_BYTES:
                    files, size = files + 1, size + status.st_size
                    _put(source, status.st_size, layer / name, layer)
            if files >= HARVEST_FILES:
                break


def _plain_files(folder: Path) -> Iterator[tuple[int, Path]]:
    """(descriptor, path relative to folder) of what can be opened there, HARVEST_DEPTH deep and HARVEST_FILES wide at most."""
    if not _BY_FOLDER:
        for parent, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    yield os.open(os.path.join(parent, name), _READ), Path(parent, name).relative_to(folder)
        return
    top = os.open(folder, _READ | os.O_DIRECTORY)
    try:
        yield from _opened_below(top, Path(), 0, _looks())
    finally:
        os.close(top)


def _looks() -> Iterator[int]:
    """As many as a walk may take: so many entries of whatever kind, and not for longer than that."""
    end = time.monotonic() + HARVEST_SECONDS
    for look in range(HARVEST_LOOKS):
        if time.monotonic() > end:
            return
        yield look


def _opened_below(folder: int, inside: Path, depth: int, looks: Iterator[int]) -> Iterator[tuple[int, Path]]:
    with os.scandir(folder) as entries:
        for entry, _ in zip(islice(entries, HARVEST_FILES), looks, strict=False):
            try:
                opened = os.open(entry.name, _READ, dir_fd=folder)
            except OSError:  # a link, or gone
                continue
            if not stat.S_ISDIR(os.fstat(opened).st_mode):
                yield opened, inside / entry.name
                continue
            try:
                if depth < HARVEST_DEPTH:
                    yield from _opened_below(opened, inside / entry.name, depth + 1, looks)
            finally:
                os.close(opened)


def _is_sayable(name: Path) -> bool:
    """A compiler's names are short and plain; others would be written out by whoever lists them."""
    return len(str(name)) <= HARVEST_NAME and str(name).isprintable()


def _put(source: BinaryIO, size: int, target: Path, layer: Path) -> None:
    """Its first `size` bytes: what the worker adds meanwhile is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = layer.with_name(f"{layer.name}-{uuid.uuid4().hex}.part")
    try:
        with open(part, "wb") as file:
            while size > 0 and (block := source.read(min(size, 1 << 20))):
                file.write(block)
                size -= len(block)
        durable.patiently(lambda: os.replace(part, target))
    except OSError:
        part.unlink(missing_ok=True)
        raise


def takes_more(folder: Path, most_bytes: int, most_files: int) -> bool:
    """Whether what lies there takes more room than that, or hides from being counted: too deep, without rights."""
    hidden: list[OSError] = []
    total_bytes = total_files = 0
    for parent, folders, names in os.walk(folder, onerror=hidden.append):
        total_files += len(folders) + len(names)
        for name in names:
            with contextlib.suppress(OSError):  # gone
                total_bytes += os.lstat(os.path.join(parent, name)).st_size
        if total_bytes > most_bytes or total_files > most_files:
            return True
    return any(error.errno != errno.ENOENT for error in hidden)


def remove(path: Path) -> None:
    """A file or a folder with all that is in it, however deep and whatever its modes; what is not there is no error.

    Whoever made it may be alive, and put links in the place of folders meanwhile: nothing is named but in an open folder, and no
    link is followed. Without recursion: folders are moved up beside the first before they are emptied. What a dying process holds
    open (Windows) is left for the next time.
    """
    if not _BY_FOLDER:
        with contextlib.suppress(OSError):
            durable.remove_tree(path) if path.is_dir() else durable.remove(path)
        return
    try:
        beside = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        waiting = [path.name]
        while waiting:
            with contextlib.suppress(OSError):
                waiting += _emptied(waiting.pop(), beside, f"{path.name}-{{}}.removed")
    finally:
        os.close(beside)


def _emptied(name: str, beside: int, new_name: str) -> list[str]:
    """Remove what has that name in the folder `beside`. Of a folder its own folders are moved there, under the names that are
    returned; it goes last.
    """
    moved: list[str] = []
    try:
        folder = _folder(name, beside)
    except OSError:  # a file, or a link
        os.unlink(name, dir_fd=beside)
        return moved
    try:
        while names := _some_names(folder):
            before = len(moved)
            gone = 0
            for entry in names:
                try:
                    os.unlink(entry, dir_fd=folder)
                    gone += 1
                except OSError:  # a folder
                    with contextlib.suppress(OSError):
                        os.close(_folder(entry, folder))  # moving a folder writes in it
                        target = new_name.format(uuid.uuid4().hex)
                        os.rename(entry, target, src_dir_fd=folder, dst_dir_fd=beside)
                        moved.append(target)
            if not gone and len(moved) == before:
                break  # nothing here can be removed
    finally:
        os.close(folder)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=beside)
    return moved


def _folder(name: str, inside: int) -> int:
    """An open folder that may be read and changed; OSError for a link and for anything else."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, dir_fd=inside)
    except PermissionError:
        if sys.platform != "linux":
            with contextlib.suppress(NotImplementedError):
                os.chmod(name, 0o700, dir_fd=inside, follow_symlinks=False)
        else:
            handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
            try:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
            finally:
                os.close(handle)
        descriptor = os.open(name, flags, dir_fd=inside)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o700)
    return descriptor


def _some_names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, 1000)]
