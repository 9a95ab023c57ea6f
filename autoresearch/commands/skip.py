"""`autoresearch skip [N]`: the end of an experiment that trains now."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("skip")
@click.argument("number", type=click.IntRange(min=1), metavar="[N]", required=False)
@options("study")
def command(number: int | None, workspace: Path | None) -> None:
    """End the experiment that trains now; the study goes on with the next.

    N says which one, where several workers train several. It is a discard of the state skip: no crash, nothing that an agent's
    share or its failures count, and its train.py stays in git. The baseline can't be skipped, nor what was decided before a run
    took this.

    Example: `autoresearch skip`
    """
    from autoresearch.commands.ask import ask
    from autoresearch.errors import UsageError
    from autoresearch.report import answers
    from autoresearch.study.inbox import Request
    from autoresearch.study.workspace import find

    study = find(workspace)
    pending = [one.number for one in answers.state_of(study).open]
    known = [n for n in pending if n > 0]
    if not known:
        what = "the baseline trains, which can't be skipped" if pending else "no experiment trains now"
        raise UsageError(f"{what}; `autoresearch status` shows what is under way")
    if number is None and len(known) > 1:
        raise UsageError(f"experiments {', '.join(map(str, known))} have no verdict yet; say which one: `autoresearch skip N`")
    if number not in (None, *known):
        waiting = f"{', '.join(map(str, known))} {'have' if len(known) > 1 else 'has'} none yet"
        raise UsageError(f"no experiment {number} waits for a verdict; `autoresearch skip N` ends one that does: {waiting}")
    chosen = known[0] if number is None else number
    ask(study, Request(kind="skip", n=chosen), f"experiment {chosen} ends", f"skips experiment {chosen}")
