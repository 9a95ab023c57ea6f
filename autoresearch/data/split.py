"""Which document is validation, test, audit slice or training, and in which order. Pure functions of hashes and sizes.

Promises: no two of the four hold the same document, byte for byte; what is held out holds each document once, in an order
that depends on nothing but the corpus, so that the text of a smaller eval_bytes is a prefix of a larger one's; training
documents lie in a fixed pseudo-random order, so that neighbours in the token file are independent. What is held out is scored in
pieces, first one of each document, so that a small eval_bytes is a sample of as many documents as there are.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from autoresearch.errors import UsageError

VAL_BYTES_MAX = 20_000_000  # upstream scores 21M tokens (about 90 MB) in seconds on an H100; slower machines use far less
VAL_FRACTION = 0.05
VAL_BYTES_WANTED = 1_000_000  # below this, 5 % is a noisy yardstick, and up to VAL_FRACTION_MAX is taken instead
VAL_FRACTION_MAX = 0.10
VAL_DOCUMENT_BYTES_MAX = 100_000  # a longer document goes to training: one giant file must not be the whole metric
PIECE_BYTES = 4096  # of held-out text, at most: some 1400 tokens; the first 200 kB are then 50 documents or more, not 18
TEST_SHARE = 0.5  # of validation's bytes, each of test and slice: they are read seldom, and what they take is lost to training
CORPUS_BYTES_MIN = 100_000

BY_HASH, TRAIN, VAL = -1, 0, 1  # what a corpus says of a document: decide by hash, or it belongs here
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: its multiples are spread evenly (Knuth, TAOCP 3, 6.4)


def digest(text: bytes) -> int:
    """64 bits of the content. Two documents of three million share one by chance with probability 3e-7."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def pieces(text: bytes, key: int) -> list[bytes]:
    """The pieces of a held-out document, together all of it: of PIECE_BYTES at most, cut after a line where one ends in the second
    half, else between two characters. They come in a turn that begins anywhere (key: the document's digest): the heads of files,
    which are alike, are no more of the first ones than other parts.
    """
    parts, start = [], 0
    while start < len(text):
        end = min(start + PIECE_BYTES, len(text))
        if end < len(text):
            after_line = text.rfind(b"\n", start + PIECE_BYTES // 2, end) + 1
            while text[end] & 0xC0 == 0x80:  # in the middle of a character
                end -= 1
            end = after_line or end
        parts.append(text[start:end])
        start = end
    first = key % len(parts)
    return parts[first:] + parts[:first]


@dataclass(frozen=True)
class Split:
    train: np.ndarray  # [train documents] indices into the corpus, in the order of the token file
    val: np.ndarray  # [val documents] likewise
    test: np.ndarray  # [test documents] likewise: what no decision sees
    slice: np.ndarray  # [slice documents] likewise: the audit slice, which only a keep is checked against
    duplicates_of_val: int  # training documents left out because a held-out text has the same bytes
    duplicates_in_val: int  # validation documents left out because an earlier one holds the same bytes


def split(name: str, digests: np.ndarray, sizes: np.ndarray, marks: np.ndarray) -> Split:
    """Divide a corpus.

    Args: digests uint64 [documents], sizes int64 [documents] in bytes, marks int8 [documents] of BY_HASH, TRAIN or VAL.
    Raises UsageError when there is too little to train or to validate on.
    """
    total_bytes = int(sizes.sum())
    if total_bytes < CORPUS_BYTES_MIN:
        raise UsageError(
            f"corpus {name} holds {total_bytes:,} bytes of text in {len(sizes):,} documents and at least "
            f"{CORPUS_BYTES_MIN:,} are needed; add text, or use --corpus stdlib"
        )
    has_val = bool((marks == VAL).any())
    if has_val:
        offered, wanted_bytes = np.flatnonzero(marks == VAL), VAL_BYTES_MAX
    else:
        offered, wanted_bytes = _by_digest(digests, sizes, total_bytes)
    unique = _first_of_each(offered, digests)
    val = _enough(unique, sizes, wanted_bytes)
    if not len(val):
        raise UsageError(
            f"corpus {name} has no document to validate on: one of at most {VAL_DOCUMENT_BYTES_MAX:,} bytes and a tenth of "
            'the text is needed; divide it into more files, use .jsonl with one {"text": "..."} a line, or a folder that '
            "holds train/ and val/"
        )
    is_train = marks != VAL
    by_digest = _by_digest(digests, sizes, total_bytes)[0]
    share_bytes = int(TEST_SHARE * sizes[val].sum())
    test = _spared(by_digest, is_train & ~np.isin(digests, digests[val]), digests, sizes, share_bytes)
    is_left = ~np.isin(digests, digests[np.append(val, test)])
    # Of the corpus's own validation text where it has more than is scored: that is of one kind with what is scored.
    offered_too = by_digest[is_left[by_digest] & (marks[by_digest] == VAL)]
    if sizes[offered_too].sum() >= share_bytes:
        audit_slice = _enough(_first_of_each(offered_too, digests), sizes, share_bytes)
    else:
        audit_slice = _spared(by_digest, is_train & is_left, digests, sizes, share_bytes)
    held = np.concatenate([val, test, audit_slice])
    repeats = np.isin(digests, digests[held])
    train = np.flatnonzero(is_train & ~repeats)
    if not len(train):
        raise UsageError(f"corpus {name} has nothing left to train on beside the texts that are held out; add documents")
    return Split(
        train=train[np.argsort(_shuffle_keys(digests, train), kind="stable")],
        val=val,
        test=test,
        slice=audit_slice,
        duplicates_of_val=int((is_train & repeats).sum()) - int((marks[held] != VAL).sum()),
        duplicates_in_val=len(offered) - len(unique) if has_val else 0,
    )


def _spared(by_digest: np.ndarray, is_left: np.ndarray, digests: np.ndarray, sizes: np.ndarray, share_bytes: int) -> np.ndarray:
    """Training documents to hold out: share_bytes, but at most VAL_FRACTION_MAX of what is left, and none longer than that."""
    wanted_bytes = int(min(share_bytes, VAL_FRACTION_MAX * sizes[is_left].sum()))
    to_spare = by_digest[is_left[by_digest] & (sizes[by_digest] <= wanted_bytes)]
    return _enough(_first_of_each(to_spare, digests), sizes, wanted_bytes)


def _first_of_each(documents: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """The documents without those whose bytes an earlier one holds."""
    return documents[np.sort(np.unique(digests[documents], return_index=True)[1])]


def _enough(documents: np.ndarray, sizes: np.ndarray, wanted_bytes: int) -> np.ndarray:
    """The shortest run of whole documents that reaches wanted_bytes."""
    before: np.ndarray = np.cumsum(sizes[documents]) - sizes[documents]
    return documents[before < wanted_bytes]


def _by_digest(digests: np.ndarray, sizes: np.ndarray, total_bytes: int) -> tuple[np.ndarray, int]:
    """(documents that are not too long, by digest: a fixed order that nobody chose; how many bytes to take of them)."""
    longest = min(VAL_DOCUMENT_BYTES_MAX, int(VAL_FRACTION_MAX * total_bytes))
    offered = np.flatnonzero(sizes <= longest)
    wanted = max(VAL_FRACTION * total_bytes, min(VAL_BYTES_WANTED, VAL_FRACTION_MAX * total_bytes))
    return offered[np.argsort(digests[offered], kind="stable")], int(min(wanted, VAL_BYTES_MAX))


def _shuffle_keys(digests: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """uint64 [chosen]: the digest, moved by the index so that equal documents don't come to lie side by side."""
    keys: np.ndarray = digests[chosen] + chosen.astype(np.uint64) * _GOLDEN  # wraps round, as meant
    return keys
