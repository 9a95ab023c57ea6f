"""Reads a Seatbelt profile and answers as Seatbelt would, for the part of its language that ours is written in."""

import re
from typing import NamedTuple

Form = list  # of words, strings and forms


class Rule(NamedTuple):
    allows: bool
    operations: list[str]
    filters: list[tuple[str, str]]  # (kind, value)


TOKEN = re.compile(r'\s*(?:([()])|#"([^"]*)"|"((?:[^"\\]|\\.)*)"|([^\s()"]+))')


def forms(text: str) -> list[Form]:
    """The text's parenthesised lists. ValueError where it is not well-formed."""
    stack: list[Form] = [[]]
    position = 0
    while text[position:].strip():
        found = TOKEN.match(text, position)
        if found is None:
            raise ValueError(text[position : position + 40])
        position = found.end()
        bracket, raw, quoted, word = found.groups()
        if bracket == "(":
            stack.append([])
        elif bracket == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(raw if raw is not None else word if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    (top,) = stack
    return top


def rules(text: str) -> list[Rule]:
    """Of a profile that begins with its version. ValueError where a form is none that we know."""
    version, *rest = forms(text)
    if version != ["version", "1"]:
        raise ValueError(version)
    found = []
    for verdict, *words in rest:
        names, filters = [word for word in words if isinstance(word, str)], [form for form in words if not isinstance(form, str)]
        if verdict not in ("allow", "deny") or not names or any(len(form) != 2 for form in filters):
            raise ValueError((verdict, words))
        found.append(Rule(verdict == "allow", names, [(kind, value) for kind, value in filters]))
    return found


def allows(rules: list[Rule], operation: str, what: str, open_by_default: list[str]) -> bool:
    """Whether an operation on `what` goes through: by the last rule with a filter that fits, else by the last one without."""
    matching = [rule for rule in rules if any(_covers(name, operation) for name in rule.operations)]
    filtered = [rule for rule in matching if any(_fits(*one, what) for one in rule.filters)]
    plain = [rule for rule in matching if not rule.filters]
    for found in (filtered, plain):
        if found:
            return found[-1].allows
    (default,) = (rule for rule in rules if rule.operations == ["default"])
    return default.allows or any(_covers(name, operation) for name in open_by_default)


def _covers(name: str, operation: str) -> bool:
    """Whether a rule's operation (`file-read*`, `iokit-open`) is the operation or a group that it belongs to."""
    name = name.removesuffix("*")
    return operation == name or operation.startswith(f"{name}-")


def _fits(kind: str, value: str, what: str) -> bool:
    if kind == "subpath":
        return what == value or what.startswith(value.rstrip("/") + "/")
    if kind == "sysctl-name-prefix":
        return what.startswith(value)
    if kind.endswith("-regex"):
        return re.search(value, what) is not None
    return what == value
