"""What is sent back without a training: cheap checks that need no process and no clock.

The text that is looked at here is the text that Python runs: what would make the two differ (an encoding that is named in the
source, a byte order mark, a lone carriage return) is refused, and so is what nobody sees in a diff (control characters, marks that
turn writing round). Every check is bounded: an answer takes about a second at most, whatever the text (docs/design/ledger.md).
"""

import ast
import hashlib
import re

from autoresearch import bundle, constants
from autoresearch.agents.base import LARGEST_BYTES
from autoresearch.errors import UsageError
from autoresearch.study.state import State
from autoresearch.text import one_line

LONGEST_LINE = 2000  # characters, with the lines that a backslash joins to it; chosen: fifteen times the longest shipped one
MOST_PARTS = 40_000  # words, numbers and signs; chosen: six times the largest shipped train.py (5,951)
REASON_CHARACTERS = 500  # of an objection
_COOKIE = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)  # PEP 263
_PART = re.compile(r"\w+|[^\w\s]")
_UTF_8 = re.compile(r"utf[-_]?8", re.IGNORECASE)
# Line ends for str.splitlines and not for Python's parser; and what turns writing round (bidirectional overrides and isolates).
_HIDDEN = "\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_HIDING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_HIDDEN}\U000e0000-\U000e007f]")


def objection(text: str, state: State) -> str | None:
    """Why text must not be trained, in one line for whoever proposed it, or None."""
    try:
        key = program_key(text)
    except ValueError as error:
        return str(error)
    if key in state.rejected_keys:
        why = one_line(state.rejected_keys[key], REASON_CHARACTERS)
        return f"this program was proposed before and failed before its training: {why}"
    tried = state.keys.get(key)
    if tried is None and key in state.lost_keys:
        return f"this program was tried before the ledger was lost: {one_line(state.lost_keys[key])}"
    if tried is None:
        return None
    if state.best is not None and key == state.best.key:
        return "train.py does not differ from the best, save perhaps in comments and layout"
    earlier = state.experiments[tried]
    outcome = earlier.verdict or "under way"
    return f"this program was tried before, as experiment {tried} ({outcome}): {one_line(earlier.description)}"


def program_key(text: str) -> str:
    """The same for texts that differ only in comments and layout.

    ValueError in one line when text is no program, is too large, hides something, or has a constant whose annotation can't be
    read: a search would stumble on it later. Of several files (bundle.py) those in Python have to be programs.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_BYTES:
        what = "what may be edited" if bundle.is_bundle(text) else bundle.SINGLE
        raise ValueError(f"{what} has {size:,} bytes, and {LARGEST_BYTES:,} are allowed; make it shorter")
    files = bundle.split(text)
    keys = [_file_key(path, content) for path, content in files.items()]
    try:
        constants.read(text)
    except UsageError as error:
        raise ValueError(one_line(str(error), REASON_CHARACTERS)) from error
    programs = repr(sorted(zip(files, keys, strict=True))) if bundle.is_bundle(text) else keys[0]
    return hashlib.blake2b(programs.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _file_key(path: str, text: str) -> str:
    is_python = path.endswith(".py")
    if reason := (_size_objection(text) if is_python else None) or _hidden(text, is_python):
        raise ValueError(reason.replace(bundle.SINGLE, path))
    if not is_python:
        return text
    try:
        return ast.dump(constants.syntax_tree(text))
    except SyntaxError as error:
        raise ValueError(f"{path} does not parse: {one_line(str(error.msg))} (line {error.lineno})") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{path} does not parse: it is nested too deeply") from error
    except ValueError as error:  # a number with more digits than Python prints
        raise ValueError(f"{path} does not parse: {one_line(str(error))}") from error


def _size_objection(text: str) -> str | None:
    longest = max(map(len, text.replace("\\\r\n", "").replace("\\\n", "").split("\n")))
    if longest > LONGEST_LINE:
        return f"train.py has a line of {longest:,} characters, and {LONGEST_LINE:,} are allowed; break it"
    parts = len(_PART.findall(text))  # Python's parser takes a second for a few times as many
    if parts > MOST_PARTS:
        return f"train.py has {parts:,} words, numbers and signs, and {MOST_PARTS:,} are allowed; make it shorter"
    return None


def _hidden(text: str, is_python: bool = True) -> str | None:
    """What nobody sees, or what would make Python read another text than this one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"train.py does not parse: character {error.start} is half a surrogate pair, which UTF-8 can't hold"
    for number, row in enumerate(text.split("\n", 2)[: 2 * is_python], 1):
        cookie = _COOKIE.match(row)
        if cookie and not _UTF_8.fullmatch(cookie[1]):
            return f"train.py line {number} names the encoding {cookie[1][:40]}; it is UTF-8, so leave that comment out"
    body = text.replace("\r\n", "\n")
    match = _HIDING.search(body)
    if match is None:
        return None
    line, code = body.count("\n", 0, match.start()) + 1, f"U+{ord(match[0]):04X}"
    return f"train.py line {line} holds the character {code}, which nobody sees; leave it out, or write it as an escape in a string"
