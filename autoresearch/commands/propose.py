"""`autoresearch propose`: a train.py of one's own, for a run that is at work."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import Text, options

if TYPE_CHECKING:
    from autoresearch.study.workspace import Study


@click.command("propose")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("-m", "--message", required=True, type=Text(), metavar="TEXT", help="What the edit is, in one line.")
@options("study")
def command(file: Path, message: str, workspace: Path | None) -> None:
    """Have FILE, a whole train.py, tried next: before what the agents propose, with every check that their proposals pass.

    `autoresearch try` does the same at once where no run is at work.

    Example: `autoresearch propose my_train.py -m "fewer layers"`
    """
    from autoresearch.agents.base import LARGEST_BYTES
    from autoresearch.commands.ask import ask
    from autoresearch.errors import UsageError
    from autoresearch.propose.proposals import objection
    from autoresearch.report import answers
    from autoresearch.study.inbox import Request
    from autoresearch.study.terms import check_night
    from autoresearch.study.workspace import find
    from autoresearch.text import described

    study = find(workspace)
    check_night(study)
    if file.stat().st_size > LARGEST_BYTES:
        raise UsageError(f"{file} has {file.stat().st_size:,} bytes, and {LARGEST_BYTES:,} are allowed; make it shorter")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 (byte {error.start}); save it as that") from error
    if not text.strip():
        raise UsageError(f"{file} is empty; write a whole train.py into it, then `autoresearch propose` again")
    if reason := objection(text, answers.state_of(study)):
        raise UsageError(f"{reason}; edit {file}, then `autoresearch propose` again")
    if text in _waiting(study):
        raise UsageError(f"{file} as it is waits to be tried already; edit it, or leave it: `autoresearch status` shows what waits")
    words = described(message)
    ask(study, Request(kind="propose", text=text, description=words), f"it is tried next: {words}", f"tries it first: {words}")


def _waiting(study: "Study") -> list[str]:
    """The texts that were handed in and not tried yet, taken by a run or not."""
    from autoresearch.report import answers
    from autoresearch.study import inbox
    from autoresearch.study.commits import text_of

    asked = [request.text for _, request in inbox.waiting(study.inbox) if request and request.kind == "propose"]
    return asked + [text_of(study.folder, handed.commit) for handed in answers.state_of(study).handed]
