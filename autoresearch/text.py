"""Text that others wrote (agents, train.py, its log, users, a ledger), made harmless at the places where it is shown.

Harmless: nothing in it moves a cursor, colours a terminal, breaks a line where one line is wanted, turns writing round, or is
there and can't be seen (zero-width and other format characters, variation selectors, fillers); no stacks of marks over a letter;
no half of a surrogate pair; not longer than is said. Letters of all languages stay.
"""

import difflib
import re
import unicodedata
from typing import Any

DESCRIPTION_CHARACTERS = 200  # chosen: of a row of results.tsv and a commit's subject
MESSAGE_CHARACTERS = 8000  # chosen: of a text in a commit's message
LONGEST = 400_000  # chosen: of a text with many lines, twice the largest train.py: a diff of all of it
HIDDEN = "\ufffd"  # stands in a diff for what nobody would see
_MARKS = 4  # chosen: over one letter; Vietnamese has two, Hebrew with all its points three
_DIFF_LINES = 1000  # of the changed part, on each side: Python's difflib may need seconds for more (its time grows as the square)
# Printable for Python, and seen by nobody: joiners, fillers and variation selectors (Unicode's Default_Ignorable_Code_Point).
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def one_line(text: str, limit: int = DESCRIPTION_CHARACTERS) -> str:
    """At most `limit` characters of text, harmless, in one line."""
    shown = " ".join(_shown(text[: 20 * limit], " ", "").split())  # that much of it, so that 20 MB cost nothing
    return shown if len(shown) <= limit and len(text) <= 20 * limit else shown[: limit - 1].rstrip() + "…"


def described(text: str) -> str:
    """A description for results.tsv and a commit's subject: one line, never empty."""
    return one_line(text) or "no description"


def for_message(text: str) -> str:
    """Text for a commit's message and for the ledger: harmless, and not too long."""
    return harmless(text, MESSAGE_CHARACTERS)


def harmless(text: str, limit: int = LONGEST, stand_in: str = " ") -> str:
    """The first `limit` characters of text, harmless; lines and tabs stay. stand_in: for each character that is taken out."""
    left_out = f"\n… ({len(text) - limit:,} characters more)" if len(text) > limit else ""
    return _shown(text[:limit].replace("\r\n", "\n").replace("\r", "\n"), stand_in, "\n\t") + left_out


def harmless_table(value: Any) -> Any:
    """A JSON value with every text in it harmless; for programs, which show it to somebody or hand it to an agent."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless_table(name): harmless_table(item) for name, item in value.items()}
    return [harmless_table(item) for item in value] if isinstance(value, list | tuple) else value


def without_colours(log: str) -> str:
    """A log as its author saw it, without the codes that colour a terminal."""
    return _COLOURS.sub("", log)


def unified_diff(old: str, new: str, old_name: str, new_name: str) -> str:
    """What changed, as a patch. Of texts that differ in more than _DIFF_LINES lines, all that changed in one piece.

    That piece is right, and no aligned patch: nobody reads one of that size, and whoever wrote the texts chose what it costs.
    """
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    changed = before[start : len(before) - end], after[start : len(after) - end]
    if max(map(len, changed)) <= _DIFF_LINES:
        first = max(0, start - 3)  # the context that a patch shows
        last = max(0, end - 3)
        parts = before[first : len(before) - last], after[first : len(after) - last]
        rows = list(difflib.unified_diff(*parts, old_name, new_name))
        return "".join(rows[:2] + [_moved(row, first) if row.startswith("@@ ") else row for row in rows[2:]])
    head = [f"--- {old_name}\n", f"+++ {new_name}\n", f"@@ -{start + 1},{len(changed[0])} +{start + 1},{len(changed[1])} @@\n"]
    return "".join([*head, *(f"-{line}" for line in changed[0]), *(f"+{line}" for line in changed[1])])


def _shown(text: str, stand_in: str, kept: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = "".join(letter if letter.isprintable() or letter in kept else stand_in for letter in text)
    return text if text.isascii() else _without_stacks(_UNSEEN.sub("", text))


def _without_stacks(text: str) -> str:
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter).startswith("M") else 0
        if marks <= _MARKS:
            kept.append(letter)
    return "".join(kept)


def _common(first: list[str], other: list[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = zip(first, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(first), len(other)))


def _moved(head: str, lines: int) -> str:
    """A hunk's head whose line numbers begin so many lines later."""
    return re.sub(r"(?<=[-+])\d+", lambda match: str(int(match[0]) + lines), head) if lines else head
