"""A study's folder: made once, found again, and read back as a `Study`, whose terms never change.

Promises: study.toml is written last, so a folder that has one is whole; a killed `create` is finished, or begun again, by the
next; nothing is made in a folder that holds something else.
"""

import contextlib
import math
import os
import platform
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import tomli_w

from autoresearch import __version__, durable, records
from autoresearch.bundle import Layout
from autoresearch.data import sight
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner.profiles import Profile
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.paths import check_length, expanded, git, typed
from autoresearch.run.constraints import Constraints
from autoresearch.study import lock
from autoresearch.study.commits import head_file
from autoresearch.study.decide import BASELINE_RUNS, MOST_RUNS, Rule
from autoresearch.study.origin import Origin
from autoresearch.study.store import Store
from autoresearch.study.terms import backend_checksum, check_tag, measure_checksum
from autoresearch.study.work_tree import STUDY
from autoresearch.task import registry as tasks
from autoresearch.task.contract import Task
from autoresearch.task.prepared import code
from autoresearch.task.table import Prepared, Table

FORMAT = 1
FENCED = (
    "a fenced number, not a sealed one: a program that is measured can find that out, and prints its number itself."
    " Read the kept edits before you believe a gain, or give --confirm"
)
AGENTS_TEMPLATE = Path(__file__).with_name("AGENTS.template.md")
DEFAULT_SEED = 1337
_HEAD = "# The terms of this study: every score in it was measured under these. Made once; `autoresearch run` refuses others.\n"
_IGNORED = """# What autoresearch draws from .autoresearch/events.jsonl, and the runs.
.autoresearch/
results.tsv
progress.png
pareto.png
report.html
"""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Study:
    folder: Path
    tag: str
    seed: int
    decide: Rule
    corpus: str  # a name, or an absolute path
    backend: str  # its name
    profile: Profile  # resolved: with the study's own train_seconds
    facts: Facts
    prepared: str  # key of the prepared folder
    checksums: dict[str, str]  # corpus, tokenizer, train, val, measure, backend
    versions: dict[str, str]
    created: str
    constraints: Constraints = field(default_factory=Constraints)
    stop_early: bool = False  # futility.py
    task: Table = field(default_factory=lambda: tasks.find(tasks.DEFAULT))
    options: dict[str, Any] = field(default_factory=dict)  # the task's
    metric: Metric = VAL_BPB
    files: tuple[str, ...] = ()  # patterns of those that are edited (bundle.py); none: train.py
    cores: int | None = None  # of each run, where several workers share the processors; None: all
    origin: Origin | None = None  # of a transfer

    @property
    def state_folder(self) -> Path:
        return self.folder / ".autoresearch"

    @property
    def events(self) -> Path:
        return self.state_folder / "events.jsonl"

    @property
    def lock(self) -> Path:
        return self.state_folder / "lock"

    @property
    def inbox(self) -> Path:
        return self.state_folder / "inbox"

    @property
    def runs(self) -> Path:
        return self.state_folder / "runs"

    @property
    def warning(self) -> str | None:
        """What is to be known of all its scores: for its start, its end and its reports."""
        return FENCED if self.task.is_paired else sight.warning(self.corpus)

    @property
    def machine_line(self) -> str:
        """What it runs on, as panel and picture head it; and whether its text can be read by what it trains."""
        in_sight = " · its text is in train.py's sight" if self.corpus in sight.IN_SIGHT else ""
        in_sight += " · a fenced number" if self.task.is_paired else ""
        return f"{self.facts.device or 'device n/a'} · backend {self.backend} · profile {self.profile.name}{in_sight}"

    def to_toml(self) -> str:
        table = {
            "format": FORMAT,
            "tag": self.tag,
            "created": self.created,
            "seed": self.seed,
            "decide": self.decide,
            "stop_early": self.stop_early,
            **({} if self.cores is None else {"cores": self.cores}),
            "backend": self.backend,
            "corpus": self.corpus,
            "prepared": self.prepared,
            "checksums": self.checksums,
            "versions": self.versions,
            **self._of_task(),
            **({"transfer": self.origin.to_dict()} if self.origin else {}),
            "constraints": self.constraints.to_dict(),
            "profile": self.profile.to_dict(),
            # TOML has no null: a fact that is missing is unknown.
            "facts": {name: value for name, value in self.facts.to_dict().items() if value is not None},
        }
        return _HEAD + tomli_w.dumps(table)

    @property
    def asked(self) -> list[tuple[str, Any]]:
        """(option of `run`, value) by which its task was chosen; none where it is the default."""
        table = self._of_task()
        return [("task", table["task"]), *table["options"].items()] if table else []

    def _of_task(self) -> dict[str, Any]:
        """Nothing where it is the default: as before there were others."""
        if self.task.named == tasks.DEFAULT:
            return {}
        files = {"files": list(self.files)} if self.files else {}
        return {"task": self.task.named, "options": self.options, "metric": asdict(self.metric)} | files


