"""The tokenizer loses nothing, is the same every time, and is kept as plain text."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.data import tokenizer
from autoresearch.errors import UsageError

WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]


def texts(count=300, seed=0):
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(WORDS, k=60)) for _ in range(count)]


@pytest.fixture(scope="module")
def ranks():
    return tokenizer.learn(texts(), 400, "c")


@pytest.fixture(scope="module")
def encoder(ranks):
    return tokenizer.encoding(ranks)


def spelled(ranks, tokens):
    return b"".join(ranks[token] for token in tokens)


def test_the_vocabulary_has_the_bytes_the_merges_and_bos(ranks, encoder):
    assert len(ranks) == 399 and len(set(ranks)) == 399
    assert sorted(ranks[:256]) == [bytes([value]) for value in range(256)]
    assert encoder.n_vocab == 400


def test_the_same_text_gives_the_same_ranks(ranks):
    assert tokenizer.learn(texts(), 400, "c") == ranks
    assert tokenizer.learn(reversed(texts()), 400, "c") == ranks


@pytest.fixture(scope="module")
def token_bytes(ranks):
    return tokenizer.token_bytes(ranks)


@settings(max_examples=200, deadline=None)
@given(documents=st.lists(st.text(), max_size=4))
def test_every_document_comes_back_byte_for_byte(ranks, encoder, token_bytes, documents):
    raw = [document.encode() for document in documents]
    for text, tokens in zip(raw, tokenizer.encode(encoder, raw), strict=True):
        assert tokens[0] == 399 and 399 not in tokens[1:]
        assert spelled(ranks, tokens[1:]) == text
        assert token_bytes[tokens].sum() == len(text)


@pytest.mark.parametrize("text", [" " * 1_000_000, "a" * 200_000, "\n" * 200_000, "=-" * 100_000, "日本語🎈" * 50_000])
def test_a_huge_line_comes_back_too(ranks, encoder, text):
    (tokens,) = tokenizer.encode(encoder, [text.encode()])
    assert spelled(ranks, tokens[1:]) == text.encode()


def test_the_special_token_spelled_out_in_a_text_is_text(ranks, encoder):
    (tokens,) = tokenizer.encode(encoder, [b"x <|bos|> y"])
    assert 399 not in tokens[1:] and spelled(ranks, tokens[1:]) == b"x <|bos|> y"


def test_long_runs_of_blanks_can_be_learned_from():
    assert len(tokenizer.learn([" " * 1_000_000, *texts()], 300, "c")) == 299


def test_the_smallest_vocabulary_is_bytes_alone():
    ranks = tokenizer.learn(["ab"], 257, "c")
    (tokens,) = tokenizer.encode(tokenizer.encoding(ranks), ["aé".encode()])
    assert len(tokens) == 4


def test_bytes_of_a_token_are_counted_on_the_merge_itself(ranks):
    counted = tokenizer.token_bytes(ranks)
    assert counted.dtype == np.int32 and len(counted) == 400
    assert counted[-1] == 0 and counted[:256].tolist() == [1] * 256 and counted[256:-1].min() == 2


def test_a_corpus_too_small_for_the_vocabulary_says_what_would_fit():
    with pytest.raises(UsageError, match=r"too small for a vocabulary of 5000: .* use a vocabulary of (\d+) or less") as error:
        tokenizer.learn(["ab ab ab abc"] * 10, 5000, "c")
    fits = int(str(error.value).split("a vocabulary of ")[2].split()[0])
    assert len(tokenizer.learn(["ab ab ab abc"] * 10, fits, "c")) == fits - 1


@pytest.mark.parametrize("size", [0, 256, 300_000, -5])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(UsageError, match="choose 257"):
        tokenizer.check_vocab_size(size)


def test_token_files_are_two_bytes_a_token_as_long_as_they_can_be():
    assert [tokenizer.token_dtype(size) for size in (257, 65536, 65537)] == ["<u2", "<u2", "<u4"]


def test_ranks_are_kept_in_tiktokens_own_format(ranks, tmp_path):
    from tiktoken.load import load_tiktoken_bpe

    path = tmp_path / "ranks.tiktoken"
    tokenizer.save_ranks(ranks, path)
    assert load_tiktoken_bpe(str(path)) == {token: rank for rank, token in enumerate(ranks)}
