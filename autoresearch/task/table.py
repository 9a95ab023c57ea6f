"""What is known of a task before it has data: its task.toml, where data comes from, and what was prepared of it.

A task is a folder that holds a task.toml and a task.py. Looked for in the shipped `tasks` folder and among the entry points of the
group `autoresearch.tasks`. No task is named in code. A task.toml that is wrong is that task's `problem`; the others are not touched
by it. Nothing is imported here but what reads it: `--help` shows the tasks' options.

    title = "Tables: predict a column"
    sizes = false                       true: [data] and [train] of the profile apply, and autotune looks for better sizes
    corpus = "digits"                   of --corpus auto; without it --corpus has to be given
    train_seconds = 60                  where the profile's is not right for it
    [metric]   name, unit, direction (min, max), least_gain, resolution, data, pieces        metric.py
    [scoring]  by = "answers"|"command"   audit = "causal"|"rows"|"none"
    [train]    values of train.py's constants
    [limits]   latency_ms = "<=5", or "<=5 warn": kept all the same, and said; of what is measured (run/quantities.py, Task.guards)
    [agents]   what agents are told of it: Words
    [options.target]  help, type ("text", "number", "path", "flag"), metavar, required, multiple, default, choices:
                      an option --target of `run` and `init`
"""

import importlib.metadata
import importlib.util
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta

from autoresearch import records
from autoresearch.data.progress import OnProgress
from autoresearch.errors import UsageError, nearest
from autoresearch.metric import Metric
from autoresearch.paths import shipped

ENTRY_POINT_GROUP = "autoresearch.tasks"
DEFAULT = "pretrain"  # of studies that were made before there were others
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
NAMING = "take lower-case letters, digits, - and _, 32 at most, a letter first"


@dataclass(frozen=True)
class Source:
    """Where data comes from, as --corpus named it."""

    name: str  # a name, or an absolute path: part of a study's terms
    reason: str = "chosen"


class Prepared(Protocol):
    """A folder in the cache, as a study's terms know it."""

    @property
    def folder(self) -> Path: ...
    @property
    def corpus(self) -> str: ...
    @property
    def key(self) -> str: ...  # the folder's name below <cache>/data
    @property
    def checksums(self) -> dict[str, str]: ...
    def verify(self, on_progress: OnProgress = ...) -> None: ...  # StoredStateError when a file is not what was written


@dataclass(frozen=True)
class Words:
    """What agents are told of a task: [agents] of its task.toml."""

    research: str = ""  # as in: you do research on ... ; without one: the task "TITLE"
    model: str = "a model"  # what train.py trains
    keeps: str = "build_model, answer and main"  # parts of train.py that the harness calls
    contract: str = "`build_model(spec)` and `answer(model, inputs)` still have to give what the harness asks them for."


@dataclass(frozen=True)
class Table:
    """What a task.toml says; see registry.py."""

    name: str
    title: str
    folder: Path
    metric: Metric
    audit: str  # causal, rows, none
    scoring: str = "answers"  # or command
    sizes: bool = False  # data sizes and train.py's constants come from the profile, and autotune looks for better ones
    corpus: str | None = None  # the default of --corpus; None: it has to be given
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    train_seconds: float | None = None
    train: dict[str, Any] = field(default_factory=dict)  # values of train.py's constants
    limits: dict[str, str] = field(default_factory=dict)  # quantity -> what a new study asks of it: "<=5", "<=5 warn"
    words: Words = field(default_factory=Words)
    problem: str | None = None
    reference: str = ""  # what finds it again, where that is not its name: its folder

    @property
    def is_paired(self) -> bool:
        """Whether a command scores, beside another text: its number is what a program prints."""
        return self.scoring == "command"

    @property
    def named(self) -> str:
        """What `registry.find` takes."""
        return self.reference or self.name


@dataclass(frozen=True)
class _Scoring:
    by: Literal["answers", "command"] = "answers"
    audit: Literal["causal", "rows", "none"] = "rows"


