"""`autoresearch results`: every experiment, one line each."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say, say_table
from autoresearch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autoresearch.metric import Metric
    from autoresearch.study.experiments import Experiment
    from autoresearch.study.workspace import Study


@click.command("results")
@options("study", "json")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets: every column there is, as CSV.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N. Default: all.")
def command(workspace: Path | None, as_json: bool, as_csv: bool, last: int | None) -> None:
    """Every experiment, one line each.

    The file results.tsv in the workspace holds the same for other tools, in five columns. `autoresearch compare` sets two
    experiments, or two studies, side by side.

    Examples: `autoresearch results --last 20`, `autoresearch results --csv > results.csv`
    """
    from autoresearch.errors import UsageError
    from autoresearch.report import answers, table
    from autoresearch.study.workspace import find

    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms of the answer; give one of them")
    study = find(workspace)
    state = answers.state_of(study)
    if state.skipped_line:
        say(state.skipped_line, err=True)
    if as_json:
        click.echo(json.dumps(study.metric.told(answers.results(study, last)), indent=2))
        return
    experiments = state.experiments[-(last or 0) :]
    if not experiments:
        say("no experiment yet; `autoresearch run` trains the first", err=as_csv)
    elif as_csv:  # as bytes: its line ends are its own on every system, and UTF-8 has every letter
        click.echo(table.csv_text(experiments, state.noise, _categories(study, experiments), state.metric).encode(), nl=False)
    else:
        say_table(lines(experiments, state.metric))


def lines(experiments: "Iterable[Experiment]", metric: "Metric") -> list[str]:
    wide = max(9, len(metric.name))
    head = f"{'no':>5}  {'commit':<7}  {metric.name:>{wide}}  {'state':<12}  description"
    return [head, *(f"{one.number:>5}  {one.commit[:7]}  {metric.text(one.val_bpb):>{wide}}"
                    f"  {one.state or 'pending':<12}  {one_line(one.description)}" for one in experiments)]  # fmt: skip


def _categories(study: "Study", experiments: "list[Experiment]") -> dict[int, str]:
    """What kind of edit each was; without those that git has lost."""
    import pygit2

    from autoresearch.categories import category
    from autoresearch.study.commits import text_of

    found = {}
    for experiment in experiments:
        try:
            if experiment.parent:
                before, after = (text_of(study.folder, commit) for commit in (experiment.parent, experiment.commit))
                found[experiment.number] = category(before, after)
        except (KeyError, ValueError, pygit2.GitError):
            continue
    return found
