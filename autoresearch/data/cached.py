"""What lies in the cache, by kind: how large it is, and room made."""

import json
from collections.abc import Iterable
from pathlib import Path

from autoresearch import durable, locks
from autoresearch.data import corpora
from autoresearch.data.prepared import META
from autoresearch.errors import UsageError

# kind: what it is, and what its loss costs. Each has a folder of its name; `copies` lie in that of `data`.
KINDS = {
    "downloads": "corpora as they were published; fetched again when a text is prepared",
    "data": "what was prepared of these; made again by the next run, some minutes each",
    "copies": "of what studies read here: texts, tables, repositories, bases; if one has changed since, they can't go on without",
    "compile": "what trainings have compiled; compiled again, a minute a study",
    "tune": "what autotune has found; a new study tries sizes again, 2 to 15 minutes",
    "conformance": "the small text of `backends check`",
    "matplotlib": "its list of fonts",
    "errors": "tracebacks of errors that nobody foresaw",
    "agents": "sign-ins that coding agents have renewed; without them you may have to sign in again",
}
ASKED_FOR = ("copies", "agents")  # goes by its own name alone: it can't be made again


def sizes(root: Path) -> dict[str, int]:
    """Bytes of each kind."""
    return {kind: sum(map(_size, _entries(root, kind))) for kind in KINDS}


def clean(root: Path, kinds: Iterable[str]) -> int:
    """Bytes that were removed. UsageError while a text is being prepared."""
    removed = 0
    (root / "data").mkdir(exist_ok=True)
    with open(root / "data" / ".lock", "a+b") as lock:
        if not locks.try_lock(lock.fileno()):
            raise UsageError("a text is being prepared in this cache; wait for it, or end it with Ctrl-C")
        for path in [path for kind in kinds for path in _entries(root, kind)]:
            removed += _size(path)
            durable.remove_tree(path) if path.is_dir() and not path.is_symlink() else durable.remove(path)
    return removed


def _entries(root: Path, kind: str) -> list[Path]:
    folder = root / ("data" if kind == "copies" else kind)
    entries = [path for path in folder.glob("*") if path.name != ".lock"]
    return [path for path in entries if _is_copy(path) == (kind == "copies")] if folder.name == "data" else entries


def _is_copy(entry: Path) -> bool:
    """Also where it can't be told."""
    try:
        name = json.loads((entry / META).read_text(encoding="utf-8"))["content"]["corpus"]
        return not corpora.is_published(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
