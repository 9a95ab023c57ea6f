"""The JSON that is written by hand, read by Hugging Face's library, gives the ids that the model was trained with."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.data import hf_tokenizer, tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="of the extra `test`")
WORDS = [
    "the", "sea,", "don't", "we'LL", "1234", "x_1", "=", "[]", "\t", "", "", "", "======", "naïve", "漢字", "한국어", "😀",
    "👩\u200d👩\u200d👧", "\r\n",
]  # fmt: skip
PARTS = [*WORDS, " ", "  ", tokenizer.BOS]
ODD = "ſKk'LLvse \n\r\t\u00a0\u2003\u3000\u180e\u200b\u2028\u0085\x1c\x0b\u0301=-aA19漢é😀"


@pytest.fixture(scope="module")
def ranks():
    chooser = random.Random(0)
    runs = [letter * length for letter in "a -=9\n\u3000" for length in range(2, 12)]  # a run can be cut in many ways
    return tokenizer.learn((" ".join(chooser.choices(WORDS + runs, k=60)) for _ in range(300)), 420, "c")


@pytest.fixture(scope="module")
def theirs(ranks):
    made = tokenizers.Tokenizer.from_str(json.dumps(hf_tokenizer.as_json(ranks)))
    made.encode_special_tokens = True  # what spells BOS is text
    return made


@settings(max_examples=1000, deadline=None)
@given(text=st.text(st.characters(codec="utf-8")) | st.text(ODD) | st.text("a =") | st.lists(st.sampled_from(PARTS)).map("".join))
def test_every_text_gets_the_same_ids_and_comes_back(ranks, theirs, text):
    expected = tokenizer.encode(tokenizer.encoding(ranks), [text.encode()])[0].tolist()
    assert theirs.encode(text).ids == expected
    assert theirs.decode(expected) == text


def test_bos_is_special(ranks, theirs):
    assert theirs.token_to_id(tokenizer.BOS) == len(ranks) == theirs.encode("").ids[0]
    plain = tokenizers.Tokenizer.from_str(json.dumps(hf_tokenizer.as_json(ranks)))
    assert (
        plain.encode(tokenizer.BOS).ids == [len(ranks)] * 2
        and theirs.decode([len(ranks)], skip_special_tokens=False) == tokenizer.BOS
    )
