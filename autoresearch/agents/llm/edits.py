"""The tools that an LLM gets, and what they do to a train.py that exists in memory only. Pure: text in, text out.

There is no other tool: no shell, no file but train.py. The edits of one answer are all made or none is: an idea with half
of its edits is another idea, which nobody had. An error says what to do next and shows the nearest lines.
"""

import difflib
import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from autoresearch import bundle, constants
from autoresearch.errors import UsageError
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.text import harmless, one_line

Kind = TypeVar("Kind")

EDITOR = "str_replace_based_edit_tool"
FILE = "train.py"
NOTES_CHARACTERS = 8000  # of notes.md; chosen: about 2,000 tokens, read with every request
IDEAS = 3  # in one answer; chosen: the results of an hour are known before the next request
REASONING_CHARACTERS = 4000  # of what the ledger keeps; chosen: two pages

_PLACES = 20  # chosen: of a text that is there many times, the places that are named
_COMPARED, _SEARCHED = 160, 3000  # characters of a line, lines: the nearest is looked for in, since the time grows as their square

_ONE_LINE = {"type": "string", "description": "one line, the change itself: 'MATRIX_LR 0.04 -> 0.06', 'SwiGLU for relu**2'"}
_WHY = "two or three sentences: why it should {improve} {score} here, and where the idea is from"
_GAIN = "how far you expect it to {improve} {score}{unit}: 0.004. It ranks your ideas"
_COMMANDS = {
    "command": {"type": "string", "enum": ["view", "str_replace", "insert", "create"]},
    "path": {"type": "string", "description": "train.py"},
    "old_str": {"type": "string", "description": "str_replace: text that is in train.py exactly once, with its indentation"},
    "new_str": {"type": "string", "description": "str_replace: what stands there instead"},
    "insert_line": {"type": "integer", "description": "insert: the line after which the text goes; 0 is the beginning"},
    "insert_text": {"type": "string", "description": "insert: the lines"},
    "view_range": {"type": "array", "items": {"type": "integer"}, "description": "view: first and last line"},
    "file_text": {"type": "string", "description": "create: the whole new train.py; only when most of it changes"},
}
_OWN_TOOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "set_constants",
        "description": "Change values of train.py's UPPER_CASE constants, by name; everything else stays.",
        "input_schema": {
            "type": "object",
            "properties": {"values": {"type": "object", "description": '{"MATRIX_LR": 0.06, "DEPTH": 6}'}},
            "required": ["values"],
        },
    },
    {
        "name": "write_notes",
        "description": f"Replace notes.md, your own memory between experiments, at most {NOTES_CHARACTERS} characters. "
        "Write what the history does not show: what you learnt, and what to try next.",
        "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
)
_SUBMIT = {
    "name": "submit",
    "description": "Propose train.py as it is now for one experiment. Call it after the edits, in the same answer if you can. "
    f"Then train.py is the best again, for a further idea in the same answer: at most {IDEAS}.",
}
NAMES: tuple[str, ...] = (EDITOR, *(tool["name"] for tool in _OWN_TOOLS), _SUBMIT["name"])


def tools(with_schema: bool, metric: Metric = VAL_BPB) -> list[dict[str, Any]]:
    """The tools as the Messages API takes them.

    with_schema: the editor as an ordinary tool. Anthropic's models know theirs by its type, without a schema; other
    servers that speak the protocol need one.
    """
    if with_schema:
        schema = {"type": "object", "properties": _COMMANDS, "required": ["command", "path"]}
        editor = {"name": EDITOR, "description": "View and edit train.py. There is no other file.", "input_schema": schema}
    else:
        editor = {"type": "text_editor_20250728", "name": EDITOR}
    unit = f", in {metric.unit}" if metric.unit else ""
    why, gain = (text.format(improve=metric.improve, score=metric.name, unit=unit) for text in (_WHY, _GAIN))
    properties = {
        "description": _ONE_LINE,
        "reasoning": {"type": "string", "description": why},
        "expected_gain": {"type": "number", "description": gain},
    }
    schema = {"type": "object", "properties": properties, "required": ["description", "reasoning"]}
    return [editor, *_OWN_TOOLS, {**_SUBMIT, "input_schema": schema}]


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: object  # a dict, if the model did as it was told


@dataclass(frozen=True)
class Result:
    id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Idea:
    text: str  # of train.py
    description: str
    reasoning: str
    expected_gain: float = 0.0  # how much better the score should be


