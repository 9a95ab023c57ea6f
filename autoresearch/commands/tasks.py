"""`autoresearch tasks`: what can be measured, whether a task is right, and the beginning of one of your own."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import TaskCommand, Text, options
from autoresearch.commands.outcomes import shown
from autoresearch.commands.say import say, say_table

if TYPE_CHECKING:
    from autoresearch.hardware.planner.plan import Plan
    from autoresearch.task.table import Table

SECONDS = 5.0  # chosen: of the check's training, where the task's own are longer


@click.group(invoke_without_command=True)
@options("json")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the tasks that `run --task NAME` knows: what each is scored by, and what it can train on.

    Those of this package, and those that installed packages bring. `tasks new` begins one of your own.
    """
    if context.invoked_subcommand is not None:
        return
    from autoresearch.task import registry

    tables = registry.scan()
    if as_json:
        click.echo(json.dumps([_row(name, table) for name, table in tables.items()], indent=2))
        return
    for name, table in tables.items():
        say_table(_lines(name, table))


def _row(name: str, table: "Table") -> dict[str, Any]:
    from autoresearch.task import registry

    metric = table.metric
    return {
        "name": name,
        "title": table.title,
        "folder": str(table.folder),
        "metric": {"name": metric.name, "unit": metric.unit, "direction": metric.direction},
        "scoring": table.scoring,
        "audit": table.audit,
        "frameworks": registry.frameworks(table),
        "corpus": table.corpus,
        "options": {key: {"help": one["help"], "required": one.get("required", False)} for key, one in table.options.items()},
        "problem": table.problem,
    }


def _lines(name: str, table: "Table") -> list[str]:
    row = _row(name, table)
    if table.problem:
        return [f"{name:<12} {table.folder}", f"{'':<12} to do: {table.problem}; mend it"]
    metric, better = row["metric"], "higher" if row["metric"]["direction"] == "max" else "lower"
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    asked = [f"--{key}" for key, one in row["options"].items() if one["required"]]
    needs = [*asked, *(["--corpus"] if table.scoring == "answers" and table.corpus is None and not table.sizes else [])]
    own = "the backends have it" if table.scoring == "answers" else "none, it runs commands"
    return [
        f"{name:<12} {table.title}",
        f"{'':<12} {metric['name']}{unit}, {better} is better; scored by {table.scoring}, audit: {table.audit}",
        f"{'':<12} train.py: {', '.join(row['frameworks']) or own}" + (f"; needs {' '.join(needs)}" if needs else ""),
        f"{'':<12} {table.folder}",
    ]


class _Check(TaskCommand):
    def named(self, words: list[str]) -> str | None:
        """Its argument, where that is a folder."""
        return next((word for word in words if os.path.isfile(os.path.join(word, "task.toml"))), None)


@command.command(cls=_Check)
@click.argument("task", type=Text(), metavar="NAME|FOLDER")
@options("corpus", "backend", "device", "profile", "train_seconds", "sandbox", "json")
@click.pass_context
def check(
    context: click.Context, /, task: str, corpus: str, backend: str, device: str | None, profile: str,
    train_seconds: float | None, sandbox: str, as_json: bool, **chosen: Any,
) -> None:  # fmt: skip
    """Is a task right? Each contract, passed or failed, with what was measured. A minute, or a few where it compiles.

    FOLDER is one of your own that is not installed yet: it holds a task.toml. The task's train.py is trained as it is, for
    5 seconds or for --train-seconds. Exit status 1 when a contract fails.

    Example: `autoresearch tasks check ./mine --train-seconds 10`
    """
    import tempfile

    from autoresearch.checks.tasks import suite
    from autoresearch.checks.tasks.subject import Subject
    from autoresearch.sandbox import levels
    from autoresearch.task import registry

    table = _named(task)
    if table.problem:
        context.exit(shown(suite.unreadable(table), as_json))
    given = registry.given(table, chosen)
    planned = _planned(table, backend, profile, device)
    seconds = train_seconds or min(planned.profile.budget.train_seconds, SECONDS)
    with tempfile.TemporaryDirectory(prefix="autoresearch-check-", ignore_cleanup_errors=True) as folder:
        sized, backend_here = planned.profile.with_train_seconds(seconds), planned.choice.backend
        subject = Subject(
            table, given, corpus, backend_here, sized, levels.choose(sandbox, is_shipped=True), Path(folder).resolve()
        )
        status = shown(suite.check(subject), as_json)
    context.exit(status)


def _planned(table: "Table", backend: str, profile: str, device: str | None) -> "Plan":
    """The best backend here that the task has a train.py for; where that is none, one that is taken by name only."""
    from dataclasses import replace

    from autoresearch.errors import EnvironmentFailure
    from autoresearch.hardware.planner import plan
    from autoresearch.task import registry

    backends = registry.backends(table)
    try:
        planned = plan.make(backend, profile, device, backends)
    except EnvironmentFailure:
        others = [one.name for one in backends.values() if not one.auto and not one.problem]
        if backend != "auto" or not others:
            raise
        planned = plan.make(others[0], profile, device, backends)
    return planned if table.sizes else replace(planned, profile=registry.sized(table, planned.profile))


def _named(name: str) -> "Table":
    """The task of that name, or in that folder. Raises UsageError where there is none."""
    from autoresearch.errors import UsageError, nearest
    from autoresearch.paths import expanded
    from autoresearch.task import registry

    tables = registry.scan()
    if name in tables:
        return tables[name]
    folder = expanded(name).resolve()
    if (folder / "task.toml").is_file():
        return registry.read(folder)
    raise UsageError(
        f"no task {name!r}{nearest(name, tables)} (there are: {', '.join(tables)}), and no folder with a task.toml; name one"
    )


@command.command()
@click.argument("name", type=Text())
@click.option("--folder", type=Text(), default=".", metavar="DIR", help="In which its folder is made. Default: the current one.")
def new(name: str, folder: str) -> None:
    """A small task that works, to be changed into yours: its files say what to put in their place.

    Example: `autoresearch tasks new daylight`
    """
    from autoresearch.paths import expanded, typed
    from autoresearch.task import skeleton

    made = skeleton.make(name, expanded(folder).resolve())
    for path in sorted(made.rglob("*")):
        if path.is_file():
            say(f"made      {path}")
    say(f"check     autoresearch tasks check {typed(made)}")
    say(f"run       autoresearch run --task {typed(made)}")
