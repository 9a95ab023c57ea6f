"""`autoresearch resume`: the end of a pause."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("resume")
@options("study")
def command(workspace: Path | None) -> None:
    """End a pause, also one that has not begun yet. (A run that was stopped goes on with `autoresearch run`.)

    Example: `autoresearch resume`
    """
    from autoresearch.commands.ask import ask, is_paused
    from autoresearch.errors import UsageError
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import find

    study = find(workspace)
    if not is_paused(study):
        raise UsageError(f"the study {study.tag} is not paused; one that was stopped goes on with `autoresearch run`")
    ask(study, Request(kind="resume"), "it goes on", "begins without a pause")