@dataclass(frozen=True)
class Edited:
    """What the calls of one answer came to."""

    text: str  # train.py after them; unchanged when one of them failed
    results: tuple[Result, ...]  # one for each call
    notes: str | None = None  # the new notes.md
    ideas: tuple[Idea, ...] = ()  # that were submitted

    @property
    def ranked(self) -> list[Idea]:
        """What is expected to gain most comes first."""
        return sorted(self.ideas, key=lambda idea: -idea.expected_gain)

    @property
    def failed(self) -> bool:
        return any(result.is_error for result in self.results)


def apply(text: str, best: str, calls: Sequence[Call]) -> Edited:
    """Make all calls of one answer on the train.py `text`, or none. best: what a proposal has to differ from."""
    done = Edited(text, ())
    for call in calls:
        try:
            done = _apply(done, best, call)
        except (ValueError, UsageError) as error:
            others = f"not done, for call {len(done.results) + 1} of this answer failed: all are made or none; send all again"
            results = (Result(each.id, str(error) if each is call else others, True) for each in calls)
            return Edited(text, tuple(results))
    return done


def whole_file(answer: str) -> str | None:
    """A whole train.py in a fenced block of an answer in prose: the fallback for models that call no tool."""
    whole: str | None = None
    block: list[str] | None = None
    for line in io.StringIO(answer):  # unlike a pattern over the whole, it takes no longer the more fences are open
        if block is None:
            block = [] if re.match(r"```[\w.+-]*[ \t]*\n", line) else None
        elif not re.match(r"```[ \t]*$", line):
            block.append(line)
        else:
            text, block = "".join(block), None
            whole = text if "build_model" in text else whole  # which every train.py has to have
    return whole


def plain(text: str) -> str:
    """Fit for the ledger and for a terminal: harmless, and not too long."""
    return harmless(text[: 2 * REASONING_CHARACTERS], stand_in="").strip()[:REASONING_CHARACTERS]


# ---------------------------------------------------------------------------------------------------------- the tools


def _apply(done: Edited, best: str, call: Call) -> Edited:
    """done, with one call more. ValueError or UsageError: the exact reason why not."""
    if call.name not in NAMES:
        raise ValueError(f"there is no tool {call.name!r}; the tools are: {', '.join(NAMES)}")
    if not isinstance(call.arguments, dict):
        raise ValueError(f"{call.name} takes a JSON object, not {type(call.arguments).__name__}")
    if call.name == EDITOR:
        text, message = _edit(done.text, call.arguments)
        return replace(done, text=text, results=(*done.results, Result(call.id, message)))
    if call.name == "set_constants":
        values = _argument(call.arguments, "values", dict)
        text = constants.write(done.text, {name: _value(value) for name, value in values.items()})
        return replace(done, text=text, results=(*done.results, Result(call.id, f"set: {', '.join(values)}")))
    if call.name == "write_notes":
        notes = _argument(call.arguments, "text", str)
        if len(notes) > NOTES_CHARACTERS:
            raise ValueError(f"the notes have {len(notes)} characters, at most {NOTES_CHARACTERS} are kept; shorten them")
        return replace(done, notes=notes, results=(*done.results, Result(call.id, "notes.md is written")))
    description = one_line(_argument(call.arguments, "description", str))
    reasoning = plain(_argument(call.arguments, "reasoning", str))
    if not description:
        raise ValueError("submit needs a description: one line that says what the change is")
    if done.text == best:
        raise ValueError("train.py does not differ from the best, so there is nothing to try; edit it, then submit")
    if len(done.ideas) == IDEAS or done.text in (idea.text for idea in done.ideas):
        raise ValueError(f"at most {IDEAS} ideas in one answer, each another edit of the best train.py")
    gain = call.arguments.get("expected_gain")
    expected = float(gain) if constants.is_number(gain) and 0 <= gain < math.inf else 0.0
    ideas = (*done.ideas, Idea(done.text, description, reasoning, expected))
    return replace(done, text=best, ideas=ideas, results=(*done.results, Result(call.id, "submitted")))


