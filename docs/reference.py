"""commands.md, made from the command line itself: every command with its help.

`python docs/reference.py` writes it, `--check` exits with 1 when the file says something else (lines may be folded differently).
"""

import sys
from pathlib import Path

import click

from autoresearch.cli import cli

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

What `--help` prints. This page is made by `python docs/reference.py`; a test fails when it is out of date.

Options with one name mean the same in every command. Exit status: 0 done, 1 the work failed, 2 the call or its input was wrong,
3 stored state is damaged, 130 interrupted. A wrong call is one line that ends in what to do next.
"""


def sections(command: click.Command, context: click.Context) -> list[str]:
    """A heading and the help of each command, those of a group below it."""
    level = context.command_path.count(" ") + 1
    parts = [f"{'#' * level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            parts += sections(below, click.Context(below, context, name, terminal_width=context.terminal_width))
    return parts


def page() -> str:
    root = click.Context(cli, info_name="autoresearch", terminal_width=110, **cli.context_settings)
    _, *commands = sections(cli, root)
    return "\n".join([HEAD, *commands])


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    elif PAGE.read_text(encoding="utf-8").split() != page().split():
        sys.exit("docs/commands.md is not what the commands say: run `python docs/reference.py`")


if __name__ == "__main__":
    main()
