"""What the contracts of a task work with: its data, made twice; what it feeds; trainings of its train.py, and their answers.

Everything that trains or answers is the harness's own run, in the cells that a study gets.
"""

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from autoresearch.border.messages import ENDED, Kind, Protocol, failed, many, text
from autoresearch.checks.conformance.subject import LIMIT_SECONDS, STEPS
from autoresearch.checks.conformance.subject import PROBE as STEPS_PROBE
from autoresearch.checks.conformance.subject import PROTOCOL as STEPS_PROTOCOL
from autoresearch.child import OurOwn, Worker
from autoresearch.data.progress import silent
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner.profile_file import Data, Profile
from autoresearch.measure.audit import Cuts
from autoresearch.measure.summary import RunResult
from autoresearch.run.experiment import Feeder, execute
from autoresearch.run.scoring import asking_cuts
from autoresearch.run.setup import Setup, job_for
from autoresearch.study.session import log_tail
from autoresearch.study.workspace import first_text
from autoresearch.task import registry
from autoresearch.task.contract import Questions, Task
from autoresearch.task.table import Table
from autoresearch.text import one_line

PROBE = "autoresearch.checks.tasks.probe"
PREPARE_SECONDS = 3600.0  # of the second preparation: the first had no limit either
ANSWER_BYTES = 256 << 20  # of the answers that are looked at: where all don't fit, those to the first questions
FED_ROWS, FED_BYTES = 1 << 18, 64 << 20  # of an epoch: where it has more, its first ones
SEED = 1

PROTOCOL = Protocol(
    "starting",
    {
        "done": Kind({"starting": ENDED}, {"loaded": many(text(4096), 100_000), "digests": lambda value: isinstance(value, dict)}),
        "failed": failed("starting"),
    },
    line_bytes=1 << 24,
)


@dataclass(frozen=True)
class Second:
    """What another process found when it prepared the same data."""

    loaded: list[str]  # packages that came in with task.py
    digests: dict[str, str]


