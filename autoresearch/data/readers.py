"""Files of text to documents: .txt .md .py (one document a file), .jsonl .csv .tsv and .parquet (one a row). All but parquet may be
compressed: .txt.gz, .jsonl.zst. A row's text is in its field "text", or the only one that holds a string, or the one that is named
(several, with commas between, are joined); a conversation (`messages` of role and content, `conversations` of from and value) is
written out turn by turn.

A document leaves here as raw bytes; `to_utf8` makes them valid UTF-8, also of UTF-16 and of the eight-bit Western encoding. A row
whose text is null has none, and is no document. A file that can't be read as what its suffix says is
refused with its name and line. Parquet is read in batches and text files one by one, so memory stays small.
"""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

PARQUET_BATCH_ROWS = 1024
PIECE_BYTES, GAP_BYTES = 16_384, 256  # chosen: of a text that is one document; a megabyte gives 60 of them
COMPRESSED = (".gz", ".zst")
TEXT_SUFFIXES = (".txt", ".md", ".py")
# Of a conversation: the fields that hold one, who says what in a turn, and what stands between two turns or fields.
TALKS = ("messages", "conversations")
TURN = (("role", "from"), ("content", "value"))
BETWEEN = "\n\n"
STRINGS = ("is_string", "is_large_string", "is_string_view")  # of pyarrow.types
TEXT_TYPES = (*STRINGS, "is_binary", "is_large_binary", "is_binary_view")  # some writers' text is bytes
_LOOKED_AT = 1 << 16  # bytes of a document that its encoding is told by
_BLOCK_BYTES = 1 << 20


def read(path: Path, text_field: str | None = None) -> Iterator[bytes]:
    """The documents of one file, in the file's order. text_field: of a row, which holds its text; a text file has none."""
    with _readable(path):
        yield from READERS[kind(path)](path, text_field)


def kind(path: Path) -> str:
    """What a file's name says that it is: its suffix, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    is_compressed = len(suffixes) == 2 and suffixes[1] in COMPRESSED and suffixes[0] in READERS and suffixes[0] != ".parquet"
    return suffixes[0] if is_compressed else path.suffix.lower()


def _opened(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".zst":
            import pyarrow

            return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def pieces(text: bytes) -> Iterator[bytes]:
    """A long text as documents of about PIECE_BYTES, GAP_BYTES apart: what is held out is not continued in what is trained on.

    Cut after a line where one ends in a piece's second half, else between two characters.
    """
    start = 0
    while start < len(text):
        end = start + PIECE_BYTES
        if end < len(text):
            line = text.rfind(b"\n", start + PIECE_BYTES // 2, end)
            end = line + 1 if line >= 0 else _between_characters(text, end)
        yield text[start:end]
        start = _between_characters(text, end + GAP_BYTES)


def _between_characters(text: bytes, position: int) -> int:
    """The first place from there on at which a character of UTF-8 begins."""
    while position < len(text) and text[position] & 0xC0 == 0x80:
        position += 1
    return position


def blocks(path: Path) -> Iterator[bytes]:
    """A file's own bytes, for a checksum."""
    with _readable(path), open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def to_utf8(raw: bytes) -> tuple[bytes, bool]:
    """(raw, False) when it is valid UTF-8; else (the text in UTF-8, True).

    UTF-16 and UTF-32 are known by their mark, UTF-16 also by its zeros; what is left and reads as Windows-1252 (Latin-1 and some
    more) is that; of anything else U+FFFD stands in place of what is not valid.
    """
    try:
        if b"\0" not in raw[:_LOOKED_AT] and not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raw.decode()
            return raw, False
    except UnicodeDecodeError:
        pass
    if name := _encoding(raw):
        return raw.decode(name, errors="replace").encode("utf-8", "replace"), True
    text = raw.decode(errors="replace").encode()
    return text, text != raw


