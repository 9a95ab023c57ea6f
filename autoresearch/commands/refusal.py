"""What click refuses, in our words: one line that says what is wrong, what is taken instead, and where to read more."""

import re
from typing import Any

import click

from autoresearch.errors import nearest
from autoresearch.text import one_line

# How click's messages begin: the value, as it was given or as Python writes it.
_GIVEN = re.compile(
    r"(?:File |Directory |Path )?(.+?) (?:is not (?:a valid|in|one)|does not exist|is a |is not \w+able)", re.DOTALL
)
_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)
_CHARACTERS = 80  # of a value


def told(error: click.ClickException) -> str:
    """The line for the user."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "autoresearch"
    return f"{_problem(error)}; `{command} --help` says more"


def _problem(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    match error:
        case click.MissingParameter(param=click.Parameter() as parameter):
            return f"{_name(parameter)} is missing" + (f": {parameter.help}" if getattr(parameter, "help", None) else "").rstrip(
                "."
            )
        case click.BadParameter(param=click.Parameter() as parameter) if takes := _taken(parameter.type, error.message):
            given = _GIVEN.match(error.message)
            value = one_line(given[1].strip("'").removesuffix(".0"), _CHARACTERS) if given else ""
            close = nearest(value, parameter.type.choices) if isinstance(parameter.type, click.Choice) else ""
            return f"{_name(parameter)} takes {takes}" + (f", not {value!r}{close}" if given else f" ({one_line(error.message)})")
        case click.BadParameter(param=click.Parameter() as parameter):
            return f"{_name(parameter)} {one_line(error.message)}"
        case click.BadOptionUsage() if "requires" in message:
            return f"{error.option_name} needs a value behind it"
        case click.NoSuchOption():
            options = [name for known_parameter in error.ctx.command.params for name in known_parameter.opts] if error.ctx else []
            return f"there is no option {one_line(error.option_name, _CHARACTERS)}{nearest(error.option_name, options)}"
    if extra := _EXTRA.match(message):
        return f"nothing is taken beyond what is named in the help: leave out {one_line(extra[1], _CHARACTERS)!r}"
    return one_line(message[:1].lower() + message[1:], 400)


def _name(parameter: click.Parameter) -> str:
    """As it is typed: `-m TEXT`."""
    if isinstance(parameter, click.Option):
        return " ".join([parameter.opts[-1], *([parameter.metavar] if parameter.metavar else [])])
    return parameter.human_readable_name.strip("[]")


def _taken(kind: click.ParamType[Any], message: str) -> str | None:
    """What a value of it may be, in words; None: not known. message: click's."""
    match kind:
        case click.Choice():
            return "one of " + ", ".join(map(str, kind.choices))
        case click.IntRange() | click.FloatRange():
            number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
            least = "" if kind.min is None else f" above {kind.min:g}" if kind.min_open else f" of at least {kind.min:,}"
            most = "" if kind.max is None else f" and at most {kind.max:,.16g}"
            return number + least + most + getattr(kind, "or_else", "")
        case click.Path():
            there = " that is there and can be read" if kind.exists or "readable" in message else ""
            return ("a file" if not kind.dir_okay else "a folder" if not kind.file_okay else "a path") + there
    return "a whole number" if kind is click.INT else None
