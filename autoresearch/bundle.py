"""Several files as one text, and back without loss: what a study edits is one text to all but its edges.

    #%% file: src/sort.py
    def sort(...): ...
    #%% file, no newline at its end: prompts/judge.txt
    You are a judge.

A line of a file that looks like such a line has one `#` more here. A text that does not begin with one is a single train.py.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

SINGLE = "train.py"
MOST_FILES = 200  # chosen: an agent reads them all, each time
LONGEST_PATH = 200  # characters
_HEAD = re.compile(r"#%% file(, no newline at its end)?: (.*)")
_LIKE = re.compile(r"^#+(?=%% file(?:, no newline at its end)?: )", re.MULTILINE)
_ESCAPED = re.compile(r"^##+(?=%% file(?:, no newline at its end)?: )", re.MULTILINE)
# Of Windows: a path that is another one there, or none, is none anywhere.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def is_bundle(text: str) -> bool:
    return _HEAD.match(text) is not None


def join(files: Mapping[str, str]) -> str:
    """The files by path, as one text. ValueError for a path that `split` would not take."""
    parts = []
    for path, content in sorted(files.items()):
        if wrong := objection(path):
            raise ValueError(wrong)
        ends = not content or content.endswith("\n")
        parts.append(f"#%% file{'' if ends else ', no newline at its end'}: {path}\n")
        parts.append(_LIKE.sub(lambda match: match[0] + "#", content) + ("" if ends else "\n"))
    return "".join(parts)


def split(text: str) -> dict[str, str]:
    """The files of a text, by path; of a single one train.py. ValueError, in one line, for what can't be files of a repository."""
    if not is_bundle(text):
        return {SINGLE: text}
    files: dict[str, str] = {}
    for ends, path, body in _parts(text):
        if wrong := objection(path):
            raise ValueError(wrong)
        if path.casefold() in map(str.casefold, files):
            raise ValueError(f"two of the files are called {path}, or almost so; give one another name")
        content = _ESCAPED.sub(lambda match: match[0][1:], body)
        files[path] = content if ends else content.removesuffix("\n")
    if len(files) > MOST_FILES:
        raise ValueError(f"there are {len(files)} files, and {MOST_FILES} are allowed; take fewer")
    if clash := next((path for path in files if any(str(above) in files for above in PurePosixPath(path).parents)), None):
        raise ValueError(f"{clash} lies in what is a file itself; give one another name")
    return files


def _parts(text: str) -> Iterable[tuple[bool, str, str]]:
    """(whether the file ends with its last newline, path, body) of each."""
    head, body = _HEAD.match(text), list[str]()
    assert head is not None, "`split` has looked"
    for line in text[head.end() + 1 :].split("\n"):
        if found := _HEAD.fullmatch(line):
            yield head[1] is None, head[2], "".join(body)
            head, body = found, []
        else:
            body.append(line + "\n")
    if body:
        body[-1] = body[-1][:-1]  # what `split` put behind the text's end
    yield head[1] is None, head[2], "".join(body)


def objection(path: str) -> str | None:
    """Why a path can't be one of a repository's files, on every system; None when it can."""
    parts = path.split("/")
    is_plain = path.isprintable() and len(path) <= LONGEST_PATH and not re.search(r'[\\:*?"<>|]', path)
    is_own = all(part and part[-1] not in ". " and not _DEVICE.match(part) for part in parts) and path[:1] not in " #"
    if is_plain and is_own and not any(part.casefold() in (".git", ".autoresearch") for part in parts):
        return None
    return f"{path[:LONGEST_PATH]!r} can't be a file of a study; take a plain relative path"


def python(text: str) -> str:
    """A bundle with only what its Python files say: all else is comments of the same length in bytes. A single text as it is."""
    if not is_bundle(text):
        return text
    lines, is_python = text.split("\n"), False
    for number, line in enumerate(lines):
        if head := _HEAD.fullmatch(line):
            is_python = head[2].endswith(".py")
        elif not is_python and line:
            lines[number] = "#" * len(line.encode("utf-8", "surrogatepass"))
    return "\n".join(lines)


@dataclass(frozen=True)
class Layout:
    """Which files of a folder are the study's text. Patterns: `*` and `?` within a name, `**/` any folders; none: train.py."""

    patterns: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        return path == SINGLE if not self.patterns else any(_regex(one).fullmatch(path) for one in self.patterns)

    def text(self, files: Mapping[str, bytes]) -> bytes | None:
        """The text of those files that are its; None where there are none. ValueError for what is not UTF-8."""
        own = {path: content for path, content in files.items() if self.takes(path)}
        if not self.patterns:
            return own.get(SINGLE)
        return join({path: content.decode("utf-8") for path, content in own.items()}).encode() if own else None

    def files(self, text: bytes) -> dict[str, bytes]:
        """As they lie in a folder. ValueError as of `split`."""
        if not self.patterns:
            return {SINGLE: text}
        return {path: content.encode() for path, content in split(text.decode("utf-8")).items()}


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    out = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./")):
        out += {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part)
    return re.compile(out)
