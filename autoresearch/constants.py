"""The constants of a train.py: its top-level `UPPER_CASE = literal` lines, read and rewritten by its syntax tree.

Profiles, `init` and the search agent all change a train.py through `write`, which replaces the literal and keeps every
other byte: comments, spacing, line ends. Nothing is ever executed.

A constant is bound one time, at the top level, to an int, a float, a str, a bool, a tuple of numbers, or arithmetic of
numbers as people write it (`2**16`, `3 * 256`, `-0.5`). Anything else in capitals (computed, bound twice, None) is not a
constant here.

The last thing on its line may be an annotation, which says what the search may try:

    MATRIX_LR = 0.04         # learning rate of the matrices [0.005..0.2 log]
    TOTAL_BATCH = 2**16      # tokens a step [2**12..2**20 log]
    HEAD_DIM = 64            # [32, 64, 128]
    SAVE_EVERY = 10          # [fixed]

Of several files as one text (bundle.py) those in Python are read; there only what has an annotation is for the search, since the
code was not written for one.
"""

import ast
import decimal
import functools
import math
import operator
import re
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard, overload

from autoresearch import bundle
from autoresearch.errors import UsageError, nearest

Number = int | float
Value = int | float | str | bool | tuple[Number, ...]


@dataclass(frozen=True)
class Range:
    """From low to high, both included; log: steps are ratios, not differences."""

    low: Number
    high: Number
    log: bool = False


@dataclass(frozen=True)
class Choices:
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Fixed:
    """Not for the search."""


Annotation = Range | Choices | Fixed


@dataclass(frozen=True)
class Constant:
    name: str
    value: Value
    line: int  # 1-based, of the name
    comment: str  # without `#` and without the annotation; may be empty
    annotation: Annotation | None


def read(source: str) -> dict[str, Constant]:
    """Every constant of source by name, in the order of the text.

    UsageError when source does not parse, or when a bracket at the end of a constant's line is no annotation.
    """
    lines = _lines(source.removeprefix(_BYTE_ORDER_MARK))
    constants, others = {}, Fixed() if bundle.is_bundle(source) else None
    for name, (statement, _, value) in _assignments(source).items():
        try:
            comment, annotation = _remark(lines, statement, value)
        except UsageError:
            if others is None:
                raise
            comment, annotation = "", None
        constants[name] = Constant(name, value, statement.lineno, comment, annotation or others)
    return constants


def between(before: str, after: str) -> dict[str, Value] | None:
    """The values by which the texts differ, where they differ in nothing else; None where there are none, or more than that."""
    was, now = read(before), read(after)
    changes = {name: one.value for name, one in now.items() if name in was and was[name].value != one.value}
    return changes if changes and write(before, changes) == after else None


def write(source: str, values: Mapping[str, object]) -> str:
    """source with the constants in values set to them, and nothing else changed. A list counts as a tuple.

    The literal keeps its form where the new value allows it: `2**16`, `65_536`, `3e-4`, the kind of quotes.
    UsageError for a name that is no constant, and for a value of another type (an int is taken where a float stands).
    """
    assignments = _assignments(source)
    body = source.removeprefix(_BYTE_ORDER_MARK)
    lines = _lines(body)
    edits = []
    for name, value in values.items():
        if name not in assignments:
            raise UsageError(f"train.py has no constant {name}{nearest(name, assignments)} {_CONSTANT_RULE}")
        _, node, old = assignments[name]
        start, end = _span(lines, node)
        text = b"".join(lines)[start:end].decode()
        edits.append((start, end, _literal(name, text, node, old, value).encode()))
    data = body.encode()
    for start, end, literal in sorted(edits, reverse=True):
        data = data[:start] + literal + data[end:]
    return source[: len(source) - len(body)] + data.decode()


# ---------------------------------------------------------------------------------------------------------- reading

_BYTE_ORDER_MARK = "\ufeff"
_CONSTANT_RULE = "(a constant is a top-level line `NAME = literal`, bound one time)"
_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)?")  # the line ends of Python's parser; str.splitlines knows more of them


def _lines(source: str) -> list[bytes]:
    """The lines with their ends, as UTF-8: the syntax tree counts columns in bytes."""
    return _LINE.findall(source.encode())