def _encoding(raw: bytes) -> str | None:
    """Of bytes that are no valid UTF-8, or hold zeros."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    seen = raw[: _LOOKED_AT // 2 * 2]
    zeros = seen[0::2].count(0), seen[1::2].count(0)  # of Western text in UTF-16 every second byte
    if len(seen) >= 8 and max(zeros) > 0.3 * len(seen) / 2 and min(zeros) < 0.05 * len(seen) / 2:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    if 0 in seen or _is_mostly_utf8(raw):
        return None
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = sum(character.isalpha() for character in text if character >= "\x80")
    odd = sum(not (character.isalnum() or character.isspace()) for character in text if character >= "\x80")
    has_controls = any(character < " " and character not in "\t\n\r\f" for character in text)
    return "cp1252" if letters >= odd and not has_controls else None


def _is_mostly_utf8(raw: bytes) -> bool:
    """A text in UTF-8 of which a few bytes are broken (cut off, half a surrogate pair): more characters of it read than not."""
    try:
        raw.decode("utf-8", "surrogatepass")
        return True
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return True
    text = raw.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return sum(character >= "\x80" for character in text) - broken > broken


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} can't be read ({reason}); make it readable or leave it out") from None


def _read_text(path: Path, text_field: str | None) -> Iterator[bytes]:
    with _opened(path) as file:
        yield file.read()


def has_text(path: Path, text_field: str | None = None) -> bool:
    """Whether a table that nobody has named holds text: other files of a folder of text are often tables of something else."""
    if kind(path) not in (".csv", ".tsv"):
        return True
    with _readable(path), io.TextIOWrapper(_opened(path), "utf-8-sig", errors="replace", newline="") as file:
        names = csv.DictReader(file, delimiter="\t" if kind(path) == ".tsv" else ",").fieldnames
    return set(_fields(text_field)) <= set(names or ())


def _read_csv(path: Path, text_field: str | None) -> Iterator[bytes]:
    csv.field_size_limit(1 << 30)  # of a document
    with io.TextIOWrapper(_opened(path), "utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if kind(path) == ".tsv" else ",")
        names = _text_fields(list(rows.fieldnames or ()), text_field)
        if not names:
            raise UsageError(f"{path}: {_missing('column', rows.fieldnames or (), text_field)}")
        try:
            for row in rows:
                if text := _joined(row[name] for name in names):
                    yield text.encode()
        except csv.Error as error:
            raise UsageError(f"{path}:{rows.line_num}: {error}; mend it or leave the file out") from None


def _read_jsonl(path: Path, text_field: str | None) -> Iterator[bytes]:
    wanted, is_there, first = _fields(text_field), False, None
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(to_utf8(line)[0])
            except (ValueError, RecursionError) as error:
                raise UsageError(f'{path}:{number}: not JSON ({error}); each line must be like {{"text": "..."}}') from None
            if not isinstance(row, dict):
                raise UsageError(f'{path}:{number}: no object; each line must be like {{"text": "..."}}')
            first = first or row
            if all(row.get(name) is None and (text_field or name in row) for name in wanted):
                continue  # null, or, of a field that was named, absent
            is_there = True
            texts = {name: text for name, value in row.items() if (text := _as_text(value)) is not None}
            named = [name for name in wanted if name in row]
            names = [name for name in named if name in texts] if named else _text_fields(list(texts), text_field)
            if not names:
                raise UsageError(f"{path}:{number}: {_missing('field', row, text_field)}")
            # JSON can spell half a surrogate pair, which is not text: surrogatepass hands it on to to_utf8.
            yield _joined(texts.get(name) for name in names).encode("utf-8", "surrogatepass")
    if text_field and first and not is_there:
        raise UsageError(f"{path}: {_missing('field', first, text_field)}")


def _read_parquet(path: Path, text_field: str | None) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            talks = [field.name for field in schema if field.name in TALKS and pyarrow.types.is_list(field.type)]
            kinds = (STRINGS, TEXT_TYPES)  # the only column of strings goes before one that may hold text too
            named = ([*(field.name for field in schema if _is_of(field.type, kind)), *talks] for kind in kinds)
            names = next((fields for names in named if (fields := _text_fields(names, text_field))), [])
            if not names:
                raise UsageError(f"{path}: {_missing('column', schema.names, text_field)}")
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=names):
                columns = [_plain(batch.column(name)) for name in names]
                for row in zip(*columns, strict=True):
                    if text := _joined_bytes(row):
                        yield text
    except pyarrow.ArrowException as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable parquet file ({first_line}); replace it or leave it out") from None


def _is_of(column_type: "pyarrow.DataType", wanted: tuple[str, ...]) -> bool:
    import pyarrow.types

    is_dictionary = wanted is TEXT_TYPES and pyarrow.types.is_dictionary(column_type)
    kind = column_type.value_type if is_dictionary else column_type
    return any(getattr(pyarrow.types, name)(kind) for name in wanted if hasattr(pyarrow.types, name))


def _plain(column: "pyarrow.Array") -> list[bytes | None]:
    import pyarrow

    if pyarrow.types.is_list(column.type):
        talks = (_as_text(value) for value in column.to_pylist())
        return [None if talk is None else talk.encode("utf-8", "surrogatepass") for talk in talks]
    plain = column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
    values: list[bytes | None] = plain.cast(pyarrow.large_binary()).to_pylist()
    return values


def _as_text(value: object) -> str | None:
    """A string, or a conversation written out; None of anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    turns = []
    for turn in value:
        if not isinstance(turn, dict):
            return None
        role, content = (next((turn[key] for key in keys if key in turn), None) for keys in TURN)
        if isinstance(content, list):  # parts; pictures and the like are left out
            content = BETWEEN.join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
        if not isinstance(role, str) or not isinstance(content, str | None):
            return None
        if content:  # a call of a tool has none
            turns.append(f"{role}: {content}")
    return BETWEEN.join(turns)


def _joined(texts: Iterable[str | None]) -> str:
    return BETWEEN.join(text for text in texts if text)


def _joined_bytes(texts: Iterable[bytes | None]) -> bytes:
    return BETWEEN.encode().join(text for text in texts if text)


def _fields(text_field: str | None) -> list[str]:
    return [name.strip() for name in text_field.split(",")] if text_field else ["text"]


def _text_fields(names: list[str], text_field: str | None) -> list[str]:
    """Of what may hold text: those that are asked for; else "text", a conversation, or the only one there is; else none."""
    if text_field:
        wanted = _fields(text_field)
        return wanted if set(wanted) <= set(names) else []
    for name in ("text", *TALKS):
        if name in names:
            return [name]
    return names if len(names) == 1 else []


def _missing(what: str, names: Iterable[str], text_field: str | None) -> str:
    names = [str(name) for name in islice(names, 1000)]
    known = ", ".join(names[:20])
    absent = [name for name in _fields(text_field) if name not in names] or _fields(text_field)
    wanted = ", ".join(f'"{name}"' for name in absent[:5])
    return f"no {what} {wanted} that holds text ({what}s: {known}); name the one that does: --corpus PATH#NAME, or PATH#ONE,OTHER"


READERS = {
    ".txt": _read_text,
    ".md": _read_text,
    ".py": _read_text,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