class Subject:
    """A task with its options, on a backend, and a folder that is thrown away after."""

    def __init__(
        self, table: Table, options: Mapping[str, Any], corpus: str, backend: Backend, profile: Profile, sandbox: int, folder: Path
    ):
        """profile: sizes, the seconds of a training, the constants of train.py."""
        self.table, self.options, self.corpus, self.backend, self.profile = table, dict(options), corpus, backend, profile
        self.sandbox, self.folder = sandbox, folder

    @cached_property
    def task(self) -> Task:
        return made(self.table, self.corpus, self.options, self.profile.data)

    @cached_property
    def second(self) -> Second:
        """In a process of its own, into a cache of its own: with another order of sets, too."""
        job: dict[str, Any] = {"type": "prepare", "python_path": [place for place in sys.path if place]}
        job |= {"folder": str(self.table.folder), "corpus": self.corpus, "options": self.options}
        job |= {"sizes": self.profile.data and asdict(self.profile.data)}
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            variables = {"AUTORESEARCH_CACHE_DIR": cache}
            with Worker(job, self.folder, PROTOCOL, PROBE, variables, cell=OurOwn(self.backend.name)) as worker:
                done = worker.wait("done", PREPARE_SECONDS, f"did not prepare its data within {PREPARE_SECONDS:.0f} s")
        return Second(done["loaded"], done["digests"])

    @cached_property
    def setup(self) -> Setup:
        budget = self.profile.budget
        return Setup(self.backend, self.task, budget.train_seconds, budget.startup_limit_seconds, self.sandbox)

    @property
    def train_py(self) -> str:
        """The text that a study begins with."""
        return first_text(self.task, self.backend, self.profile)

    @property
    def run_folder(self) -> Path:
        return self.folder / "run"

    @cached_property
    def run(self) -> RunResult:
        """A training by the clock, scored."""
        return execute(self.setup, self.train_py, SEED, self.run_folder)

    def counted(self, name: str, seed: int = SEED) -> list[float]:
        """The losses, as reported, of a training of a few steps without a clock: two of them can be compared."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "train.py").write_text(self.train_py, encoding="utf-8", newline="")
        job = job_for(self.setup, folder) | {"type": "steps", "seed": seed, "stand_in_seed": 0, "steps": STEPS}
        job |= {"budget_seconds": self.setup.train_seconds, "checkpoint": str(folder / "checkpoint")}
        feeder, cell = Feeder(self.setup, seed), OurOwn(self.backend.name)
        with Worker(job, folder, STEPS_PROTOCOL, STEPS_PROBE, self.backend.variables, cell=cell, serve=feeder.serve) as worker:
            worker.wait("ready", LIMIT_SECONDS, f"did not ask for training data within {LIMIT_SECONDS:.0f} s; use run.steps()")
            worker.send({"type": "go"}, then="going")
            done = worker.wait("done", LIMIT_SECONDS, f"made no {STEPS} steps within {LIMIT_SECONDS:.0f} s")
        losses: list[float] = done["losses"]
        return losses

    @cached_property
    def val(self) -> Questions:
        """Of the validation split those whose answers are looked at."""
        questions = self.task.questions("val")
        assert questions is not None, "the contract `splits` has passed"
        most = max(1, ANSWER_BYTES // (4 * int(np.prod(self.task.answer, initial=1))))
        return Questions(questions.inputs[:most], questions.targets[:most])

    @cached_property
    def answers(self) -> np.ndarray:
        """To `val`, of the run's weights: float32 [n, *answer]. A fresh process was asked, in another order than a scoring's."""
        keeper = Keeper(self.task, len(self.val))
        numbers = np.random.default_rng(SEED).permutation(len(self.val))
        with asking_cuts(replace(self.setup, task=cast(Task, keeper)), self.run_folder) as ask:
            ask(Cuts(numbers, numbers, self.val.inputs[numbers], numbers, 1))
        return keeper.answers


class Keeper:
    """In a task's place: its questions' targets are their numbers, and it keeps the answers instead of taking their losses."""

    def __init__(self, task: Task, count: int):
        self._task, self.answers = task, np.empty((count, *task.answer), np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        self.answers[targets] = answers
        return np.zeros((len(answers), 1), np.float32)


def told(reason: str | None, folder: Path) -> str:
    """Why a run failed, with the last line that it printed below folder: a process that just ends gives no reason."""
    logs = sorted(folder.rglob("log.txt"), key=lambda path: path.stat().st_mtime)
    lines = log_tail(logs[-1]).strip().splitlines() if logs else []
    said = one_line(lines[-1], 200) if lines else ""
    return f"{reason} ({said})" if said and said not in str(reason) else str(reason)


def made(table: Table, corpus: str, options: Mapping[str, Any], sizes: Data | None) -> Task:
    """With its data prepared. Raises UsageError."""
    kind = registry.kind(table)
    source = kind.source(table, corpus, options, sizes)
    return registry.bound(table, kind.prepared_from(table, source, options, sizes, silent), options, sizes)


def digests(folder: Path) -> dict[str, str]:
    """Of each file below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in files}


def fed(task: Task, seed: int, rows: int, batch: int = 256) -> np.ndarray:
    """The first so many rows of a training: structured [rows], or of text [rows, T + 1]."""
    feed, row, parts = task.feed(seed), row_type(task), []
    feed.prepare()
    for start in range(0, rows, batch):
        count = min(batch, rows - start)
        _, data = feed.answer({"type": "batch", "rows": count, "seq_len": width(task), "ahead": False})
        parts.append(np.frombuffer(data, row))
    return np.concatenate(parts)


def width(task: Task) -> int:
    """Tokens in a row, as a feed is asked for them."""
    return int(task.spec().get("seq_len", 1)) if task.row.names is None else 1


def row_type(task: Task) -> np.dtype[Any]:
    """Of a row that is fed."""
    return task.row if task.row.names else np.dtype((task.row, (width(task) + 1,)))


def epoch(task: Task) -> np.ndarray:
    """Rows of the feed until nothing new comes, or as many as are looked at."""
    most = max(1, min(FED_ROWS, FED_BYTES // row_type(task).itemsize))
    rows, seen = min(1024, most), -1
    while True:
        found = fed(task, SEED, min(rows, most))
        distinct = len(np.unique(found)) if task.row.names else rows  # where each epoch cuts anew, nothing comes again
        if distinct == seen or rows >= most:
            return found
        rows, seen = 2 * rows, distinct
