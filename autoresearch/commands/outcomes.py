"""How a suite of contracts looks: a line each as it becomes known, or a JSON list; status 1 when one fails."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from autoresearch.commands.say import say_table

if TYPE_CHECKING:
    from autoresearch.checks.conformance.contracts import Checked

WIDTH = 25  # of a contract's name


def shown(outcomes: "Iterable[Checked]", as_json: bool) -> int:
    """Print them, while a bar tells that there is more to come; the exit status."""
    from autoresearch.checks.conformance.contracts import FAIL
    from autoresearch.commands.bars import doing

    known = []
    with doing("trying its contracts", quiet=as_json, plain=False):
        for outcome in outcomes:
            known.append(outcome)
            if not as_json:
                is_broken = outcome.result == FAIL
                told = outcome.figure or (None if is_broken else outcome.detail) or ""
                say_table([f"{outcome.contract:<{WIDTH}} {outcome.result:<4}  {told}".rstrip()])
                if is_broken:
                    say_table([f"{'':<{WIDTH}} to do: {outcome.detail}"])
    if as_json:
        click.echo(json.dumps([outcome.to_dict() for outcome in known], indent=2))
    return 1 if any(outcome.result == FAIL for outcome in known) else 0