def _span(lines: list[bytes], node: ast.expr) -> tuple[int, int]:
    """Byte offsets of a node in the whole text."""
    places = (node.lineno, node.col_offset), _end(node)
    start, end = (sum(map(len, lines[: line - 1])) + column for line, column in places)
    return start, end


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    """The line that a node ends in, and the column behind it."""
    assert node.end_lineno is not None and node.end_col_offset is not None, "ast.parse knows every node's end"
    return node.end_lineno, node.end_col_offset


_parsing = threading.Lock()


@overload
def syntax_tree(source: str) -> ast.Module: ...
@overload
def syntax_tree(source: str, mode: Literal["eval"]) -> ast.Expression: ...
def syntax_tree(source: str, mode: Literal["exec", "eval"] = "exec") -> ast.Module | ast.Expression:
    """ast.parse without its warnings: an odd escape in an edited file is Python's to report, not ours. Raises what ast.parse does.

    One thread at a time: Python 3.11 counts the depth of all trees that are being built together (cpython#106905), so that of two
    at once one may be a SystemError; and the warnings' filter is the process's.
    """
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, mode="eval") if mode == "eval" else ast.parse(source)


@functools.lru_cache(16)  # one text is read, written to and read again, proposal after proposal
def _assignments(source: str) -> dict[str, tuple[ast.stmt, ast.expr, Value]]:
    """Of each constant its statement, its literal and the value of that."""
    try:
        tree = syntax_tree(bundle.python(source.removeprefix(_BYTE_ORDER_MARK)))
    except SyntaxError as error:
        raise UsageError(f"train.py does not parse: line {error.lineno}: {error.msg}; correct that line") from None
    except (ValueError, RecursionError, MemoryError, UnicodeError) as error:  # zero bytes, surrogates, absurd nesting
        raise UsageError(f"train.py does not parse: {str(error) or 'nested too deeply'}; restore it from git") from None
    bound = Counter(_bound_names(tree))
    assignments: dict[str, tuple[ast.stmt, ast.expr, Value]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, node = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, node = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and _NAME.match(target.id) and bound[target.id] == 1:
            value = evaluate(node)
            if value is not None:
                assignments[target.id] = (statement, node, value)
    return assignments


def _bound_names(tree: ast.Module) -> list[str]:
    """Names bound at module level, one entry for each time (a function's own variables are not the module's)."""
    names: list[str] = []
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.append(node.id)
        pending.extend(ast.iter_child_nodes(node))
    return names


_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], Callable[..., object]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def evaluate(node: ast.expr) -> Value | None:
    """The value of a literal or of arithmetic on numbers; None for every other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bool):
        return node.value
    try:
        if isinstance(node, ast.Tuple):
            numbers = [number for element in node.elts if (number := _number(element)) is not None]
            return tuple(numbers) if numbers and len(numbers) == len(node.elts) else None
        return _number(node)
    except (ArithmeticError, RecursionError):
        return None


def _number(node: ast.expr) -> Number | None:
    value: object = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.UnaryOp | ast.BinOp) and type(node.op) in _OPERATORS:
        parts = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
        numbers = [number for part in parts if (number := _number(part)) is not None]
        if len(numbers) < len(parts) or (isinstance(node.op, ast.Pow) and (abs(numbers[0]) > 1_000_000 or numbers[1] > 1000)):
            return None  # a power beyond that could take minutes to compute
        value = _OPERATORS[type(node.op)](*numbers)
    return value if is_number(value) and math.isfinite(value) else None


def _remark(lines: list[bytes], statement: ast.stmt, value: Value) -> tuple[str, Annotation | None]:
    """The comment after a statement, split into its text and its annotation."""
    line, column = _end(statement)
    rest = lines[line - 1][column:].decode().strip()
    if not rest.startswith("#"):
        return "", None
    comment = rest.lstrip("#").strip()
    if not comment.endswith("]") or "[" not in comment:
        return comment, None
    text, _, bracket = comment[:-1].rpartition("[")
    return text.strip(), _annotation(bracket.strip(), value, statement.lineno)


def _annotation(text: str, value: Value, line: int) -> Annotation:
    def refuse(why: str) -> UsageError:
        return UsageError(
            f"train.py line {line}: [{text:.80}] at the end of the line {why}; write [low..high], [low..high log], "
            "[a, b, c] or [fixed], or put something after the bracket"
        )

    if text == "fixed":
        return Fixed()
    if ".." in text:
        bounds, _, flag = text.partition(" log")
        low, high = (_parsed(part) for part in bounds.split("..", 1))
        if flag or not is_number(low) or not is_number(high):
            raise refuse("is not a range of numbers")
        if not is_number(value):
            raise refuse(f"is a range, and {value!r:.80} is not a number")
        if not low < high:
            raise refuse("is empty")
        log = text.endswith(" log")
        if log and low <= 0:
            raise refuse("is a log range that does not start above 0")
        if isinstance(value, int) and not (isinstance(low, int) and isinstance(high, int)):
            raise refuse(f"has a fraction, and {value} is an int")
        return Range(low, high, log)
    values = _parsed(f"[{text}]")
    if not isinstance(values, tuple) or len(values) < 2 or len(set(map(repr, values))) < len(values):
        raise refuse("is not an annotation")
    if not all(_fits(value, choice) for choice in values):
        raise refuse(f"has a choice of another type than {value!r:.80}")
    return Choices(values)


@functools.lru_cache(1024)  # all texts of a night have the same annotations
def _parsed(text: str) -> Value | tuple[Value, ...] | None:
    try:
        node = syntax_tree(text.strip(), "eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(node, ast.List):
        values = [value for element in node.elts if (value := evaluate(element)) is not None]
        return tuple(values) if len(values) == len(node.elts) else None
    return evaluate(node)


def is_number(value: object) -> TypeGuard[Number]:
    """True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------------------------------- writing


