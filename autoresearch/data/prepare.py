"""Corpus to prepared folder: scan, split, learn the tokenizer, encode, write; once for each corpus and vocabulary.

Promises: the folder appears under its name in one durable rename, whole, or not at all; one process at a time prepares in
one cache, and another waits for it; memory stays small whatever the corpus, save for a few dozen bytes a document.
"""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from autoresearch import __version__, durable
from autoresearch.data import corpora, made, tokenizer
from autoresearch.data.corpora import Corpus, Document
from autoresearch.data.prepared import FORMAT, Prepared, checksum_of, describe, write_meta
from autoresearch.data.progress import OnProgress, silent
from autoresearch.data.split import Split, digest, pieces, split
from autoresearch.errors import StoredStateError, UsageError

__all__ = ["Prepared", "prepare"]

_BATCH_BYTES = 16_000_000  # of text to encode at a time: enough for every core, little memory
_CHECKED_TOKENS = 1 << 24  # at a time: bincount makes eight bytes of each
HELD_OUT = ("test", "slice")  # beside val, where the text spares them
Encode = Callable[[list[bytes]], list[np.ndarray]]  # documents (UTF-8) -> of each BOS and its tokens


class Texts(Protocol):
    """What is read of a corpus."""

    @property
    def name(self) -> str: ...
    def documents(self) -> Iterator[Document]: ...


def prepare(corpus: str, vocab_size: int, on_progress: OnProgress | None = None, force: bool = False) -> Prepared:
    """The prepared folder of a corpus (a name of corpora.NAMED, or a path) and a vocabulary size (BOS counted).

    What was prepared before is verified and returned; force prepares it again, and so does a damaged folder.
    Raises UsageError for a corpus that can't be used, EnvironmentFailure when it can't be fetched or the disk is full.
    """
    on_progress = on_progress or silent
    tokenizer.check_vocab_size(vocab_size)
    source = corpora.find(corpus)
    with made.alone(on_progress) as root:
        identity = source.identity(on_progress)
        folder = root / f"{corpora.key_prefix(source.name, identity)}v{vocab_size}-f{FORMAT}"
        if not force and (usable := _usable(folder, on_progress)):
            return usable
        source.fetch(on_progress)

        def write(work: Path) -> None:
            counts = _write(source, vocab_size, work, on_progress)
            _write_meta(work, source.name, identity, folder.name, vocab_size, counts)

        made.build(folder, write)
        return Prepared.load(folder)


def _usable(folder: Path, on_progress: OnProgress) -> Prepared | None:
    """What lies there, when it is whole."""
    if not folder.exists():
        return None
    try:
        prepared = Prepared.load(folder)
        prepared.verify(on_progress)
        return prepared
    except StoredStateError:
        return None


def _write(source: Corpus, vocab_size: int, work: Path, on_progress: OnProgress) -> dict[str, int]:
    """All files but meta.json. Returns the counts that Prepared shows."""
    scan = _scan(source, on_progress)
    chosen = split(source.name, scan.digests, scan.sizes, scan.marks)

    sample = _sample(chosen, scan.sizes)
    texts = (text.decode() for _, text in _texts(source, scan, sample, "learning the tokenizer", on_progress))
    ranks = tokenizer.learn(texts, vocab_size, source.name)
    tokenizer.save_ranks(ranks, work / "ranks.tiktoken")
    token_bytes = tokenizer.token_bytes(ranks)
    np.save(work / "token_bytes.npy", token_bytes)

    encoder, dtype = tokenizer.encoding(ranks), tokenizer.token_dtype(vocab_size)
    counts = _write_parts(source, scan, chosen, lambda some: tokenizer.encode(encoder, some), dtype, work, on_progress)
    for name in (part for part in ("val", *HELD_OUT, "train") if counts[f"{part}_documents"]):
        _check_bytes(np.memmap(work / name / "tokens.bin", dtype, "r"), token_bytes, counts[f"{name}_bytes"])
    return counts


