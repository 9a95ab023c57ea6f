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
    from autoresearch.commands.ask import ask
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import find

    ask(find(workspace), Request(kind="resume"), "it goes on", "begins without a pause")
