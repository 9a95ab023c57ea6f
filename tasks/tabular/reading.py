"""A file as columns of text, trimmed, with nulls for what stands for nothing: .csv, .tsv, .parquet, each also with .gz.

All of it is held in memory, which MOST_BYTES and MOST_CELLS bound. Parquet's own types become text here and are found again by
columns.py: one and the same table is prepared alike from either kind of file.
"""

import codecs
import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from autoresearch.errors import UsageError

MOST_BYTES = 1 << 30  # of a file, unpacked
MOST_CELLS = 100_000_000
MOST_COLUMNS = 10_000
# What a cell may hold instead of a value, in any case of letters. "?" is the UCI repository's.
NOTHING = pa.array(["", "na", "n/a", "nan", "null", "none", "?", "#n/a", "<na>"])
DELIMITERS = ",;\t|"
KINDS = ".csv, .tsv or .parquet, or one of these with .gz"
_ANOTHER = "name another with `--corpus FILE`"


def read(path: Path) -> tuple[dict[str, pa.Array], list[str]]:
    """(columns by name, each a string array with nulls; warnings). UsageError for a file that is no such table."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name one file with `--corpus FILE`: {KINDS}")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise UsageError(f"{path} is of no kind that is read; name a file that ends in {KINDS}")
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:  # EOFError: cut short
        raise UsageError(f"{path} can't be read ({error}); mend it, or {_ANOTHER}") from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path} holds more than {MOST_BYTES >> 30} GiB; take a part of its rows")
    if not content.strip():
        raise UsageError(f"{path} is empty; {_ANOTHER}")
    try:
        table, warnings = _parquet(content) if suffix == ".parquet" else _csv(path, content, suffix == ".tsv")
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} can't be read ({reason}); mend it, or {_ANOTHER}") from None
    if not len(table):
        raise UsageError(f"{path} has no rows; {_ANOTHER}")
    return {name: _text(table.column(name)) for name in table.column_names}, warnings


def _check(path: Path, names: list[str], rows: int) -> None:
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UsageError(f"{path} has more than one column called {twice!r}; rename all but one")
    if len(names) > MOST_COLUMNS:
        raise UsageError(f"{path} has {len(names):,} columns, more than {MOST_COLUMNS:,}; leave some out of the file")
    if rows * len(names) > MOST_CELLS:
        raise UsageError(f"{path} has {rows:,} rows of {len(names):,} columns, more than {MOST_CELLS:,} cells; take a part of it")


def _csv(path: Path, content: bytes, is_tsv: bool) -> tuple[pa.Table, list[str]]:
    content, warnings = _utf8(path, content)
    first = content[: content.find(b"\n") + 1 or None].decode()
    delimiter = "\t" if is_tsv else max(DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader(io.StringIO(first), delimiter=delimiter))]
    lines = content.count(b"\n")
    _check(path, names, lines)
    return pyarrow.csv.read_csv(
        pa.BufferReader(content),
        pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, block_size=max(1 << 24, 4 * len(first))),
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    ), warnings  # fmt: skip


def _utf8(path: Path, content: bytes) -> tuple[bytes, list[str]]:
    """The text as UTF-8, and a warning where it was something else."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").encode(), []
    if b"\0" in content:
        raise UsageError(f"{path} is not text; name a file of text, or one of another kind by its ending: {KINDS}")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        content.decode()
        return content, []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        warning = (
            f"line {line} of {path.name} is not UTF-8: the file was read as Windows-1252; where letters look odd, save it as UTF-8"
        )
        return content.decode("cp1252", errors="replace").encode(), [warning]


def _parquet(content: bytes) -> tuple[pa.Table, list[str]]:
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
    _check(Path("the file"), file.schema_arrow.names, file.metadata.num_rows)
    table, warnings = file.read(), []
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            table = table.drop_columns(name)
            warnings.append(f"{name} holds {kind}, which is neither number, text nor date: left out")
    return table, warnings


def _text(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunk at all
        array = array.chunk(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    text = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(text), NOTHING.cast(text.type)), None, text)