@dataclass(frozen=True)
class _File:
    """study.toml."""

    tag: str
    created: str
    seed: int
    decide: Rule
    backend: str
    corpus: str
    prepared: str
    checksums: dict[str, str]
    versions: dict[str, str]
    profile: dict[str, Any]
    facts: dict[str, Any]
    constraints: dict[str, Any] = field(default_factory=dict)
    stop_early: bool = False
    task: str = tasks.DEFAULT
    options: dict[str, Any] = field(default_factory=dict)
    metric: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    cores: int | None = None
    transfer: dict[str, Any] | None = None


def create(
    folder: Path, *, tag: str, backend: Backend, facts: Facts, profile: Profile, prepared: Prepared, corpus: str,
    seed: int = DEFAULT_SEED, decide: Rule = "confirmed", constraints: Constraints | None = None,
    stop_early: bool = False, task: Task | None = None, text: str | None = None, origin: Origin | None = None,
    cores: int | None = None,
) -> Study:  # fmt: skip
    """Make the workspace: train.py with the profile's constants, program.md, AGENTS.md, study.toml, and the first commit.

    text: what it begins with in place of `first_text`. origin: of a transfer.
    Raises UsageError when the folder holds anything else, and when the profile names a constant that train.py has not.
    """
    check_tag(tag)
    if facts.compile:
        check_length(folder)
    assert decide in BASELINE_RUNS
    table = task.table if task else tasks.find(tasks.DEFAULT)
    of_task = {"task": code(table)} if table.named != tasks.DEFAULT else {}
    study = Study(
        folder, tag, seed, decide, corpus, backend.name, profile, facts, prepared.key,
        checksums=prepared.checksums | {"measure": measure_checksum(), "backend": backend_checksum(backend)} | of_task,
        versions={"autoresearch": __version__, "python": platform.python_version(), "system": platform.platform()}
        | {package: version(package) for package in ("numpy", "pygit2")} | facts.versions,
        created=datetime.now(UTC).isoformat(timespec="seconds"), constraints=constraints or Constraints(), stop_early=stop_early,
        task=table, options=task.options if task else {}, metric=task.metric if task else VAL_BPB, files=task.files if task else (),
        cores=cores,
        origin=origin,
    )  # fmt: skip
    program = tasks.shipped_file(table, "program.md").read_text(encoding="utf-8")
    text = first_text(task, backend, profile) if text is None else text
    files = Layout(study.files).files(text.encode()) | {
        "program.md": (task.instructions(program) if task else program).encode(),
        "AGENTS.md": agents_md(study).encode(),
        ".gitignore": _IGNORED.encode(),
    }
    check_free(folder)
    durable.make_folder(study.state_folder)  # before anything else: see check_free
    with lock.hold(study.lock):
        if is_workspace(folder):
            raise UsageError(f"another process made a study in {folder} just now; run again to go on with it")
        durable.remove_leftovers(folder)
        for path in folder.glob("_git2_*"):  # libgit2 tries out there what the file system can
            durable.remove(path)
        if (folder / ".git").exists():  # of a killed create; check_free has refused any other
            durable.remove_tree(folder / ".git")
        for name, content in files.items():
            durable.make_folder((folder / name).parent)
            durable.write(folder / name, content)
        terms = study.to_toml().encode()
        Store.create(folder, tag, files | {STUDY: terms})
        durable.write(folder / STUDY, terms)
    return study


def first_text(task: Task | None, backend: Backend, profile: Profile) -> str:
    """What a study begins with; of no task in particular the backend's train.py with the profile's constants."""
    return (task.first_text if task else Task.written)(backend.train_py, profile.train)


def agents_md(study: Study) -> str:
    """How a coding agent drives this study: the template, the task's own where it has one, with the study's facts. Nothing reads it
    back.
    """
    budget = study.profile.budget
    training_minutes = (budget.train_seconds + budget.startup_limit_seconds) / 60 + 2  # chosen: 2 minutes to score
    baseline = BASELINE_RUNS[study.decide]
    most = MOST_RUNS[study.decide]
    own = study.task.folder / AGENTS_TEMPLATE.name
    template = own if own.is_file() else AGENTS_TEMPLATE
    return Template(template.read_text(encoding="utf-8")).substitute(
        tag=study.tag,
        files=", ".join(f"`{pattern}`" for pattern in study.files),
        created=study.created[:10],
        backend=study.backend,
        profile=study.profile.name,
        device=study.facts.device or "n/a",
        corpus=study.corpus,
        model=study.task.words.model,
        contract=study.task.words.contract,
        score=study.metric.name,
        unit=f" {study.metric.unit}" if study.metric.unit else "",
        data=study.metric.data,
        better=study.metric.better,
        train_seconds=f"{budget.train_seconds:g}",
        startup_limit_seconds=f"{budget.startup_limit_seconds:g}",
        try_runs="1 training" if most == 1 else f"1 training for a loser, a few on new seeds for what looks better, at most {most}",
        baseline_runs=f"{baseline} training{'s' * (baseline > 1)}",
        try_limit_minutes=math.ceil(most * training_minutes),
        first_limit_minutes=math.ceil((most + baseline) * training_minutes),
    )


