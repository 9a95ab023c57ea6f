"""Whether a proposed train.py is worth a training: cheap checks that need no process and no clock."""

import ast
import hashlib

from autoresearch import constants
from autoresearch.agents.base import LARGEST_BYTES
from autoresearch.errors import UsageError
from autoresearch.loop.state import State
from autoresearch.text import one_line


def objection(text: str, state: State) -> str | None:
    """Why text must not be trained, in one line for whoever proposed it, or None."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_BYTES:
        return f"train.py has {size:,} bytes, and {LARGEST_BYTES:,} are allowed; make it shorter"
    try:
        key = program_key(text)
    except ValueError as error:
        return str(error)
    if key in state.rejected_keys:
        return f"this program was proposed before and failed before its training: {state.rejected_keys[key]}"
    tried = state.keys.get(key)
    if tried is None:
        return None
    if state.best is not None and key == state.best.key:
        return "train.py does not differ from the best, save perhaps in comments and layout"
    earlier = state.experiments[tried]
    return f"this program was tried before, as experiment {tried} ({earlier.verdict}): {earlier.description}"


def program_key(text: str) -> str:
    """The same for texts that differ only in comments and layout.

    ValueError in one line when text is not a program, or a constant's annotation can't be read: a search would stumble on it later.
    """
    try:
        text.encode("utf-8")
        tree = ast.dump(constants.syntax_tree(text))
    except SyntaxError as error:
        raise ValueError(f"train.py does not parse: {error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, half a surrogate pair, absurd nesting
        raise ValueError(f"train.py does not parse: {type(error).__name__}: {error}") from error
    try:
        constants.read(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return hashlib.blake2b(tree.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def described(text: str) -> str:
    """A description for results.tsv and a commit's subject: one line, never empty."""
    return one_line(text) or "no description"


def clean(text: str) -> str:
    """Text that git and a file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
