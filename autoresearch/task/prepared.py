"""A task's prepared data in the cache: the arrays that its `prepare` has written, with a checksum of each.

`<cache>/data/<task>-<key>/`, where the key is made of the source's bytes, the options and the task's own code. meta.json is
written last.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch import paths
from autoresearch.data import made as making
from autoresearch.data.prepared import checksum_of, describe, write_meta
from autoresearch.data.progress import OnProgress, silent
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.paths import expanded
from autoresearch.task.table import Source, Table

if TYPE_CHECKING:
    from autoresearch.task.contract import Task

META = "meta.json"
FORMAT = 1
_CURE = "remove that folder, and the next run prepares it again"


@dataclass(frozen=True)
class Arrays:
    """What lies in a prepared folder."""

    folder: Path
    corpus: str
    key: str
    checksums: dict[str, str]  # of the source, and of every file
    facts: dict[str, Any]

    def verify(self, on_progress: OnProgress = silent) -> None:
        """Read every file and compare its checksum. StoredStateError names the first that differs."""
        for name, expected in self.checksums.items():
            if name not in ("corpus", "facts") and describe(self.folder / name)["blake2b"] != expected:
                raise StoredStateError(f"{self.folder / name} is not what was written (checksum); {_CURE}")


def source(table: Table, corpus: str) -> Source:
    """A path that is there, or a name that the task knows as its default."""
    if corpus == "auto":
        if table.corpus is None:
            raise UsageError(f"the task {table.name} needs its data: `--corpus PATH`")
        return Source(table.corpus, "the task's own")
    if corpus == table.corpus:
        return Source(corpus, "asked for")
    path = expanded(corpus).resolve()
    if not path.is_file() and not path.is_dir():  # a pipe or a device would be read for ever
        known = f", or {table.corpus} for the task's own" if table.corpus else ""
        raise UsageError(f"there is no file or folder {path}; name one with `--corpus PATH`{known}")
    return Source(str(path), "asked for")


def made(
    kind: "type[Task]", table: Table, source: Source, options: Mapping[str, Any], on_progress: OnProgress,
    identity: str | None = None,
) -> Arrays:  # fmt: skip
    """From the cache where the same source, options and code were prepared before, else now. identity: of all that is read, where
    that is not the source's own bytes."""
    identity = identity or _identity(source.name)
    key = f"{table.name}-{checksum_of([FORMAT, source.name, identity, dict(options), code(table)])}"
    with making.alone(on_progress) as root:
        folder = root / key
        try:
            known = load(key)
            known.verify(on_progress)
            return known
        except StoredStateError:
            pass

        def write(work: Path) -> None:
            facts = kind.prepare(source, options, work, on_progress)
            files = {path.relative_to(work).as_posix(): describe(path) for path in sorted(work.rglob("*")) if path.is_file()}
            sums = {name: str(one["blake2b"]) for name, one in files.items()}
            checksums = {"corpus": identity, "facts": checksum_of(facts)} | sums
            write_meta(work, {"format": FORMAT, "corpus": source.name, "key": key, "checksums": checksums, "facts": facts})

        making.build(folder, write)
        return load(key)


def load(key: str) -> Arrays:
    """StoredStateError when it is gone, cut, or of another format."""
    folder = paths.cache_dir() / "data" / key
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        content = meta["content"]
        if meta["checksum"] != checksum_of(content) or content["format"] != FORMAT:
            raise StoredStateError(f"{folder / META} is not what was written (checksum); {_CURE}")
        return Arrays(folder, content["corpus"], content["key"], content["checksums"], content["facts"])
    except FileNotFoundError:
        raise StoredStateError(f"{folder} is not a prepared folder ({META} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoredStateError(f"{folder / META} can't be read ({error}); {_CURE}") from None


def code(table: Table) -> str:
    """Checksum of the task's own Python, without what trains."""
    running = hashlib.blake2b(digest_size=16)
    for path in sorted(table.folder.glob("*.py")):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        running.update(f"{path.name} {len(content)}\n".encode() + content)
    return running.hexdigest()


def _identity(name: str) -> str:
    """Of a file's bytes, of a folder's names and bytes, of a name that is no path."""
    path = Path(name)
    if not path.is_absolute():
        return name
    try:
        files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
        return checksum_of([[one.relative_to(path).as_posix(), describe(one)["blake2b"]] for one in files])
    except OSError as error:
        problem = f"{error.filename or path} can't be read ({error.strerror or error})"
        raise UsageError(problem, "mend that, or name another") from error