def check_own(folder: Path) -> None:
    """StoredStateError unless what lies in a study's state folder is files and folders of its own.

    A copy or a clone that somebody else has made may hold links: what is removed, emptied or shown through one is not the study's.
    """
    for path in _state_entries(folder / ".autoresearch", 3):
        raise StoredStateError(
            f"{path} is a link or a device, and a study has none; remove it, or take a copy of the study without it"
        )


def _state_entries(path: Path, depth: int) -> Iterator[Path]:
    """What is neither a plain file nor a folder, down to the files of a run (below them is a cell's own)."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        yield from [] if stat.S_ISREG(mode) else [path]
        return
    waiting = [(path, depth)]
    while waiting:
        folder, left = waiting.pop()
        with contextlib.suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:  # a run may be at work
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting += [(Path(entry.path), left - 1)] if left > 1 else []
                elif not entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def check_free(folder: Path) -> None:
    """UsageError unless a workspace can be made there: no folder yet, an empty one, or what a killed `create` left.

    The first thing that `create` makes is the state folder, so that a killed one can be told from somebody's files.
    """
    if is_workspace(folder):
        raise UsageError(f"{folder} is a study already; `autoresearch run --workspace {typed(folder)}` goes on with it")
    for around in folder.absolute().parents:
        if (around / STUDY).is_file() and (around / ".autoresearch").is_dir():
            raise UsageError(f"{folder} lies inside the study {around}; name a folder beside it: `--workspace DIR`")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / ".autoresearch").is_dir():
        raise UsageError(f"{folder} is a file or holds other files; name a new or an empty folder")
    check_own(folder)


def load(folder: Path) -> Study:
    """The study in a folder. UsageError when there is none, StoredStateError when its study.toml is damaged."""
    if not is_workspace(folder):
        near = next((path for path in sorted(folder.glob("*/")) if is_workspace(path)), None)
        other = f"`--workspace {typed(near)}` names the one in it" if near else "`--workspace DIR` names another folder"
        raise UsageError(f"no study in {folder}; `autoresearch run` starts one, {other}")
    if (folder / ".git").is_file():
        problem = f"{folder} is a git worktree, and the ledger of its study lies elsewhere"
        raise UsageError(problem, "name the study's own folder: `--workspace DIR`")
    check_own(folder)
    path, made = folder / STUDY, None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        made = table.get("format")
        if made == FORMAT:
            file = records.read(_File, table)
            check_tag(file.tag)
            return Study(
                folder.resolve(), file.tag, file.seed, file.decide, file.corpus, file.backend,
                Profile.from_dict(file.profile, str(path)), Facts.from_dict(file.facts), file.prepared, file.checksums,
                file.versions, file.created, Constraints.from_dict(file.constraints), file.stop_early, tasks.known(file.task),
                file.options, VAL_BPB if file.metric is None else records.read(Metric, file.metric), file.files, file.cores,
                None if file.transfer is None else records.read(Origin, file.transfer),
            )  # fmt: skip
        why: object = f"its format is {made!r:.80}"
    except (OSError, ValueError, UsageError) as error:
        why = error
    if type(made) is int and made > FORMAT:
        problem = f"{path} is of format {made}, which a newer autoresearch has written, and this one reads {FORMAT}"
        raise UsageError(problem, "install that one, or begin another study with `--workspace NEW_FOLDER`")
    raise StoredStateError(f"{path} is damaged: {why}; `{git(folder)} checkout HEAD {STUDY}` brings back what was written")


def is_workspace(folder: Path) -> bool:
    """Whether a study lies there. One whose `create` was killed after its commit is finished by this look."""
    if (folder / STUDY).is_file():
        return True
    if not (folder / ".autoresearch").is_dir() or (text := head_file(folder, STUDY)) is None:
        return False
    durable.write(folder / STUDY, text)
    return True


def locate(workspace: Path | None, tag: str | None) -> Path:
    """Where `run` and `init` work: DIR; the current folder when it is a study; the study of that tag, or the newest; a new one."""
    if workspace is not None:
        return expanded(workspace).resolve()
    if is_workspace(here := Path.cwd()):
        return here
    if tag is None and (known := _newest(here)):
        return known
    tag = today() if tag is None else tag
    check_tag(tag)
    return here / f"autoresearch-{tag}"


def find(workspace: Path | None) -> Study:
    """The study that a command without options means: DIR, the current folder, or the newest study in it."""
    if workspace is not None:
        return load(expanded(workspace))
    here = Path.cwd()
    return load(here if is_workspace(here) else _newest(here) or here)


def today() -> str:
    """A tag for a study that begins today, as in nov21."""
    now = date.today()
    return f"{_MONTHS[now.month - 1]}{now.day:02d}"


def _newest(parent: Path) -> Path | None:
    """The study in parent that was at work last."""

    def last_used(folder: Path) -> float:
        events = folder / ".autoresearch" / "events.jsonl"
        return (events if events.exists() else folder / STUDY).stat().st_mtime

    return max((path for path in parent.glob("autoresearch-*") if is_workspace(path)), key=last_used, default=None)
