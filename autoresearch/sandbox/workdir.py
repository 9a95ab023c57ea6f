"""A worker's own folder: made new for each worker, removed after it, and the only place where it may write.

Beside it lies `<its name>-lent`, empty and only to read, where a scoring finds the weights once it has built its model.

The compile cache in it is made of links into layers of a shared one, which a cell may only read. A layer holds what one text of
train.py has compiled, under the digest of that text: so a process reads what the same text, the study's baseline, or the harness
itself (which runs shipped code only, and reads none of the others) has compiled, and nothing that another experiment has put
there. It is filled when a training says READY, before it has seen a training token: nothing learned is carried over.

A process outside of cells has a compile cache of its own, too (`borrow`), and the harness's layer gets what it has compiled once it
has ended well (`give_back`): one that is killed while it links a library leaves no half of it to others.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from autoresearch.border import files
from autoresearch.paths import cache_dir

COMPILED = "compile"
OWN_LAYER = "harness-"  # of what the harness runs outside of cells, one for each backend
OWN_FILES = 1000  # chosen: what one text compiles is 3 to 350 files; each costs every worker of that backend a link
TRITON_GROUP, GROUP_BYTES = "__grp__", 1 << 16  # how the names of Triton's lists of files begin; more of one is never read
GROUPS_BYTES = 16 << 20  # of all lists; an H100's profile has 300 of them with a kilobyte each
LOCK = ".lock"  # how compilers' lock files end: each worker has its own
LINKS = 20_000  # chosen: so many take about half a second
LAYERS = 100  # chosen: the oldest are removed beyond it


def make(work: Path, layers: Iterable[Path] = ()) -> Path:
    """An empty folder, but for the compile cache with the files of the layers; and the empty one beside it."""
    remove(work)
    work.mkdir(parents=True)
    lent(work).mkdir()
    (work / COMPILED).mkdir()
    left = LINKS
    for layer in dict.fromkeys(layers):
        with contextlib.suppress(OSError):
            os.utime(layer)
            left -= _link_all(layer, work / COMPILED, left)
    return work


def remove(work: Path) -> None:
    files.remove(work)
    files.remove(lent(work))


def lent(work: Path) -> Path:
    return work.with_name(work.name + "-lent")


def lend(file: Path, work: Path) -> Path:
    """A file where the cell may read it: under a second name, or a copy on another disk."""
    target = lent(work) / file.name
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
    return target


def layer(train_py: str) -> Path:
    """Where what a text has compiled is kept."""
    return _layers() / hashlib.blake2b(train_py.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def own_layer(backend: str) -> Path:
    """The layer of what the harness runs on a backend outside of cells, shipped code alone. Made when missing."""
    folder = _layers() / f"{OWN_LAYER}{backend}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def borrow(folder: Path, backend: str) -> Path:
    """A new compile cache in folder for a process outside of cells, with the files of the harness's layer."""
    cache = Path(tempfile.mkdtemp(prefix=f"{COMPILED}-", dir=folder))
    _link_all(own_layer(backend), cache, LINKS)
    return cache


def give_back(borrowed: Path, backend: str, is_whole: bool) -> None:
    """Remove it; is_whole: the process ended well, so that what it has compiled is added to the harness's layer, whose oldest files
    go beyond OWN_FILES.
    """
    if is_whole:
        files.harvest(borrowed, own_layer(backend), but=LOCK)
        _forget_oldest(own_layer(backend))
    files.remove(borrowed)


def _forget_oldest(layer: Path) -> None:
    with contextlib.suppress(OSError):
        kept = [Path(folder, name) for folder, _, names in os.walk(layer) for name in names]
        for path in sorted(kept, key=lambda path: path.stat().st_mtime)[:-OWN_FILES]:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # the last one of its folder


def harvest(work: Path, train_py: str) -> None:
    """Add what a training has compiled to the layer of its text, and remove the layers that were not used for longest."""
    target = layer(train_py)
    files.harvest(work / COMPILED, target, but=LOCK)
    with contextlib.suppress(OSError):
        os.utime(target)
        others = [path for path in _layers().iterdir() if not path.name.startswith(OWN_LAYER)]
        for path in sorted(others, key=lambda path: path.stat().st_mtime)[:-LAYERS]:
            files.remove(path)


def _layers() -> Path:
    return cache_dir() / COMPILED


def _link_all(layer: Path, own: Path, most: int) -> int:
    """Links to a layer's files in a worker's own folder, where no earlier layer had them. How many were made.

    An empty file is what a machine leaves that lost its power: it goes, and is compiled again.
    """
    made = groups = 0
    for folder, _, names in os.walk(layer):
        here = own / Path(folder).relative_to(layer)
        here.mkdir(exist_ok=True)
        for name in islice(names, most - made):
            if name.endswith(LOCK) or os.path.lexists(here / name):
                continue
            path = os.path.join(folder, name)
            if not os.stat(path).st_size:
                os.unlink(path)
                continue
            if name.startswith(TRITON_GROUP):
                groups += _copy_group(path, here / name, GROUPS_BYTES - groups)
            else:
                _link(path, here / name)
            made += 1
    return made


def _copy_group(source: str, target: Path, most: int) -> int:
    """Triton's list of the files that belong together names each with its folder, which is gone: they lie beside the list. How many
    bytes were read and written; a list that would have more than most, or grows beyond what one of Triton's could, is left out.
    """
    if most <= 0:
        return 0
    here = json.dumps(str(target.parent) + os.sep)[1:-1].encode()
    with open(source, "rb") as file:
        text = file.read(GROUP_BYTES)
    size = len(text)
    text = re.sub(rb'"[^"]*[/\\\\]([^"/\\\\]+)"', lambda match: b'"' + here + match[1] + b'"', text)
    if len(text) <= min(most, 4 * GROUP_BYTES):
        target.write_bytes(text)
    return size + len(text)


def _link(source: str, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # Windows gives links to few users
        shutil.copyfile(source, target)
