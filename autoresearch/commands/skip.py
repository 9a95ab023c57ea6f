"""`autoresearch skip`: the end of the experiment that trains now."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("skip")
@options("study")
def command(workspace: Path | None) -> None:
    """End the experiment that trains now; the study goes on with the next.

    It is a discard of the state skip: no crash, nothing that an agent's share or its failures count, and its train.py stays in git.
    The baseline can't be skipped, nor what was decided before a run took this.

    Example: `autoresearch skip`
    """
    from autoresearch.commands.ask import ask
    from autoresearch.errors import UsageError
    from autoresearch.report import answers
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import find

    study = find(workspace)
    pending = answers.state_of(study).pending
    if pending is None or pending.number == 0:
        what = "the baseline trains, which can't be skipped" if pending else "no experiment trains now"
        raise UsageError(f"{what}; `autoresearch status` shows what is under way")
    ask(study, Request(kind="skip", n=pending.number), f"experiment {pending.number} ends", f"skips experiment {pending.number}")