def write_encoded(source: Texts, encode: Encode, dtype: str, work: Path, on_progress: OnProgress) -> dict[str, int]:
    """A text, divided as always, in the tokens of a model that is there: train/, val/ and the others of a prepared folder, of
    tokens in dtype. Returns the counts that Prepared shows. That the tokens spell the text is for the caller to know.
    """
    scan = _scan(source, on_progress)
    return _write_parts(source, scan, split(source.name, scan.digests, scan.sizes, scan.marks), encode, dtype, work, on_progress)


def _write_parts(
    source: Texts, scan: "_Scan", chosen: Split, encode: Encode, dtype: str, work: Path, on_progress: OnProgress
) -> dict[str, int]:
    counts = {f"{name}_{what}": 0 for name in HELD_OUT for what in ("documents", "tokens", "bytes")}
    parts = {"val": chosen.val, "train": chosen.train}
    # none where every training document is too long to spare
    parts |= {name: order for name, order in (("test", chosen.test), ("slice", chosen.slice)) if len(order)}
    for name, order in parts.items():
        (work / name).mkdir()
        unordered = work / name / "unordered.bin"
        encoded = _encode(source, scan, order, encode, unordered, f"encoding {name}", on_progress, whole=name == "train")
        placed = encoded.placed(order)
        starts = _reorder(unordered, placed, encoded.tokens, work / name / "tokens.bin", dtype)
        durable.remove(unordered)
        np.save(work / name / "starts.npy", starts)
        counts |= {
            f"{name}_documents": len(order),
            f"{name}_tokens": int(encoded.tokens.sum()),
            f"{name}_bytes": int(scan.sizes[order].sum()),
        }
        if name != "train":
            np.save(work / name / "bytes.npy", encoded.sizes[placed])
    return counts | {
        "duplicates_of_val": chosen.duplicates_of_val,
        "duplicates_in_val": chosen.duplicates_in_val,
        "repaired_documents": scan.repaired,
    }


@dataclass(frozen=True)
class _Scan:
    """The corpus without its text, one entry a document, in the corpus's order."""

    digests: np.ndarray  # uint64
    sizes: np.ndarray  # int64, bytes
    marks: np.ndarray  # int8
    repaired: int


def _scan(source: Texts, on_progress: OnProgress) -> _Scan:
    digests, sizes, marks, repaired, done_bytes = [], [], [], 0, 0
    for text, mark, was_repaired in source.documents():
        digests.append(digest(text))
        sizes.append(len(text))
        marks.append(mark)
        repaired += was_repaired
        done_bytes += len(text)
        on_progress("scanning documents", done_bytes, None)
    return _Scan(np.array(digests, np.uint64), np.array(sizes, np.int64), np.array(marks, np.int8), repaired)


def _sample(chosen: Split, sizes: np.ndarray) -> np.ndarray:
    """The training documents to learn merges from: the first of the shuffled order, so a fair sample of all."""
    before: np.ndarray = np.cumsum(sizes[chosen.train]) - sizes[chosen.train]
    return chosen.train[before < tokenizer.SAMPLE_BYTES_MAX]


def _texts(source: Texts, scan: _Scan, wanted: np.ndarray, stage: str, on_progress: OnProgress) -> Iterator[tuple[int, bytes]]:
    """(index, text) of the wanted documents, in the corpus's order."""
    is_wanted = np.zeros(len(scan.sizes), bool)
    is_wanted[wanted] = True
    total_bytes, done_bytes = int(scan.sizes[wanted].sum()), 0
    index = -1
    for index, document in enumerate(source.documents()):
        if index >= len(is_wanted):
            break
        if is_wanted[index]:
            _check_same(source, document, int(scan.digests[index]))
            yield index, document.text
            done_bytes += len(document.text)
            on_progress(stage, done_bytes, total_bytes)
    if index + 1 != len(is_wanted):
        raise _changed(source)


