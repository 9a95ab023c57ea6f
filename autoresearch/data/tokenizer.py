"""Byte pair encoding: merges learned by rustbpe from training text, encoded by tiktoken, kept as plain merge ranks.

Promises: the same sample gives the same ranks; every byte of a document is in exactly one token, so that decoding gives the
document back; nothing is pickled and nothing is fetched. The last id of the vocabulary is BOS, which carries no bytes.
"""

import base64
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    import tiktoken

BOS = "<|bos|>"
VOCAB_SIZE_MIN = 257  # every byte, and BOS
VOCAB_SIZE_MAX = 262144  # the largest in use (Gemma's); a five-minute model wants 2048 to 16384
SAMPLE_BYTES_MAX = 100_000_000  # of training text to learn merges from: about 15 s on two cores

# GPT-4's division into words, with numbers of at most 2 digits in place of 3: fewer ids spent on digits in a small
# vocabulary (karpathy/nanochat, tokenizer.py).
PATTERN = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
# The regex engine gives up on one run of about a million blanks, so longer documents are encoded in stretches.
STRETCH_CHARACTERS = 65536
_BUFFER_DOCUMENTS = 512  # what the trainer holds at a time, of at most STRETCH_CHARACTERS each
_SPARE_MERGES = 64  # two pairs can spell the same bytes; such repeats are dropped, and these take their places


def check_vocab_size(vocab_size: int) -> None:
    if not VOCAB_SIZE_MIN <= vocab_size <= VOCAB_SIZE_MAX:
        raise UsageError(
            f"vocabulary size {vocab_size} is not possible; choose {VOCAB_SIZE_MIN} (every byte, and BOS) to {VOCAB_SIZE_MAX}"
        )


def token_dtype(vocab_size: int) -> str:
    """numpy's name of the type that token files hold: two bytes when they do, little-endian on every machine."""
    return "<u2" if vocab_size <= 65536 else "<u4"


def learn(texts: Iterable[str], vocab_size: int, corpus: str) -> list[bytes]:
    """The tokens' bytes by id, [vocab_size - 1]: the 256 bytes, then the merges in the order they were learned."""
    import rustbpe

    trainer = rustbpe.Tokenizer()
    stretches = (stretch for text in texts for stretch in _stretches(text))
    trainer.train_from_iterator(stretches, vocab_size - 1 + _SPARE_MERGES, buffer_size=_BUFFER_DOCUMENTS, pattern=PATTERN)
    by_rank = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
    ranks = list(dict.fromkeys(token for _, token in by_rank))[: vocab_size - 1]
    if len(ranks) < vocab_size - 1:
        raise UsageError(
            f"corpus {corpus} is too small for a vocabulary of {vocab_size}: its text gives {len(ranks) + 1} tokens; "
            f"add text, or use a vocabulary of {len(ranks) + 1} or less: `vocab_size` in a profile of your own "
            "(`run --profile FILE.toml`), `--vocab-size` of `prepare`"
        )
    return ranks


def save_ranks(ranks: list[bytes], path: Path) -> None:
    """tiktoken's text format: a line for each token, its bytes in base64, a space, its rank."""
    lines = [b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(ranks)]
    path.write_bytes(b"".join(lines))


def load_ranks(path: Path) -> list[bytes]:
    """What `save_ranks` wrote."""
    return [base64.b64decode(line.split()[0]) for line in path.read_bytes().splitlines()]


def encoding(ranks: list[bytes]) -> "tiktoken.Encoding":
    """An Encoding made of these ranks alone. Its n_vocab is len(ranks) + 1, and BOS is the id len(ranks)."""
    import tiktoken

    return tiktoken.Encoding(
        name="autoresearch",
        pat_str=PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(ranks)},
        special_tokens={BOS: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )


def token_bytes(ranks: list[bytes]) -> np.ndarray:
    """int32 [vocab_size]: how many bytes each token stands for, measured on the merge's own bytes; BOS 0."""
    return np.array([len(token) for token in ranks] + [0], dtype=np.int32)


def encode(encoder: "tiktoken.Encoding", documents: list[bytes]) -> list[np.ndarray]:
    """For each document (UTF-8): BOS and its tokens, of token_dtype. Runs on all cores (tiktoken lets go of the GIL)."""
    threads = os.cpu_count() or 1
    share = -(-len(documents) // (4 * threads)) or 1
    shares = (documents[start : start + share] for start in range(0, len(documents), share))
    with ThreadPoolExecutor(threads) as executor:
        encoded = executor.map(lambda some: [_encode_document(encoder, document) for document in some], shares)
        return list(chain.from_iterable(encoded))


def _encode_document(encoder: "tiktoken.Encoding", document: bytes) -> np.ndarray:
    # disallowed_special=(): text that spells the special token is text.
    parts = [encoder.encode_to_numpy(part, disallowed_special=()) for part in _stretches(document.decode())]
    return np.concatenate([[encoder.n_vocab - 1], *parts]).astype(token_dtype(encoder.n_vocab))


def _stretches(text: str) -> Iterator[str]:
    """The text in pieces of at most STRETCH_CHARACTERS, cut behind a line's end where there is one in the second half."""
    start = 0
    while len(text) - start > STRETCH_CHARACTERS:
        end = start + STRETCH_CHARACTERS
        newline = text.rfind("\n", start + STRETCH_CHARACTERS // 2, end)
        end = newline + 1 if newline >= 0 else end
        yield text[start:end]
        start = end
    yield text[start:]
