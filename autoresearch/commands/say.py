"""The edge to a terminal: whatever a command prints for people goes through here, since an agent may have written a part of it."""

import click

from autoresearch.text import harmless


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """click.echo of a harmless text; of a very long one the beginning."""
    click.echo(harmless(str(text)), err=err, nl=nl)
