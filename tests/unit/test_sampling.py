"""Which token comes, what is shown of it, and when a score is the recorded one; no model is asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.errors import RunFailed
from autoresearch.loop.replay import judge
from autoresearch.noise import Noise
from autoresearch.run import sampling
from autoresearch.text import harmless


def drawn(logits, temperature=1.0, top_k=None, count=4000):
    rng = np.random.default_rng(0)
    tokens = [sampling.draw(np.array(logits, np.float32), temperature, top_k, rng) for _ in range(count)]
    return np.bincount(tokens, minlength=len(logits)) / count


def test_tokens_come_as_often_as_the_model_says():
    logits = np.log([0.5, 0.3, 0.2])
    assert drawn(logits) == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert drawn(logits + 1000) == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert drawn(logits, temperature=0.5) == pytest.approx(np.array([25, 9, 4]) / 38, abs=0.03)
    assert drawn(logits, top_k=2) == pytest.approx([0.625, 0.375, 0], abs=0.03)
    assert list(drawn(logits, temperature=0)) == [1, 0, 0] == list(drawn(logits, top_k=1)) == list(drawn(logits, temperature=1e-9))
    assert drawn([-np.inf, 0, -np.inf])[1] == 1


@pytest.mark.parametrize("logits", [[np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]])
def test_what_are_no_logits_is_refused(logits):
    with pytest.raises(RunFailed):
        drawn(logits)


def test_a_text_longer_than_a_row_is_cut_in_front_and_ends_where_it_is_told():
    asked = []

    def answer(ids):
        asked.append(ids[0].tolist())
        return ids[..., None] + np.arange(2)  # [1, T, 2]

    picked = iter([5, 6, 7, 9, 8])
    made = list(sampling.tokens(answer, [9, 4], 3, 10, end=9, pick=lambda logits: next(picked)))
    assert made == [5, 6, 7]
    assert asked == [[9, 4, 0], [9, 4, 5], [4, 5, 6], [5, 6, 7]]
    assert len(list(sampling.tokens(answer, [9], 3, 2, end=9, pick=lambda logits: 1))) == 2
    seen = []
    list(sampling.tokens(answer, [9, 4], 3, 2, end=9, pick=lambda logits: seen.append(logits.tolist()) or 3))
    assert seen == [[4, 5], [3, 4]]  # of the last token that is known


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(codec="utf-8")) | st.text("a\r\n\x1b\u0301\u200b é"), cuts=st.lists(st.integers(1, 5)))
def test_text_is_shown_piece_by_piece_as_it_would_be_in_one(text, cuts):
    data, pieces = text.encode(), []
    for cut in cuts:
        pieces, data = [*pieces, data[:cut]], data[cut:]
    shown = "".join(sampling.text([*pieces, data]))
    assert shown == harmless(text)


def test_bytes_that_are_no_text_are_shown_as_such():
    assert "".join(sampling.text([b"a\xff", b"b\xe4\xb8"])) == "a\ufffdb\ufffd"


NOISE = Noise(0.01, 4)


def test_a_score_within_the_noise_is_reproduced_and_one_beyond_is_not():
    within, beyond = judge([1.0, 1.0], [1.03], NOISE), judge([1.0, 1.0], [1.05], NOISE)
    assert within.margin == beyond.margin == pytest.approx(2.78 * 0.01 * 1.5**0.5, rel=0.03)  # Student's t at 4
    assert (within.reproduced, beyond.reproduced, judge([1.0, 1.0], [0.95], NOISE).reproduced) == (True, False, False)
    assert judge([1.0] * 2, [1.0] * 8, NOISE).margin < within.margin


def test_without_a_known_noise_new_scores_tell_it_from_three_on():
    assert judge([1.0], [1.0, 1.1], None).reproduced is None
    assert judge([1.0], [1.00, 1.01, 0.99], None).reproduced is True
    assert judge([2.0], [1.00, 1.01, 0.99], None).reproduced is False


def test_one_of_twenty_honest_replays_is_called_not_reproduced():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(4000):
        sigma = Noise(float(np.sqrt(rng.chisquare(5) / 5)), 5)
        refused += not judge(list(rng.standard_normal(2)), [float(rng.standard_normal())], sigma).reproduced
    assert refused / 4000 == pytest.approx(0.05, abs=0.012)
