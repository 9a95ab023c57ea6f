"""`autoresearch init`: a workspace to look at and edit before the run."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from autoresearch.commands.options import CONSTRAINTS, Folder, TaskCommand, options


@click.command("init", cls=TaskCommand)
@click.argument("folder", required=False, type=Folder(), metavar="[DIR]")
@options(
    "task", "tag", "profile", "autotune", "backend", "device", "corpus", "train_seconds", "decide", "stop_early", "seed",
    *CONSTRAINTS, "plain",
)  # fmt: skip
def command(folder: Path | None, plain: bool, **chosen: Any) -> None:
    """Make a workspace to look at and edit before the run.

    DIR is a new or an empty folder; default: autoresearch-<tag>. It gets train.py with the profile's constants, program.md (the
    instructions), AGENTS.md (for a coding agent that drives the study itself), study.toml (the terms) and a git repository of its
    own. What you change in train.py before the first run becomes the baseline.

    Example: `autoresearch init my-study --profile cpu`, then `autoresearch run --workspace my-study`
    """
    from autoresearch.commands.bars import bars
    from autoresearch.commands.say import say_on
    from autoresearch.paths import expanded, typed
    from autoresearch.study import new, workspace

    folder = expanded(folder or f"autoresearch-{chosen['tag'] or workspace.today()}").resolve()
    study, _ = new.make(folder, chosen, say_on, partial(bars, quiet=False, plain=plain), sandbox=None)
    click.echo(f"study {study.tag} in {study.folder}: edit train.py or program.md, then")
    click.echo(f"  autoresearch run --workspace {typed(study.folder)}")
