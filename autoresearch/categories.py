"""What kind of edit an experiment was, for tallies of what was tried and what was kept.

A change of numbers has the name of its section of train.py's constants ("# Learning rates: ..."), a change of code that of the
part of the model or of the training that it touches. Where both changed, the code counts: the numbers go with it. Where
several parts changed, the one with the most changed lines.

Read line by line and without a syntax tree: that takes milliseconds a text, and one that does not parse has a category too.
Comments, blank lines and indentation are no change.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

CONSTANTS = ("shape", "batch", "learning rates", "schedules", "initial values")
CODE = ("attention", "mlp", "norm and residual", "embedding and head", "optimizer", "loss", "loop", "other")
CATEGORIES = CONSTANTS + CODE


def category(before: str, after: str) -> str:
    """The one of CATEGORIES that the edit from before to after belongs to; "other" when nothing differs."""
    places, old = _places(before)
    new = after.splitlines()
    start = next((i for i, (was, now) in enumerate(zip(old, new, strict=False)) if was != now), min(len(old), len(new)))
    rest = min(len(old), len(new)) - start
    end = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)  # lines that are the same at the end
    was = list(_code(zip(places[start : len(old) - end], old[start : len(old) - end], strict=True)))
    there, line_before = (places[start - 1], old[start - 1]) if start else (_Place(), "")
    now = list(_code(_placed(new[start : len(new) - end], there, line_before)))
    if was == now:
        return "other"
    left, right = Counter(was), Counter(now)
    changed = [*(right - left).elements(), *(left - right).elements()] or now  # the last: lines changed their order
    code = Counter(_part(place, line) for place, line in changed if not place.is_number)
    votes = code or Counter(place.section for place, _ in changed if place.section)
    return max(CATEGORIES, key=lambda name: votes[name]) if votes else "other"


# ---------------------------------------------------------------------------------------------------------- places


class _Place(NamedTuple):
    """Where in train.py a line stands."""

    chapter: str = ""  # "model", "optimizer", "training": the heading below a ruled line
    section: str | None = None  # of CONSTANTS
    owner: str = ""  # "Attention", for its methods too, or "lr_multiplier", "MATRIX_LR"
    method: str = ""  # "forward"
    is_number: bool = False  # a constant of one of those sections


_RULE = re.compile(r"# ?-{20,}")
_CONSTANT = re.compile(r"([A-Z][A-Z0-9_]*)\s*(?::[^=]+)?=(?!=)")
_DEFINITION = re.compile(r"(?:async )?(?:def|class)\s+(\w+)")
_METHOD = re.compile(r"(?: {4}|\t)(?:async )?def\s+(\w+)")
_COMMENT = re.compile(r"(?:^|\s)#")


@lru_cache(maxsize=64)  # the best texts of a night
def _places(text: str) -> tuple[list[_Place], list[str]]:
    """(where each line stands, the lines)."""
    lines = text.splitlines()
    return [place for place, _ in _placed(lines, _Place(), "")], lines


def _placed(lines: Iterable[str], place: _Place, before: str) -> Iterator[tuple[_Place, str]]:
    """Each line with its place; the first one follows the line `before`, which stands in `place`."""
    for line in lines:
        if line[:1] == "#":
            title = re.split(r"[:,.]", line.lstrip("# "), maxsplit=1)[0].strip().lower()
            if _RULE.match(before):
                place = _Place(chapter=title)
            elif not before.strip():  # a heading, or a remark that ends the section before it
                place = _Place(place.chapter, title if title in CONSTANTS else None)
        elif line and line[0] not in " \t)]}":  # a statement at top level; a closing bracket ends the one before
            if definition := _DEFINITION.match(line):
                place = _Place(place.chapter, None, definition[1])
            elif constant := _CONSTANT.match(line):
                place = _Place(place.chapter, place.section, constant[1], is_number=place.section is not None)
            else:
                place = _Place(place.chapter, place.section)
        elif "def " in line and (method := _METHOD.match(line)):
            place = place._replace(method=method[1])
        before = line
        yield place, line


def _code(placed: Iterable[tuple[_Place, str]]) -> Iterator[tuple[_Place, str]]:
    """The lines that do something, without their comments."""
    for place, line in placed:
        code = (_without_comment(line) if "#" in line else line).strip()
        if code:
            yield place, code


def _without_comment(line: str) -> str:
    """A "#" inside a string is none: it has a quote behind it."""
    comment = _COMMENT.search(line, max(line.rfind('"'), line.rfind("'")) + 1)
    return line[: comment.start()] if comment else line


# ---------------------------------------------------------------------------------------------------------- parts

# The first pattern that a name has decides. Names: of backends/*/train.py, and what people call such parts elsewhere.
_BY_NAME = tuple(
    (part, re.compile(pattern, re.IGNORECASE))
    for part, pattern in (
        ("schedules", r"^lr_|schedule|muon_momentum|warmdown"),
        ("loss", r"loss|cross_entropy"),
        ("optimizer", r"optim|muon|adam|orthogonal|polar|^update$|reduced_|^stacks$|is_matrix|matrices"),
        ("loop", r"^train|^main$|rereadable"),
        ("attention", r"attention|attn|rotat|rotary|rope|window|heads"),
        ("mlp", r"mlp|ffn|feed_?forward|moe|expert"),
        ("norm and residual", r"norm|resid|skip|block"),
        ("embedding and head", r"embed|lm_head|softcap"),
    )
)
# For a line of what holds the model together, where the name of the function says nothing ("GPT.__init__", "GPT.hidden").
_BY_WORDS = tuple(
    (part, re.compile(pattern, re.IGNORECASE))
    for part, pattern in (
        ("loss", r"loss|cross_entropy"),
        ("norm and residual", r"resid|skip|\bx0|norm|lambda"),
        ("embedding and head", r"embed|lm_head|softcap|logit"),
        ("attention", r"attention|attn|\bcos\b|\bsin\b|rotat|rope|window|head|\bkey|query"),
        ("mlp", r"mlp|ffn|relu|gelu|silu|expert"),
    )
)
_BY_CHAPTER = {"optimizer": "optimizer", "training": "loop"}


def _part(place: _Place, line: str) -> str:
    return _by_name(place.owner) or _by_name(place.method) or _by_chapter_or_words(place.chapter, line)


@lru_cache(maxsize=1024)
def _by_name(name: str) -> str | None:
    return next((part for part, pattern in _BY_NAME if pattern.search(name)), None) if name else None


def _by_chapter_or_words(chapter: str, line: str) -> str:
    if chapter in _BY_CHAPTER:
        return _BY_CHAPTER[chapter]
    return next((part for part, pattern in _BY_WORDS if pattern.search(line)), "other")
