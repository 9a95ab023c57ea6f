"""What a profile or a person may choose in a runtime's place: whether it compiles, which attention it takes, how many threads.

A profile's [runtime] table reaches every worker of a study as the variables below, which a person may set as well; the profile's
go before. Each runtime.py asks `settle` for its choice, so the rule is written once. No framework is imported here.
"""

import os
from collections.abc import Mapping, Sequence

from autoresearch.errors import UsageError

Value = bool | int | str
VARIABLES = {"compile": "AUTORESEARCH_COMPILE", "attention": "AUTORESEARCH_ATTENTION", "threads": "AUTORESEARCH_THREADS"}
_FLAGS = {"1": True, "on": True, "true": True, "0": False, "off": False, "false": False}


def variables(runtime: Mapping[str, Value]) -> dict[str, str]:
    """A [runtime] table as variables of a worker's environment."""
    return {VARIABLES[name]: shown(value) for name, value in runtime.items()}


def settle(name: str, own: Value, reason: str, offered: Sequence[Value]) -> tuple[Value, str]:
    """(choice, reason): the runtime's own, or the one of those that it offers which the variable asks for. Raises UsageError."""
    text = asked_for(name)
    if text is None:
        return own, reason
    value = _FLAGS.get(text.lower(), text) if name == "compile" else int(text) if text.isdecimal() else text
    if value not in offered:
        variable = VARIABLES[name]
        problem = f"{variable} is {text!r}, and here is {_either(offered)} only ({reason})"
        raise UsageError(problem, f"set it (or {name} in the profile's [runtime]) to {_either(offered)}, or remove it")
    return value, f"the profile's [runtime] or {VARIABLES[name]} asks for it"


def left(**offered: Sequence[Value]) -> dict[str, list[Value]]:
    """For a probe's `choices`: the names with more than one value, of which nobody has asked for one yet."""
    return {name: list(values) for name, values in offered.items() if len(values) > 1 and asked_for(name) is None}


def thread_counts(cores: int) -> list[int]:
    """Counts that may be tried: all cores, one less (something else runs too), half of them (they share caches and power)."""
    return sorted({cores, max(1, cores - 1), max(1, cores // 2)}, reverse=True)


def asked_for(name: str) -> str | None:
    """The variable's text; None where it is not set, or empty."""
    return os.environ.get(VARIABLES[name], "").strip() or None


def shown(value: Value) -> str:
    """on, off, a number or a name."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def described(runtime: Mapping[str, Value]) -> str:
    """As in "compile off, threads 1"."""
    return ", ".join(f"{name} {shown(value)}" for name, value in runtime.items())


def _either(offered: Sequence[Value]) -> str:
    return f"{offered[0]} to {offered[-1]}" if isinstance(offered, range) and len(offered) > 1 else " or ".join(map(shown, offered))
