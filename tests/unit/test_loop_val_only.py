"""Gains on the validation text alone: what is found, what is not, and that honest models pass."""

import numpy as np
import pytest

from autoresearch.loop.val_only import Documents, Texts, compare, unlike
from autoresearch.metric import VAL_BPB

COUNTS = (120, 60)  # documents of the validation text, of the slice


def texts(seed, counts=COUNTS, level=1.5):
    """What a model makes of two draws of documents: sizes over a factor of 100, one in ten an odd one that costs far less."""
    rng = np.random.default_rng(seed)
    made = []
    for count in counts:
        sizes = (1000 * 10 ** rng.uniform(-1, 1, count)).astype(int)
        made.append(Documents(sizes * rng.normal(level, 0.2, count) * np.where(rng.random(count) < 0.1, 0.3, 1.0), sizes))
    return Texts(*made)


def changed(before, seed, gain, spread=0.02, odd=0.5):
    """Another model's: better by `gain` bits a byte, give or take the spread; one document in thirty by `odd` more."""
    rng = np.random.default_rng(seed)

    def of(one):
        gains = rng.normal(gain, spread, len(one.sizes)) + odd * (rng.random(len(one.sizes)) < 0.03)
        return Documents(one.bits - gains * one.sizes, one.sizes)

    return Texts(of(before.val), of(before.slice))


def knowing(after, share, every=1):
    """The same, but the bits of every so many documents of the validation text are fewer by that share."""
    factor = np.where(np.arange(len(after.val.sizes)) % every == 0, 1 - share, 1.0)
    return Texts(Documents(after.val.bits * factor, after.val.sizes), after.slice)


@pytest.mark.parametrize("counts", [(4, 3), (12, 7), COUNTS])
@pytest.mark.parametrize("gain", [0.0, 0.01, 0.1])
def test_honest_models_pass(counts, gain):
    """Under 1 in 1000 is promised (benchmarks/slice_power.py counts); of 300 none may be held."""
    for seed in range(300):
        before = texts(seed, counts)
        assert compare(before, changed(before, seed + 1000, gain)).reason is None, seed


@pytest.mark.parametrize("known", [(0.05, 1), (0.2, 1), (0.9, 4), (0.9, 1)])
def test_known_validation_text_is_found_with_its_numbers(known):
    for seed in range(20):
        before = texts(seed)
        found = compare(before, knowing(changed(before, seed, 0.01, odd=0.0), *known))
        assert found.reason and found.val.bpb > 2 * found.slice.bpb
    val, other = found.val.text(VAL_BPB), found.slice.text(VAL_BPB)
    assert f"gains on val alone: {val} bpb on the validation text, {other} on the audit slice" in found.reason


def test_a_few_documents_are_enough_for_all_of_the_text():
    before = texts(0, (12, 7))
    assert compare(before, knowing(changed(before, 1, 0.0, odd=0.0), 0.9)).reason


def test_what_is_known_can_not_be_hidden_by_failing_elsewhere():
    """A model that knows the validation text can tell the slice from it, and choose what it makes of either."""
    before = texts(0)
    after = knowing(changed(before, 1, 0.0), 0.3)
    after.slice.bits[7] *= 1000
    assert compare(before, after).reason
    after = knowing(changed(before, 1, 0.0), 0.9, every=2)
    after.val.bits[1::2] += (before.val.bits.sum() - after.val.bits.sum()) * 0.95 / 60
    found = compare(before, after)
    assert 0 < found.val.bpb < 0.1 and found.reason


def test_what_gains_as_much_elsewhere_or_nothing_at_all_is_no_finding():
    before = texts(0)
    better = changed(before, 1, 0.2, odd=0.0)
    assert compare(before, knowing(better, 0.02)).reason is None, "worth far less than what it gains honestly"
    assert compare(before, knowing(better, 0.05)).reason is not None, "a quarter more on val, beyond all doubt"
    assert compare(better, before).reason is None
    same = compare(before, before)
    assert (same.val.bpb, same.slice.bpb, same.reason) == (0.0, 0.0, None)


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (1, 2)])
def test_too_few_documents_say_nothing(counts):
    before = texts(0, counts)
    found = compare(before, knowing(before, 0.5))
    assert found.reason is None and (found.slice.error is None) == (counts[1] == 1)


def test_texts_of_two_kinds_are_told_from_draws_of_one():
    assert not any(unlike(texts(seed)) for seed in range(300))
    other = Texts(texts(0).val, texts(1, level=2.5).slice)
    assert "not of one kind" in unlike(other)