def _fits(old: Value, new: object) -> bool:
    """Whether new may stand where old stands: the same type, or an int for a float."""
    if isinstance(old, tuple):
        return isinstance(new, tuple | list) and len(new) > 0 and all(map(is_number, new))
    if isinstance(old, bool | str):
        return type(new) is type(old)
    if isinstance(old, int):
        return type(new) is int
    return is_number(new)


def _literal(name: str, text: str, node: ast.expr, old: Value, new: object) -> str:
    """new as source text, in the form of the literal `text` where it can be."""
    numbers = new if isinstance(new, tuple | list) else [new] if is_number(new) else []
    if not _fits(old, new) or not all(-_LARGEST <= number <= _LARGEST for number in numbers):  # NaN is not, either
        kind = "tuple of numbers" if isinstance(old, tuple) else type(old).__name__
        raise UsageError(f"{name} is a {kind} in train.py ({text:.80}), and {_brief(new)} is not one; give it a {kind}")
    if isinstance(old, tuple) and isinstance(new, tuple | list):
        pairs = [(value, old[min(index, len(old) - 1)]) for index, value in enumerate(new)]
        parts = [_number_text(float(value) if isinstance(was, float) else value, text) for value, was in pairs]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(new, str):
        quoted = repr(new)
        return f'"{quoted[1:-1]}"' if text[-1:] == '"' and '"' not in new and quoted[0] == "'" else quoted
    if isinstance(old, bool):
        return str(new)
    if isinstance(old, int) and isinstance(new, int):
        return _power_text(text, node, new) or _number_text(new, text)
    assert is_number(new), "nothing else fits a float"
    return _number_text(float(new), text)


_LARGEST = sys.float_info.max  # of a number that is written; a longer whole number has more digits than Python likes to print


def _brief(value: object) -> str:
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return "so large a number"
    return f"{value!r:.80}"


def _power_text(text: str, node: ast.expr, value: int) -> str | None:
    """`b**n` when the literal was a power of the whole number b, and value is one too."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)):
        return None
    base = _number(node.left)
    if not isinstance(base, int) or base < 2 or value < base:
        return None
    exponent = round(math.log(value, base))
    return f"{base}{' ** ' if ' ** ' in text else '**'}{exponent}" if base**exponent == value else None


def _number_text(value: Number, text: str) -> str:
    if isinstance(value, int):
        return f"{value:_}" if "_" in text else str(value)
    if "e" in text.lower() and 0 < abs(value) < 0.1:  # 3e-4 stays in that form, 0.0003 in the other
        sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
        assert isinstance(exponent, int), "it is a finite number"
        head, tail = str(digits[0]), "".join(map(str, digits[1:]))
        return f"{'-' * sign}{head}{'.' * bool(tail)}{tail}e{exponent + len(digits) - 1}"
    return repr(value).replace("e-0", "e-")