@dataclass(frozen=True)
class Option:
    """Of a command line, as `--name`."""

    help: Annotated[str, Meta(min_length=1)]
    type: Literal["text", "number", "path", "flag"] = "text"
    metavar: str | None = None
    required: bool = False
    multiple: bool = False
    default: str | float | bool | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    title: Annotated[str, Meta(min_length=1)]
    metric: dict[str, Any]
    sizes: bool = False
    corpus: str | None = None
    train_seconds: Annotated[float, Meta(gt=0, le=604_800)] | None = None
    scoring: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    agents: dict[str, Any] = field(default_factory=dict)


def scan(root: Path | None = None) -> dict[str, Table]:
    """Every task by name: those in `root` alone, or (default) all shipped and installed ones."""
    folder = shipped("tasks") if root is None else root
    tables = {path.parent.name: read(path.parent) for path in sorted(folder.glob("*/task.toml"))}
    if root is None:
        for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value)):
            table = _installed(point)
            if table.name in tables:
                problem = f"the name {table.name} is taken by another task: the entry point needs another one"
                table = _broken(table.folder, f"{table.name} ({table.folder})", problem)
            tables[table.name] = table
    return tables


def find(name: str) -> Table:
    """A task by its name, or by the path of its folder. Raises UsageError."""
    table = known(name)
    if table.problem:
        raise UsageError(
            table.problem if table.folder == _NOWHERE else f"the task {table.name} can't be used: {table.problem}; mend it"
        )
    return table


def known(name: str) -> Table:
    """As `find`, for who only looks at a study: what is wrong, or that there is none, is its `problem`."""
    folder = Path(name)
    if (folder / "task.toml").is_file() and folder.name != name:
        return replace(read(folder.resolve()), reference=str(folder.resolve()))
    tables = scan()
    if name not in tables:
        gone = replace(
            _broken(_NOWHERE, name, f"there is no task {name!r}{nearest(name, tables)}; `autoresearch tasks` lists them")
        )
        return replace(gone, reference=name)
    return tables[name]


_NOWHERE = Path()


def read(folder: Path, name: str | None = None) -> Table:
    """The task in a folder; what is wrong with it becomes its `problem`."""
    name = name or folder.name
    if not NAME.fullmatch(name):
        return _broken(folder, name, f"its name is {name!r}: {NAMING}")
    try:
        table = tomllib.loads((folder / "task.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number without end, nested too deep
        return _broken(folder, name, f"task.toml cannot be read: {error}")
    try:
        file = records.read_own(_File, table)
        metric = records.read_own(Metric, {"unit": ""} | file.metric, "[metric] ")
        scoring = records.read_own(_Scoring, file.scoring, "[scoring] ")
        words = records.read_own(Words, {"research": f'the task "{file.title}"'} | file.agents, "[agents] ")
        for key, option in file.options.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
                raise ValueError(f"[options.{key}]: an option's name is lower-case letters, digits and -")
            records.read_own(Option, option, f"[options.{key}] ")
    except ValueError as fault:
        return _broken(folder, name, f"task.toml: {fault}")
    if not (folder / "task.py").is_file():
        return _broken(folder, name, f"there is no task.py in {folder}")
    if any(folder.glob("*/train.py")) and not (folder / "program.md").is_file():
        return _broken(folder, name, f"there is no program.md in {folder}: what agents are told of it")
    return Table(
        name, file.title, folder, metric, scoring.audit, scoring.by, file.sizes, file.corpus, file.options, file.train_seconds,
        file.train, file.limits, words,
    )  # fmt: skip


def options(table: Table) -> dict[str, Option]:
    return {key: records.read_own(Option, option) for key, option in table.options.items()}


def _broken(folder: Path, name: str, problem: str) -> Table:
    return Table(name, name, folder, Metric(), "none", problem=problem)


def _installed(point: importlib.metadata.EntryPoint) -> Table:
    """`package.sub` is found without an import; `package:attribute` is loaded and must be a path."""
    if point.attr:
        try:
            return read(Path(point.load()), point.name)
        except Exception as error:  # another project's code: whatever it raises is that task's problem
            return _broken(Path(point.module), point.name, f"entry point {point.value!r}: {type(error).__name__}: {error}")
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location, *rest) / "task.toml").is_file():
            return read(Path(location, *rest), point.name)
    return _broken(Path(point.module), point.name, f"entry point {point.value!r}: no folder of that package holds a task.toml")
