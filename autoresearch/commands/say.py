"""The edge to a terminal: whatever a command prints for people goes through here, since an agent may have written a part of it."""

import os
import sys
from typing import TYPE_CHECKING

import click

from autoresearch.text import harmless

if TYPE_CHECKING:
    from autoresearch.run.setup import Setup


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """click.echo of a harmless text; of a very long one the beginning."""
    click.echo(harmless(str(text)), err=err, nl=nl)


def say_on(text: str) -> None:
    """As click.echo, for a command whose work goes on when its reader went away (`autoresearch run --plain | head -2`)."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_device(setup: "Setup", quiet: bool) -> None:
    """Which of several devices a command trains on, and why, apart from its answer."""
    if setup.backend.card_reason and not quiet:
        say(f"device    {setup.backend.card_reason}", err=True)