@dataclass(frozen=True)
class _Pieces:
    """What was encoded, in the corpus's order: int64 [pieces] each."""

    document: np.ndarray  # index into the corpus
    turn: np.ndarray  # how many pieces of the same document come before it
    tokens: np.ndarray  # BOS counted
    sizes: np.ndarray  # raw bytes

    def placed(self, order: np.ndarray) -> np.ndarray:
        """The pieces in the order of the file, int64: the first ones of all documents, in `order`, then the second ones."""
        rank = np.zeros(int(order.max()) + 1, np.int64)
        rank[order] = np.arange(len(order))
        indices: np.ndarray = np.lexsort((rank[self.document], self.turn))
        return indices


def _encode(
    source: Texts, scan: _Scan, wanted: np.ndarray, encode: Encode, path: Path, stage: str,
    on_progress: OnProgress, whole: bool,
) -> _Pieces:  # fmt: skip
    """Write the wanted documents' tokens in the corpus's order, each document whole or in the pieces of split.pieces."""
    rows = []  # (document, turn, tokens, bytes)
    with open(path, "wb") as out:
        for batch in _batches(_texts(source, scan, wanted, stage, on_progress)):
            cut = [
                (index, turn, piece)
                for index, text in batch
                for turn, piece in enumerate([text] if whole else pieces(text, int(scan.digests[index])))
            ]
            tokens = encode([piece for *_, piece in cut])
            rows += [(index, turn, len(ids), len(piece)) for (index, turn, piece), ids in zip(cut, tokens, strict=True)]
            out.write(np.concatenate(tokens).tobytes())
    return _Pieces(*np.array(rows, np.int64).T)


def _batches(texts: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch, batch_bytes = [], 0
    for index, text in texts:
        batch.append((index, text))
        batch_bytes += len(text)
        if batch_bytes >= _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch


def _reorder(unordered: Path, order: np.ndarray, lengths: np.ndarray, path: Path, dtype: str) -> np.ndarray:
    """Copy pieces from the corpus's order to the given one; lengths: tokens of each. Returns where each starts, int64 [pieces]."""
    ends = np.cumsum(lengths)
    tokens = np.memmap(unordered, dtype, "r")
    with open(path, "wb") as out:
        for index in order:
            out.write(tokens[ends[index] - lengths[index] : ends[index]].tobytes())
    del tokens  # Windows can't delete a file that is mapped
    starts: np.ndarray = np.cumsum(lengths[order]) - lengths[order]
    return starts


def _check_bytes(tokens: np.ndarray, token_bytes: np.ndarray, expected: int) -> None:
    """Every byte is in exactly one token, or the score would divide by the wrong number."""
    counts = sum(
        np.bincount(tokens[start : start + _CHECKED_TOKENS], minlength=len(token_bytes))
        for start in range(0, len(tokens), _CHECKED_TOKENS)
    )
    assert int(counts @ token_bytes.astype(np.int64)) == expected, "the tokens do not spell the documents' bytes"


def _check_same(source: Texts, document: Document, expected: int) -> None:
    if digest(document.text) != expected:
        raise _changed(source)


def _changed(source: Texts) -> UsageError:
    return UsageError(f"corpus {source.name} changed while it was read; run again when nothing writes to it")


def _write_meta(work: Path, name: str, identity: str, key: str, vocab_size: int, counts: dict[str, int]) -> None:
    files = {path.relative_to(work).as_posix(): describe(path) for path in sorted(work.rglob("*")) if path.is_file()}

    def of_files(*prefixes: str) -> str:
        return checksum_of({name: described for name, described in files.items() if name.startswith(prefixes)})

    content = {
        "format": FORMAT,
        "corpus": name,
        "key": key,
        "vocab_size": vocab_size,
        "bos_id": vocab_size - 1,
        "counts": counts,
        "checksums": {
            "corpus": identity,
            "tokenizer": of_files("ranks.tiktoken", "token_bytes.npy"),
            "train": of_files("train/"),
            "val": of_files("val/"),
            "test": of_files("test/"),
            "slice": of_files("slice/"),
        },
        "files": files,
        "versions": {"autoresearch": __version__, "python": platform.python_version()}
        | {package: version(package) for package in ("rustbpe", "tiktoken", "numpy", "pyarrow")},
    }
    write_meta(work, content)
