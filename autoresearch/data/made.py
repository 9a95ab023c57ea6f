"""A folder of the cache that is whole or not there: written beside its place by one process at a time, synced, renamed into it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoresearch import durable, locks, paths
from autoresearch.data.progress import OnProgress
from autoresearch.errors import EnvironmentFailure

_UNFINISHED = ".unfinished-"


@contextmanager
def alone(on_progress: OnProgress) -> Iterator[Path]:
    """<cache>/data, which no other process writes in meanwhile, without what those that died left there.

    What is wrong with the data is a UsageError by then, so an OSError comes from writing here: EnvironmentFailure.
    """
    root = paths.cache_dir() / "data"
    try:
        root.mkdir(exist_ok=True)
        with locks.held(root / ".lock", on_wait=lambda: on_progress("waiting for another prepare to end", 0, None)):
            for leftover in root.glob(f"{_UNFINISHED}*"):
                durable.remove_tree(leftover)
            yield root
    except OSError as error:
        raise EnvironmentFailure(
            f"can't write in {root} ({error.strerror or error}); free some space or close what uses it, "
            "or set AUTORESEARCH_CACHE_DIR to another folder"
        ) from None


def build(folder: Path, write: Callable[[Path], None]) -> None:
    """write(work) fills an empty sibling of folder, which then takes its place."""
    work = folder.with_name(f"{_UNFINISHED}{folder.name}")
    work.mkdir()
    try:
        write(work)
        _sync_tree(work)
        if folder.exists():  # asked for again, or damaged: a folder can't be renamed over another
            durable.remove_tree(folder)
        durable.replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                durable.sync_file(file.fileno())
        else:
            durable.sync_folder(path)
    durable.sync_folder(folder)
