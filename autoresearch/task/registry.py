"""A task at work: its class, its train.py for a backend, its options in a call, bound to the data of one study."""

import functools
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.hardware.devices import registry as devices
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner.profile_file import Data, Profile
from autoresearch.paths import expanded, shipped
from autoresearch.task.contract import Task
from autoresearch.task.table import DEFAULT, Option, Prepared, Table, find, known, options, read, scan

__all__ = ["DEFAULT", "Option", "find", "known", "options", "read", "scan"]


def given(table: Table, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The task's options as a call names them (with _ for -), those that have a value. UsageError for one that is missing, for what
    is no choice, and for one of another task's.
    """
    found = typed(table, chosen)
    for key, option in options(table).items():
        if key not in found and option.required:
            raise UsageError(f"the task {table.name} needs --{key}: {option.help.rstrip('.')}", "give it")
        if key not in found and option.default is not None:
            found[key] = option.default
    own = {key.replace("-", "_") for key in table.options}
    for other in scan().values():
        for key in other.options:
            name = key.replace("-", "_")
            if name not in own and chosen.get(name) not in (None, (), False):
                problem = f"--{key} is of the task {other.name}, and this is {table.name}"
                raise UsageError(problem, f"leave it out or add --task {other.name}")
    return found


def typed(table: Table, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the task's options that a call names; a path is absolute. UsageError for what is no choice."""
    found: dict[str, Any] = {}
    for key, option in options(table).items():
        value = chosen.get(key.replace("-", "_"))
        if value in (None, (), False):
            continue
        if option.choices and value not in option.choices:
            raise UsageError(f"--{key} {value}: is none of {', '.join(option.choices)}", "take one of them")
        values = [str(expanded(one).resolve()) if option.type == "path" else one for one in (value if option.multiple else [value])]
        found[key] = values if option.multiple else values[0]
    return found


def sized(table: Table, profile: Profile) -> Profile:
    """A profile for a task with sizes of its own."""
    made = profile.without_sizes(table.train)
    return made if table.train_seconds is None else made.with_train_seconds(table.train_seconds)


@functools.cache
def _module(folder: Path) -> ModuleType:
    """task.py, under a name of its own; what lies beside it is `from . import NAME`."""
    name = f"autoresearch_task_{folder.name}_{abs(hash(folder)):x}"
    spec = importlib.util.spec_from_file_location(name, folder / "task.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def kind(table: Table) -> type[Task]:
    """The class `Task` of its task.py. UsageError when it does not load."""
    try:
        found = _module(table.folder).Task
    except Exception as error:  # another project's code
        path = table.folder / "task.py"
        raise UsageError(f"{path} does not load: {type(error).__name__}: {error}; mend it") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UsageError(f"{table.folder / 'task.py'}: its class Task is not made from autoresearch.task.Task; mend it")
    wanted = ("spec", "answer", "losses") if table.scoring == "answers" else ("commands",)
    if missing := [name for name in wanted if getattr(found, name) is getattr(Task, name)]:
        raise UsageError(f"{table.folder / 'task.py'}: its class Task has no `{missing[0]}`", "write it (docs/adding/tasks.md)")
    return found


def shipped_file(table: Table, name: str) -> Path:
    """The task's own, else the one that all share."""
    own = table.folder / name
    return own if own.is_file() else shipped(name)


def train_py(table: Table, own: Path) -> Path:
    """The task's train.py for a backend whose own is `own`: `<task>/<framework>/train.py`, the framework being the name of the
    folder that the backend's lies in; else the backend's own, where the task brings none at all.
    """
    brought = frameworks(table)
    return table.folder / own.parent.name / "train.py" if brought else own


def backends(table: Table) -> dict[str, Backend]:
    """Every backend as the task uses it: with the task's train.py, or with the problem that it has none for it."""
    found, trains, known = {}, table.scoring == "answers", ", ".join(frameworks(table)) or "none"
    for name, backend in devices.scan().items():
        path, problem = train_py(table, backend.train_py), backend.problem
        if problem is None and backend.trains != trains:
            problem = "it trains nothing" if trains else f"the task {table.name} runs commands, and trains nothing"
        elif problem is None and trains and not path.is_file():
            problem = f"the task {table.name} has no train.py for it (it has: {known})"
        if path != backend.train_py and problem is None:
            backend = backend.with_train_py(path)
        found[name] = replace(backend, problem=problem)
    return found


def bound(table: Table, prepared: Prepared, options: Mapping[str, Any], sizes: Data | None) -> Task:
    """The task of one study."""
    return kind(table)(table, prepared, options, sizes)


def on_text(prepared: Prepared, sizes: Data) -> Task:
    """The default task, for who measures a machine or a backend."""
    return bound(find(DEFAULT), prepared, {}, sizes)


def frameworks(table: Table) -> list[str]:
    """Those that the task has a train.py for; an empty list: it takes the backends' own."""
    return sorted(path.parent.name for path in table.folder.glob("*/train.py"))
