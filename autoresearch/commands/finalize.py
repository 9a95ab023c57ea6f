"""`autoresearch finalize`: the kept edits as one clean branch or patch series, ready for a pull request."""

import json
from pathlib import Path

import click

from autoresearch.commands.options import Folder, Text, options
from autoresearch.commands.say import say


@click.command("finalize")
@options("study", "json")
@click.option("--output", type=Folder(), metavar="DIR", help="Write patches and the text of a pull request there, a new folder.")
@click.option("--branch", type=Text(), metavar="NAME", help="Put the commits on this branch. Default: final/TAG, without --output.")
def command(workspace: Path | None, as_json: bool, output: Path | None, branch: str | None) -> None:
    """The kept edits as one clean history: a commit a keep, with its figures, from the baseline's train.py to the best's.

    On a branch of its own in the workspace, or with --output as patches for any other repository. The study's branch and the work
    tree stay as they are, and nothing is pushed.

    Examples: `autoresearch finalize`, `autoresearch finalize --output night-patches`
    """
    from autoresearch.paths import expanded, git
    from autoresearch.report import answers
    from autoresearch.study.finalize import Series, how_to_apply
    from autoresearch.study.workspace import find

    study = find(workspace)
    series = Series(study, answers.state_of(study))
    name = branch or (None if output else f"final/{study.tag}")
    files = series.to_folder(expanded(output).absolute()) if output else []
    ref = series.to_branch(name) if name else None
    if as_json:
        facts = {
            "branch": ref,
            "tip": str(series.steps[-1].commit.id) if ref else None,
            "experiments": [step.experiment.number for step in series.steps],
            "files": [str(path) for path in files],
            "summary": series.summary(),
        }
        click.echo(json.dumps(facts, indent=2))
        return
    say(series.squashed_message().rstrip())
    if ref:
        say(f"\nbranch   {name}; look: {git(study.folder)} log -p {name}")
    if output:
        folder = expanded(output).absolute()
        say(f"\npatches  {folder}; in a repository that has the baseline's train.py: {how_to_apply(folder)}")
        say(f"text     {folder / 'summary.md'}, of a pull request")
    else:
        say("`--output DIR` writes patches and the text of a pull request")
