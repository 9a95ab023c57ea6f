"""Files of text to documents: .txt .md .py (one document a file), .jsonl .csv .tsv and .parquet (one a row). All but parquet may be
compressed: .txt.gz, .jsonl.zst.

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

PARQUET_BATCH_ROWS = 1024
PIECE_BYTES, GAP_BYTES = 16_384, 256  # chosen: of a text that is one document; a megabyte gives 60 of them
COMPRESSED = (".gz", ".zst")
TEXT_SUFFIXES = (".txt", ".md", ".py")
STRINGS = ("is_string", "is_large_string", "is_string_view")  # of pyarrow.types
TEXT_TYPES = (*STRINGS, "is_binary", "is_large_binary", "is_binary_view")  # some writers' text is bytes
_LOOKED_AT = 1 << 16  # bytes of a document that its encoding is told by
_BLOCK_BYTES = 1 << 20


def read(path: Path) -> Iterator[bytes]:
    """The documents of one file, in the file's order."""
    with _readable(path):
        yield from READERS[kind(path)](path)


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


def _between_characters(text: bytes, place: int) -> int:
    """The first place from there on at which a character of UTF-8 begins."""
    while place < len(text) and text[place] & 0xC0 == 0x80:
        place += 1
    return place


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
    letters = sum(one.isalpha() for one in text if one >= "\x80")
    odd = sum(not (one.isalnum() or one.isspace()) for one in text if one >= "\x80")
    has_controls = any(one < " " and one not in "\t\n\r\f" for one in text)
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
    return sum(one >= "\x80" for one in text) - broken > broken


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} can't be read ({reason}); make it readable or leave it out") from None


def _read_text(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        yield file.read()


def has_text(path: Path) -> bool:
    """Whether a table that nobody has named holds text: other files of a folder of text are often tables of something else."""
    if kind(path) not in (".csv", ".tsv"):
        return True
    with _readable(path), io.TextIOWrapper(_opened(path), "utf-8-sig", errors="replace", newline="") as file:
        names = csv.DictReader(file, delimiter="\t" if kind(path) == ".tsv" else ",").fieldnames
    return "text" in (names or ())


def _read_csv(path: Path) -> Iterator[bytes]:
    csv.field_size_limit(1 << 30)  # of a document
    with io.TextIOWrapper(_opened(path), "utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if kind(path) == ".tsv" else ",")
        name = _text_field(list(rows.fieldnames or ()))
        if name is None:
            columns = ", ".join(rows.fieldnames or ())
            raise UsageError(
                f'{path}: no column "text" (columns: {columns}); name the one that holds the text so in the first line'
            )
        try:
            for row in rows:
                if row[name]:
                    yield row[name].encode()
        except csv.Error as error:
            raise UsageError(f"{path}:{rows.line_num}: {error}; mend it or leave the file out") from None


def _read_jsonl(path: Path) -> Iterator[bytes]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(to_utf8(line)[0])
            except (ValueError, RecursionError) as error:
                raise UsageError(f'{path}:{number}: not JSON ({error}); each line must be like {{"text": "..."}}') from None
            if isinstance(row, dict) and "text" in row and row["text"] is None:
                continue
            fields = [name for name, value in row.items() if isinstance(value, str)] if isinstance(row, dict) else []
            name = None if isinstance(row, dict) and "text" in row and "text" not in fields else _text_field(fields)
            if name is None:
                raise UsageError(f'{path}:{number}: no field "text" that holds a string; each line must be like {{"text": "..."}}')
            # JSON can spell half a surrogate pair, which is not text: surrogatepass hands it on to to_utf8.
            yield row[name].encode("utf-8", "surrogatepass")


def _read_parquet(path: Path) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            kinds = (STRINGS, TEXT_TYPES)  # the only column of strings goes before one that may hold text too
            named = ([field.name for field in file.schema_arrow if _is_of(field.type, kind)] for kind in kinds)
            name = next((found for names in named if (found := _text_field(names))), None)
            if name is None:
                columns = ", ".join(file.schema_arrow.names)
                raise UsageError(f'{path}: no string column "text" (columns: {columns}); rename the one that holds the text')
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=[name]):
                column = batch.column(0)
                plain = column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
                for raw in plain.cast(pyarrow.large_binary()).to_pylist():
                    if raw is not None:
                        yield raw
    except pyarrow.ArrowException as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable parquet file ({first_line}); replace it or leave it out") from None


def _is_of(column_type: "pyarrow.DataType", wanted: tuple[str, ...]) -> bool:
    import pyarrow.types

    is_dictionary = wanted is TEXT_TYPES and pyarrow.types.is_dictionary(column_type)
    kind = column_type.value_type if is_dictionary else column_type
    return any(getattr(pyarrow.types, name)(kind) for name in wanted if hasattr(pyarrow.types, name))


def _text_field(names: list[str]) -> str | None:
    """ "text" when it is there, else the only one there is, else None."""
    if "text" in names:
        return "text"
    return names[0] if len(names) == 1 else None


READERS = {
    ".txt": _read_text,
    ".md": _read_text,
    ".py": _read_text,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
