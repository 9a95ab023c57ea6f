"""Text from a model, token by token: the model answers in its cell, what is drawn from its answers is decided here.

The model is asked for the whole row each time, as the scorer asks it; whatever framework it is of, it needs to do nothing else.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from autoresearch.errors import RunFailed
from autoresearch.text import harmless

SHOWN_CONTEXT = 64  # characters that tell whether the next ones are harmless: marks over a letter, the second half of a line's end


def draw(logits: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    """One token from logits float [vocab_size]: the likeliest at temperature 0, else by chance among the top_k likeliest.

    -inf is a token that can't come. RunFailed for NaN, +inf, and where no token can come.
    """
    wide = logits.astype(np.float64)
    if np.isnan(wide).any() or not np.isfinite(best := wide.max()):
        raise RunFailed("invalid", "the model's logits are no numbers")
    if temperature == 0:
        return int(wide.argmax())
    if top_k is not None and top_k < len(wide):
        wide[np.argpartition(wide, -top_k)[:-top_k]] = -np.inf
    chances = np.cumsum(np.exp((wide - best) / temperature))
    return min(int(np.searchsorted(chances, rng.random() * chances[-1], side="right")), len(wide) - 1)


def tokens(
    answer: Callable[[np.ndarray], np.ndarray], prompt: list[int], seq_len: int, count: int, end: int,
    pick: Callable[[np.ndarray], int],
) -> Iterator[int]:  # fmt: skip
    """Up to `count` tokens after those of the prompt (one at least), until `end`, which is not given.

    answer(ids int32 [1, seq_len]) -> logits [1, seq_len, vocab_size]. A text that is longer than a row is cut off in front.
    """
    known = list(prompt)
    for _ in range(count):
        seen = known[-seq_len:]
        row = np.zeros((1, seq_len), np.int32)
        row[0, : len(seen)] = seen
        token = pick(answer(row)[0, len(seen) - 1])
        if token == end:
            return
        known.append(token)
        yield token


def text(pieces: Iterable[bytes]) -> Iterator[str]:
    """What the tokens' bytes spell, harmless, as soon as a character is whole. Bytes that are no UTF-8 are shown as such."""
    decoder, before = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for piece in chain(pieces, [None]):
        new = decoder.decode(piece or b"", final=piece is None)
        shown = harmless(before + new)[len(harmless(before)) :]
        before = (before + new)[-SHOWN_CONTEXT:]
        if shown:
            yield shown
