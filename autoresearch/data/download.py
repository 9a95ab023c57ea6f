"""Public parquet files from the hub's servers: resumable, and checked against the published size and hash.

A file lies under its own name only when it was verified; beside it `<name>.json` keeps its hash, so that a later call needs
no network. What was fetched of an unfinished file lies in `<name>.<etag>.partial`, and the next call goes on from its end
(the hub's client writes 10 MiB at a time, so that much at most is fetched twice).
`HF_ENDPOINT` (a mirror) is honoured.
"""

import hashlib
import io
import json
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch import durable
from autoresearch.data.progress import OnProgress
from autoresearch.errors import EnvironmentFailure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PROBE_SECONDS = 3.0
METADATA_SECONDS = 15.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class HubFile:
    repo: str  # of datasets, as owner/name
    name: str

    @property
    def url(self) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.name, repo_type="dataset", endpoint=os.environ.get("HF_ENDPOINT") or None)


@dataclass(frozen=True)
class _Published:
    """What the hub says of a file."""

    etag: str  # SHA-256 of a large file, git blob hash of a small one
    size: int
    location: str
    commit: str | None


def listed(repo: str, folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of a dataset's files, as the hub said when it was asked first. EnvironmentFailure when it can't be had."""
    note = folder / "files.json"
    try:
        return [(str(name), int(size)) for name, size in json.loads(note.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        pass
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=False)
    try:
        entries = list(api.list_repo_tree(repo, repo_type="dataset", recursive=True))
    except Exception as error:  # as in _metadata
        raise EnvironmentFailure(f"can't list the dataset {repo} of the hub ({_first_line(error)}); {_CURE}") from None
    files = [(entry.path, entry.size) for entry in entries if isinstance(entry, RepoFile)]
    safe = sorted((name, size) for name, size in files if not {"..", ""} & set(name.split("/")) and "\\" not in name)
    folder.mkdir(parents=True, exist_ok=True)
    durable.write(note, json.dumps(safe))
    return safe


def known_hash(file: HubFile, folder: Path) -> str | None:
    """The published hash of a file that was verified here before, else None. Needs no network, and not the file itself."""
    try:
        file_hash: str = json.loads(_note(file, folder).read_text(encoding="utf-8"))["hash"]
        return file_hash
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_here(file: HubFile, folder: Path) -> bool:
    return known_hash(file, folder) is not None and (folder / file.name).exists()


def unreachable(file: HubFile) -> str | None:
    """None when the server answers for this file within PROBE_SECONDS, else why not, in a few words."""
    answers: queue.Queue[str | None] = queue.Queue()

    def ask() -> None:
        try:
            _metadata(file, PROBE_SECONDS)
            answers.put(None)
        except EnvironmentFailure as error:
            answers.put(str(error))

    # In a thread, because looking up the server's name has a limit of its own, and it can be half a minute.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return f"no answer from {file.url} in {PROBE_SECONDS:.0f} s"


def fetch(file: HubFile, folder: Path, on_progress: OnProgress) -> Path:
    """The verified file in folder, downloaded when it is not there yet. EnvironmentFailure when it can't be had."""
    target = folder / file.name
    if is_here(file, folder):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = _metadata(file, METADATA_SECONDS)
    partial = target.with_name(f"{target.name}.{metadata.etag[:16]}.partial")
    for stale in target.parent.glob(f"{target.name}.*.partial"):
        if stale != partial:  # of a version that the server no longer has
            durable.remove(stale)
    _download(file, metadata, partial, on_progress)
    if not _matches(partial, metadata):
        durable.remove(partial)
        raise EnvironmentFailure(
            f"{file.url} arrived damaged: its content does not match the hash that the server publishes; "
            "it was deleted, run again to fetch it anew"
        )
    durable.replace(partial, target)
    note = {"hash": metadata.etag, "bytes": metadata.size, "repo": file.repo, "commit": metadata.commit}
    durable.write(_note(file, folder), json.dumps(note))
    return target


def _note(file: HubFile, folder: Path) -> Path:
    return folder / f"{file.name}.json"


def _metadata(file: HubFile, timeout_seconds: float) -> _Published:
    from huggingface_hub import get_hf_file_metadata

    # The hub's client raises requests' or httpx's own exceptions, by its version, and OSError: all mean the same here.
    try:
        metadata = get_hf_file_metadata(file.url, token=False, timeout=timeout_seconds)
    except Exception as error:
        raise EnvironmentFailure(f"can't reach {file.url} ({_first_line(error)}); {_CURE}") from None
    if not metadata.etag or metadata.size is None:
        raise EnvironmentFailure(f"{file.url} answers without a hash and a size; set HF_ENDPOINT to a mirror of the hub")
    return _Published(metadata.etag, metadata.size, metadata.location, metadata.commit_hash)


def _download(file: HubFile, metadata: _Published, partial: Path, on_progress: OnProgress) -> None:
    """Append to partial what it lacks, and sync it."""
    import logging

    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # the caller shows progress, and gets the last error
    hub_logging.set_verbosity(logging.CRITICAL)
    have_bytes = partial.stat().st_size if partial.exists() else 0
    if have_bytes > metadata.size:
        durable.remove(partial)
        have_bytes = 0
    with _Reported(partial, f"downloading {Path(file.name).name}", metadata.size, on_progress) as out:
        try:
            http_get(metadata.location, out, resume_size=have_bytes, expected_size=metadata.size)
        except Exception as error:  # as in _metadata
            out.flush()
            raise EnvironmentFailure(
                f"the download of {file.url} broke off ({_first_line(error)}); {out.tell() / 1e6:.1f} of "
                f"{metadata.size / 1e6:.1f} MB are kept; {_CURE}"
            ) from None
        out.sync()


class _Reported(io.BufferedWriter):
    """A file open for appending that reports its length. http_get writes to it, and truncates it to start again."""

    def __init__(self, path: Path, stage: str, total_bytes: int, on_progress: OnProgress):
        super().__init__(io.FileIO(path, "ab"))
        self._report: Callable[[], None] = lambda: on_progress(stage, self.tell(), total_bytes)

    def __enter__(self) -> "_Reported":
        self._report()
        return self

    def write(self, chunk: "ReadableBuffer", /) -> int:
        written = super().write(chunk)
        self._report()
        return written

    def sync(self) -> None:
        self.flush()
        durable.sync_file(self.fileno())


def _matches(path: Path, metadata: _Published) -> bool:
    """Size and hash: 64 hex digits are SHA-256 of the bytes, 40 are git's SHA-1 of a blob of them."""
    hashes = {64: hashlib.sha256(), 40: hashlib.sha1(b"blob %d\0" % metadata.size)}
    running = hashes.get(len(metadata.etag))
    if running is None or path.stat().st_size != metadata.size:
        return False
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            running.update(block)
    return running.hexdigest() == metadata.etag


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


_CURE = "run again when the network is back, set HF_ENDPOINT to a mirror, or use --corpus stdlib"
