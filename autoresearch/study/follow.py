"""Looking on at a study that another process runs: its ledger by offset, its training by the files of the run.

Takes no lock and writes nothing. A look at a ledger without news is one `stat`.
"""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autoresearch.errors import StoredStateError
from autoresearch.run.setup import Progress
from autoresearch.study import lines
from autoresearch.study.state import State
from autoresearch.study.workspace import Study

_TAIL_BYTES = 4096  # of a curve: more than two of its lines


@dataclass(frozen=True)
class _Read:
    """What was read of a ledger: its inode, when it had changed last, its bytes and lines, and the checksum of the last one."""

    inode: int = 0
    time_ns: int = 0
    size: int = 0
    seq: int = 0
    check: str = ""


class Follower:
    """What is new in a ledger at each look."""

    def __init__(self, path: Path):
        self._path = path
        self._read = _Read()

    def look(self) -> list[dict[str, Any]] | None:
        """The events since the last look. None: the ledger is another one than before (`autoresearch repair`), and is read anew.

        StoredStateError for a damaged one.
        """
        read = self._read
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return self._begin_anew() if read.size else []
        is_rewritten = found.st_size == read.size and found.st_mtime_ns != read.time_ns  # an event more would have made it longer
        if read.size and (found.st_ino != read.inode or found.st_size < read.size or is_rewritten):
            return self._begin_anew()
        if found.st_size == read.size:
            return []
        if read.size:
            with open(self._path, "rb") as file:
                file.seek(read.size)
                data = file.read(found.st_size - read.size)
        else:
            data = lines.content(self._path)[: found.st_size]  # which looks whether it can be one; what came since is news
        try:
            new = lines.parse(data, self._path, seq=read.seq, check=read.check)
        except StoredStateError:
            if not read.size:
                raise
            return self._begin_anew()  # a line was taken back, and another written in its place
        self._read = _Read(found.st_ino, found.st_mtime_ns, read.size + new.size, read.seq + len(new.events), new.check)
        return new.events

    def _begin_anew(self) -> list[dict[str, Any]] | None:
        self._read = _Read()
        return None


def progress(study: Study, state: State, now: float) -> tuple[int, int, Progress] | None:
    """(experiment, run, how far) of what is at work, by its files; None between two runs. now: as time.time().

    Scoring is told by its time alone, and an audit not at all.
    """
    next_one = len(state.experiments)
    (number, k), run = next(iter(state.under_way.items()), ((next_one, 1), None))
    folder = study.runs / (run.folder if run else f"{number:04d}-1")
    found = _how_far(study, folder, now, since=0.0 if run else _rejected(state, number))
    return (number, k, found) if found else None


def workers(study: Study, state: State, now: float) -> list[dict[str, Any]]:
    """What each of several workers is at, as the event `workers at work` has it; of those without a run that is not known."""
    runs = {run.worker: (n, k, run.folder) for (n, k), run in state.under_way.items()}
    told: list[dict[str, Any]] = []
    for worker in range(1, state.workers + 1):
        if worker in runs:
            n, k, folder = runs[worker]
            at = {"state": "runs", "n": n, "k": k, "progress": _how_far(study, study.runs / folder, now)}
        else:
            at = {"state": "unseen"}
        told.append({"worker": worker, **at})
    return told


def _how_far(study: Study, folder: Path, now: float, since: float = 0.0) -> Progress | None:
    """since: when what lay there before was over."""
    made = {name: _modified(folder / name) for name in ("train.py", "curve.jsonl", "checkpoint")}
    if saved := made["checkpoint"]:
        return Progress("scoring", max(0.0, now - saved))
    if written := made["curve.jsonl"]:
        (seconds, loss, speed), train_seconds = _last_step(folder / "curve.jsonl"), study.profile.budget.train_seconds
        elapsed = min(max(0.0, now - written) + seconds, train_seconds)
        return Progress("training", elapsed, elapsed / train_seconds, loss, speed)
    started = made["train.py"]
    return None if started is None or started <= since else Progress("startup", max(0.0, now - started))


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _rejected(state: State, number: int) -> float:
    """When the last proposal that was to be this experiment failed before its training: its files still lie there."""
    last = state.rejections[-1] if state.rejections else None
    return datetime.fromisoformat(last.time).timestamp() if last and last.n == number and last.time else 0.0


def _last_step(curve: Path) -> tuple[float, float | None, float | None]:
    """(seconds, loss, tokens a second) of the last whole line of a curve."""
    try:
        with open(curve, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            step = json.loads(file.read(_TAIL_BYTES).split(b"\n")[-2])
        seconds = float(step["seconds"])
        return seconds, float(step["loss"]), step["tokens"] / seconds
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError):  # none yet, or half of one
        return 0.0, None, None
