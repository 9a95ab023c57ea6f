"""Files of text to documents: .txt .md .py (one document a file), .jsonl and .parquet (one a row).

A document leaves here as raw bytes; `to_utf8` makes them valid UTF-8. A file that can't be read as what its suffix says is
refused with its name and line. Parquet is read in batches and text files one by one, so memory stays small.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

PARQUET_BATCH_ROWS = 1024
_BLOCK_BYTES = 1 << 20


def read(path: Path) -> Iterator[bytes]:
    """The documents of one file, in the file's order."""
    with _readable(path):
        yield from READERS[path.suffix.lower()](path)


def blocks(path: Path) -> Iterator[bytes]:
    """A file's own bytes, for a checksum."""
    with _readable(path), open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def to_utf8(raw: bytes) -> tuple[bytes, bool]:
    """(raw, False) when it is valid UTF-8; else (raw with U+FFFD in place of what is not, True)."""
    try:
        raw.decode()
        return raw, False
    except UnicodeDecodeError:
        return raw.decode(errors="replace").encode(), True


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror or error}); make it readable or leave it out") from None


def _read_text(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()


def _read_jsonl(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(to_utf8(line)[0])
            except ValueError as error:
                raise UsageError(f'{path}:{number}: not JSON ({error}); each line must be like {{"text": "..."}}') from None
            fields = [name for name, value in row.items() if isinstance(value, str)] if isinstance(row, dict) else []
            name = _text_field(fields)
            if name is None:
                raise UsageError(f'{path}:{number}: no field "text" that holds a string; each line must be like {{"text": "..."}}')
            # JSON can spell half a surrogate pair, which is not text: surrogatepass hands it on to to_utf8.
            yield row[name].encode("utf-8", "surrogatepass")


def _read_parquet(path: Path) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            strings = [field.name for field in file.schema_arrow if _is_string(field.type)]
            name = _text_field(strings)
            if name is None:
                columns = ", ".join(file.schema_arrow.names)
                raise UsageError(f'{path}: no string column "text" (columns: {columns}); rename the one that holds the text')
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=[name]):
                for raw in batch.column(0).cast(pyarrow.large_binary()).to_pylist():
                    if raw is not None:
                        yield raw
    except pyarrow.ArrowException as error:
        first_line = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable parquet file ({first_line}); replace it or leave it out") from None


def _is_string(column_type: "pyarrow.DataType") -> bool:
    import pyarrow.types

    return bool(pyarrow.types.is_string(column_type) or pyarrow.types.is_large_string(column_type))


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
    ".parquet": _read_parquet,
}
