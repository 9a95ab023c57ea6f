"""A prepared folder, as those who train and score see it: what it holds, and whether it is still what was written.

meta.json            counts, checksums, versions; written last
ranks.tiktoken       the tokenizer: tiktoken's text format, rank = token id
token_bytes.npy      int32 [vocab_size], bytes of each token; BOS 0
train/tokens.bin     uint16 or uint32, little-endian; every document is BOS and its tokens, in a fixed pseudo-random order
train/starts.npy     int64 [documents], where in tokens.bin each document's BOS lies
val/tokens.bin, val/starts.npy     likewise of pieces of documents (split.pieces), in the order of the score
val/bytes.npy        int64 [pieces], raw bytes of each piece
test/                likewise: the text that no decision sees
slice/               likewise: the audit slice, which a keep is checked against; like test/ it is missing in a text too small
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.data.progress import OnProgress, silent
from autoresearch.data.tokenizer import token_dtype
from autoresearch.errors import StoredStateError

FORMAT = 5  # part of the key: raise it when the same corpus would give other files
READABLE = (4, FORMAT)  # 4: other encodings than UTF-8 were not converted; a study that began with such a text goes on with it
META = "meta.json"
_CURE = "run `autoresearch prepare --force`"


@dataclass(frozen=True)
class Prepared:
    folder: Path
    corpus: str  # a name, or an absolute path
    key: str  # the folder's name: corpus, its checksum, vocabulary, format
    vocab_size: int  # BOS counted
    bos_id: int
    checksums: dict[str, str]  # of corpus, tokenizer, train, val, test, slice
    train_documents: int
    train_tokens: int  # BOS counted
    train_bytes: int  # of raw text
    val_documents: int
    val_tokens: int
    val_bytes: int
    test_documents: int
    test_tokens: int
    test_bytes: int
    slice_documents: int
    slice_tokens: int
    slice_bytes: int
    duplicates_of_val: int  # training documents dropped because a held-out text has the same bytes
    duplicates_in_val: int
    repaired_documents: int  # those with bytes that are not UTF-8

    @property
    def train_folder(self) -> Path:
        return self.folder / "train"

    @property
    def val_folder(self) -> Path:
        return self.folder / "val"

    @property
    def test_folder(self) -> Path:
        return self.folder / "test"

    @property
    def slice_folder(self) -> Path:
        return self.folder / "slice"

    @property
    def dtype(self) -> str:
        """Of the token files, little-endian."""
        return token_dtype(self.vocab_size)

    @property
    def mean_token_bytes(self) -> float:
        """Raw bytes for each token of the training stream, BOS counted as a token."""
        return self.train_bytes / self.train_tokens

    @staticmethod
    def load(folder: Path) -> "Prepared":
        """The folder's description. Looks at the files' sizes only. StoredStateError when something is missing or cut."""
        meta = _read_meta(folder)
        for name, file in meta["files"].items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != file["bytes"]:
                state = "is missing" if size is None else f"has {size:,} bytes"
                raise StoredStateError(f"{path} {state} and {file['bytes']:,} bytes were written; {_CURE}")
        return Prepared(
            folder=folder,
            **{name: meta[name] for name in ("corpus", "key", "vocab_size", "bos_id", "checksums")},
            **meta["counts"],
        )

    def verify(self, on_progress: OnProgress = silent) -> None:
        """Read every file and compare its checksum. StoredStateError names the first that differs."""
        files, done_bytes = _read_meta(self.folder)["files"], 0
        total_bytes = sum(file["bytes"] for file in files.values())
        for name, file in files.items():
            on_progress("checking the prepared text", done_bytes, total_bytes)
            done_bytes += file["bytes"]
            if describe(self.folder / name)["blake2b"] != file["blake2b"]:
                raise StoredStateError(f"{self.folder / name} is not what was written (checksum); {_CURE}")


def checksum_of(content: object) -> str:
    """A checksum of something that JSON can hold."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def describe(path: Path) -> dict[str, int | str]:
    """{"bytes": size, "blake2b": checksum} of a file."""
    running, size = hashlib.blake2b(digest_size=16), 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            running.update(block)
            size += len(block)
    return {"bytes": size, "blake2b": running.hexdigest()}


def write_meta(folder: Path, content: dict[str, Any]) -> None:
    (folder / META).write_text(json.dumps({"checksum": checksum_of(content), "content": content}, indent=1), encoding="utf-8")


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        content: dict[str, Any] = meta["content"]
        if meta["checksum"] != checksum_of(content):
            raise StoredStateError(f"{folder / META} is not what was written (checksum); {_CURE}")
        if content["format"] not in READABLE:
            raise StoredStateError(f"{folder} is of format {content['format']} and {FORMAT} is needed; {_CURE}")
        return content
    except FileNotFoundError:
        raise StoredStateError(f"{folder} is not a prepared folder ({META} is missing); {_CURE}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoredStateError(f"{folder / META} can't be read ({error}); {_CURE}") from None
