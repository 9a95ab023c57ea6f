"""`autoresearch tell`: a sentence for the agents, while they are at work."""

from pathlib import Path

import click

from autoresearch.commands.options import Text, options


@click.command("tell")
@click.argument("text", type=Text(), metavar="TEXT")
@options("study")
def command(text: str, workspace: Path | None) -> None:
    """Add TEXT to the study's program while it runs.

    An LLM or a coding agent is shown it under program.md, from its next proposal on; the search reads nothing. At most 2,000
    characters, and the newest 20 are shown: what holds for good is better written into program.md itself.

    Example: `autoresearch tell "try fewer layers"`
    """
    from autoresearch.commands.ask import ask
    from autoresearch.errors import UsageError
    from autoresearch.study import events
    from autoresearch.study.inbox import Request
    from autoresearch.study.terms import check_night
    from autoresearch.study.workspace import find
    from autoresearch.text import harmless

    most = events.CHARACTERS["text"]
    if len(text) > most:
        problem = f"TEXT has {len(text):,} characters, and at most {most:,} are shown"
        raise UsageError(problem, "shorten it, or write it into the study's program.md")
    study = find(workspace)
    check_night(study)
    ask(
        study,
        Request(kind="tell", text=harmless(text).strip()),
        "the agents see it from their next proposal on",
        "shows it to the agents",
    )
