"""`autoresearch repair`: the way out when a line in the middle of the ledger is damaged, or all of it is gone."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

if TYPE_CHECKING:
    from autoresearch.study.workspace import Study

SHOWN = 12  # lines that are cut off, at most


@click.command("repair")
@options("study")
@click.option("--yes", is_flag=True, help="Do it. Without: only show what would be cut off.")
def command(workspace: Path | None, yes: bool) -> None:
    """Go back to the last good line of a damaged ledger, or begin a lost one anew.

    What comes after that line is cut off, the old file is kept beside it, and every commit keeps its ref; `run` goes on from there.
    Where the whole ledger is gone, scores are gone too: the study's best is measured anew, and what was tried is not tried again.

    Example: `autoresearch repair --yes`
    """
    from autoresearch.paths import typed
    from autoresearch.study import lock, repair
    from autoresearch.study.workspace import find

    study = find(workspace)
    with lock.hold(study.lock):
        damaged = repair.damage(study.events)
        if damaged is None:
            return _begin_anew(study, yes)
        cut = damaged.cut
        click.echo(f"{study.events}: line {damaged.line} is damaged; {damaged.line - 1} good lines stand before it")
        click.echo(f"cut off are {len(cut)} lines:")
        for number, said in cut[:SHOWN]:
            say(f"  {number:>6}  {said}")
        if len(cut) > SHOWN:
            click.echo(f"  ... and {len(cut) - SHOWN} more")
        if yes:
            aside = repair.repair(damaged)
            click.echo(f"done; the old file is {aside}; go on with `autoresearch run --workspace {typed(study.folder)}`")
        else:
            click.echo(f"nothing is changed yet; the old file would be kept as {damaged.aside.name}; `--yes` does it")


def _begin_anew(study: "Study", yes: bool) -> None:
    """Where no line is damaged: nothing to do, or everything is gone."""
    from autoresearch.loop import rebuild
    from autoresearch.paths import typed

    tried = rebuild.tried(study)
    if not tried:
        click.echo(f"{study.events} is good: nothing to mend")
        return
    click.echo(f"{study.events} is empty or gone; git has {len(tried)} experiments of the study {study.tag}:")
    for experiment in tried[-SHOWN:]:
        say(f"  {experiment.number:>6}  {experiment.commit[:7]}  {experiment.description}")
    click.echo("their scores are gone with it; the best, where the branch stands, is measured anew as experiment 0")
    if limits := study.constraints.to_dict():
        said = " ".join(f"--{name.replace('_', '-')} {value:.10g}" for name, value in limits.items())
        click.echo(f"limits are again those of study.toml ({said}); type others with `run`")
    if yes:
        aside = rebuild.rebuild(study, tried)
        kept = f"; the old results.tsv is {aside}" if aside else ""
        click.echo(f"done{kept}; go on with `autoresearch run --workspace {typed(study.folder)}`")
    else:
        click.echo("nothing is changed yet; `--yes` does it")
