"""`autoresearch results`: every experiment, one line each."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say, say_table
from autoresearch.text import one_line

if TYPE_CHECKING:
    from autoresearch.study.state import Experiment


@click.command("results")
@options("study", "json")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N. Default: all.")
def command(workspace: Path | None, as_json: bool, last: int | None) -> None:
    """Every experiment, one line each.

    The file results.tsv in the workspace holds the same for other tools. Example: `autoresearch results --last 20`
    """
    from autoresearch.report import answers
    from autoresearch.study.workspace import find

    study = find(workspace)
    state = answers.state_of(study)
    if state.skipped_line:
        say(state.skipped_line, err=True)
    if as_json:
        click.echo(json.dumps(answers.results(study, last), indent=2))
        return
    experiments = state.experiments[-(last or 0) :]
    if not experiments:
        click.echo("no experiment yet; `autoresearch run` trains the first")
    say_table(map(line, experiments))


def line(experiment: "Experiment") -> str:
    score = "n/a" if experiment.val_bpb is None else f"{experiment.val_bpb:.6f}"
    word = experiment.state or "pending"
    return f"{experiment.number:>5}  {experiment.commit[:7]}  {score:>9}  {word:<12}  {one_line(experiment.description)}"