def _edit(text: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """(text after the editor's command, what to answer). Of several files (bundle.py) one; `create` may name a new one."""
    command, path = _argument(arguments, "command", str), _argument(arguments, "path", str)
    named = path
    path = re.sub(r"^(\./|/)+(repo/|workspace/)?", "", path)  # as models write it where they believe in a folder
    files = bundle.split(text)
    if path not in files and not (command == "create" and bundle.is_bundle(text)):
        only = f"there are {', '.join(files)}" if bundle.is_bundle(text) else f"the only one is {FILE}"
        raise ValueError(f"there is no file {named!r} here; {only}")
    edited, answer = _edit_file(files.get(path, ""), path, command, arguments)
    return (bundle.join(files | {path: edited}) if bundle.is_bundle(text) else edited), answer


def _edit_file(text: str, path: str, command: str, arguments: dict[str, Any]) -> tuple[str, str]:
    if command == "view":
        return text, _shown(text, path, arguments.get("view_range"))
    if command == "create":
        return _argument(arguments, "file_text", str), f"{path} is replaced"
    if command == "insert":
        lines = text.splitlines(keepends=True)
        after = _argument(arguments, "insert_line", int)
        added = _argument(arguments, "insert_text" if "insert_text" in arguments else "new_str", str)
        if not 0 <= after <= len(lines):
            raise ValueError(f"insert_line is {after}, and {path} has {len(lines)} lines; give 0 to {len(lines)}")
        added = added if added.endswith("\n") else added + "\n"
        return "".join([*lines[:after], added, *lines[after:]]), f"inserted after line {after}"
    if command == "str_replace":
        old = _argument(arguments, "old_str", str)
        new = _argument(arguments, "new_str", str) if "new_str" in arguments else ""
        return _replaced(text, path, old, new)
    raise ValueError(f"the editor has no command {command!r}; it has view, str_replace, insert and create")


def _replaced(text: str, path: str, old: str, new: str) -> tuple[str, str]:
    if not old:
        raise ValueError("old_str is empty; give the text to replace, or use insert")
    count = text.count(old)
    if count == 1:
        line = text[: text.index(old)].count("\n") + 1
        return text.replace(old, new), f"replaced at line {line}"
    if count > 1:
        starts = [match.start() for match in itertools.islice(re.finditer(re.escape(old), text), _PLACES)]
        lines = ", ".join(str(text[:start].count("\n") + 1) for start in starts) + ", ..." * (count > _PLACES)
        raise ValueError(f"old_str is in {path} {count} times, at lines {lines}; add lines around it until it is unique")
    near = _nearest(text, old)
    raise ValueError(f"old_str is not in {path}; copy it exactly, with its indentation. The nearest lines are:\n{near}")


def _nearest(text: str, old: str) -> str:
    """The lines of text that are most like old, with their numbers."""
    lines, wanted = text.splitlines(), [line.strip() for line in old.splitlines() if line.strip()]
    if not lines or not wanted:
        return "(none)"
    longest = max(wanted, key=len)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(longest[:_COMPARED])

    def likeness(line: str) -> float:
        matcher.set_seq1(line.strip()[:_COMPARED])
        return matcher.ratio() if matcher.quick_ratio() > 0.4 else 0.0  # the exact figure takes ten times as long

    best = max(range(min(len(lines), _SEARCHED)), key=lambda index: likeness(lines[index]))
    start = max(0, best - wanted.index(longest))
    return _numbered(lines, start, min(len(lines), max(start + len(wanted), best + 1)))


def _shown(text: str, path: str, span: object) -> str:
    lines = text.splitlines()
    if span is None:
        return _numbered(lines, 0, len(lines))
    if not (isinstance(span, list) and len(span) == 2 and all(type(number) is int for number in span)):
        raise ValueError(f"view_range is two whole numbers, [first, last], not {span!r}")
    first, last = span[0], len(lines) if span[1] == -1 else min(span[1], len(lines))
    if not 1 <= first <= last:
        raise ValueError(f"view_range {span} is no range of the {len(lines)} lines of {path}; lines count from 1, -1 is the last")
    return _numbered(lines, first - 1, last)


def _numbered(lines: list[str], start: int, end: int) -> str:
    return "\n".join(f"{number + 1}: {lines[number]}" for number in range(start, end))


def _argument(arguments: dict[str, Any], name: str, kind: type[Kind]) -> Kind:
    value = arguments.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        has = "is missing" if value is None else f"is {value!r:.60}"
        raise ValueError(f"{name} {has}; it has to be {'an' if kind is int else 'a'} {_KINDS[kind]}")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair, which JSON allows and no file can hold, is a ValueError
    return value


_KINDS: dict[type, str] = {str: "string", int: "integer", dict: "JSON object"}


def _value(value: object) -> object:
    """A JSON value as a constant's: a list is a tuple, and a number as text (`"2**16"`) is that number."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and re.fullmatch(r"[-+*/ ().\d_eE]+", value) and any(map(str.isdigit, value)):
        try:
            number = constants.evaluate(constants.syntax_tree(value, "eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return value
        return value if number is None else number
    return value
