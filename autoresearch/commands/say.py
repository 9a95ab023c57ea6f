"""The edge to a terminal: whatever a command prints for people goes through here, since an agent may have written a part of it."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from autoresearch.text import harmless

if TYPE_CHECKING:
    from autoresearch.run.setup import Setup

_COLUMNS = re.compile(r" *(?:\S+(?: \S+)* {2,})*")
_TYPED = re.compile(r"to do: |needs: |^(?:command|go on|look|again|files|picture|report) ")


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """click.echo of a harmless text; of a very long one the beginning."""
    _echo(harmless(str(text)), err, nl)


def say_table(lines: Iterable[str], headings: bool = False) -> None:
    """Lines of columns, each harmless, folded where a terminal is too narrow. headings: those at the margin are bold."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        for part in folded(harmless(line), width):
            _echo(click.style(part, bold=True) if headings and line[:1].strip() else part)


def folded(line: str, width: int | None) -> list[str]:
    """What goes on stands under the last column, or far enough right; what is to be copied and typed stays in one piece."""
    if width is None or len(line) <= width or _TYPED.search(line):
        return [line]
    columns = _COLUMNS.match(line)
    indent = min(columns.end() if columns else 0, 6 * width // 10)
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def say_on(text: str, fold: bool = True) -> None:
    """One line, for a command whose work goes on when its reader went away (`autoresearch run --plain | head -2`)."""
    try:
        if fold:
            say_table([text])
        else:
            _echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_error(message: str, exit_status: int) -> None:
    """For a program: an error where it reads the answer or the events."""
    say_on(json.dumps({"event": "error", "message": harmless(message), "exit_status": exit_status}), fold=False)


def say_device(setup: "Setup", quiet: bool) -> None:
    """Which of several devices a command trains on, and why, apart from its answer."""
    if setup.backend.card_reason and not quiet:
        say(f"device    {setup.backend.card_reason}", err=True)


def _echo(text: str, err: bool = False, nl: bool = True) -> None:
    """click.echo; while a bar is drawn (bars.py), which has put itself in the stream's place, above it. click looks past that."""
    stream = sys.stderr if err else sys.stdout
    if "rich.file_proxy" in sys.modules and isinstance(stream, sys.modules["rich.file_proxy"].FileProxy):
        stream.write(f"{text}\n" if nl else text)
    else:
        click.echo(text, err=err, nl=nl)
