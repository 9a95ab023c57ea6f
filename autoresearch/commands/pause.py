"""`autoresearch pause`: nothing new until `resume`."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("pause")
@options("study")
def command(workspace: Path | None) -> None:
    """Have the run finish what it checks or trains now, and then begin nothing until `autoresearch resume`.

    The pause outlives the run: one that is ended meanwhile is paused when it is typed again. Ctrl-C works in a pause, and --hours
    goes on counting.

    Example: `autoresearch pause`
    """
    from autoresearch.commands.ask import ask, is_paused
    from autoresearch.errors import UsageError
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import find

    study = find(workspace)
    if is_paused(study):
        raise UsageError(f"the study {study.tag} is paused already; `autoresearch resume` goes on")
    ask(study, Request(kind="pause"), "it finishes what it trains, then waits for `autoresearch resume`", "begins paused")
