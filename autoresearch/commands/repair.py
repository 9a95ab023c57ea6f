"""`autoresearch repair`: the way out when a line in the middle of the ledger is damaged."""

from pathlib import Path

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

SHOWN = 12  # lines that are cut off, at most


@click.command("repair")
@options("workspace")
@click.option("--yes", is_flag=True, help="Do it. Without: only show what would be cut off.")
def command(workspace: Path | None, yes: bool) -> None:
    """Go back to the last good line of a damaged ledger.

    What comes after it is cut off, the old file is kept beside it, and every commit keeps its ref; `run` goes on from there.

    Example: `autoresearch repair --yes`
    """
    from autoresearch.paths import typed
    from autoresearch.study import lock, repair
    from autoresearch.study.workspace import find

    study = find(workspace)
    with lock.hold(study.lock):
        found = repair.damage(study.events)
        if found is None:
            click.echo(f"{study.events} is good: nothing to mend")
            return
        cut = found.cut
        click.echo(f"{study.events}: line {found.line} is damaged; {found.line - 1} good lines stand before it")
        click.echo(f"cut off are {len(cut)} lines:")
        for number, said in cut[:SHOWN]:
            say(f"  {number:>6}  {said}")
        if len(cut) > SHOWN:
            click.echo(f"  ... and {len(cut) - SHOWN} more")
        if yes:
            aside = repair.repair(found)
            click.echo(f"done; the old file is {aside}; go on with `autoresearch run --workspace {typed(study.folder)}`")
        else:
            click.echo(f"nothing is changed yet; the old file would be kept as {found.aside.name}; `--yes` does it")
