"""Which documents are held out: properties that must hold for every corpus."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.data.split import (
    BY_HASH,
    TRAIN,
    VAL,
    VAL_BYTES_MAX,
    VAL_DOCUMENT_BYTES_MAX,
    VAL_FRACTION,
    digest,
    split,
)
from autoresearch.errors import UsageError


def by_hash(digests, sizes):
    return split("c", np.array(digests, np.uint64), np.array(sizes, np.int64), np.full(len(sizes), BY_HASH, np.int8))


def documents(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**63, count).astype(np.uint64), rng.integers(1, 5000, count)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nothing_is_both_held_out_and_trained_on(data):
    count = data.draw(st.integers(60, 120))
    digests = np.array(data.draw(st.lists(st.integers(0, 80), min_size=count, max_size=count)), np.uint64)
    digests[:60] = np.arange(1000, 1060)  # enough that differ
    sizes = 2000 + digests.astype(np.int64)  # the same content has the same size
    marks = np.array(data.draw(st.lists(st.sampled_from([TRAIN, VAL]), min_size=count, max_size=count)), np.int8)
    marks[:2] = TRAIN, VAL
    for kind in (marks, np.full(count, BY_HASH, np.int8)):
        result = split("c", digests, sizes, kind)
        held = np.concatenate([result.val, result.test, result.slice])
        held_out, trained = digests[held].tolist(), digests[result.train].tolist()
        assert not set(held_out) & set(trained)
        assert len(set(held_out)) == len(held_out)
        assert len(set(result.train.tolist())) == len(result.train)
        if kind is marks:
            rest = np.concatenate([result.train, result.test, result.slice])  # this little validation text is all scored
            assert (marks[result.val] == VAL).all() and (marks[rest] == TRAIN).all()
            assert len(rest) + result.duplicates_of_val == (marks == TRAIN).sum()
            assert len(result.val) + result.duplicates_in_val == (marks == VAL).sum()
        else:
            assert len(result.train) + len(held_out) + result.duplicates_of_val == count


def test_the_split_by_hash_follows_the_content_not_the_place():
    digests, sizes = documents(3000)
    turned = np.random.default_rng(1).permutation(3000)
    one, other = by_hash(digests, sizes), by_hash(digests[turned], sizes[turned])
    assert digests[one.val].tolist() == digests[turned][other.val].tolist()  # in the same order, too
    assert set(digests[one.train]) == set(digests[turned][other.train])


def test_about_a_twentieth_is_held_out_and_more_of_little():
    digests, sizes = documents(20_000)
    held_out = sizes[by_hash(digests, sizes).val].sum()
    assert 0 <= held_out - VAL_FRACTION * sizes.sum() < 5000
    digests, sizes = documents(200)
    assert 0.1 <= sizes[by_hash(digests, sizes).val].sum() / sizes.sum() < 0.12


def test_test_and_slice_are_half_of_validation_each_and_never_much_of_the_training_text():
    digests, sizes = documents(20_000)
    result = by_hash(digests, sizes)
    for part in (result.test, result.slice):
        assert 0 <= sizes[part].sum() - sizes[result.val].sum() // 2 < 5000
    sizes = np.append(np.full(30, 90_000), np.full(20, 2_000))  # nearly all of it is marked validation
    marks = np.append(np.full(30, VAL), np.full(20, TRAIN)).astype(np.int8)
    small = split("c", np.arange(50, dtype=np.uint64), sizes, marks)
    assert sizes[small.test].sum() == 4_000 and sizes[small.slice].sum() == 4_000 and len(small.train) == 16


def test_the_slice_is_of_the_corpus_s_own_validation_text_where_that_is_more_than_is_scored():
    sizes = np.full(1000, 90_000)  # 45 MB of each
    marks = np.repeat([VAL, TRAIN], 500).astype(np.int8)
    digests = np.random.default_rng(0).permutation(1000).astype(np.uint64)
    digests[-100:] = digests[300:400]  # what is copied in the training text is not trained on
    result = split("c", digests, sizes, marks)
    assert (marks[result.slice] == VAL).all() and (marks[result.test] == TRAIN).all()
    assert not np.isin(result.slice, result.val).any() and not np.isin(digests[result.slice], digests[result.test]).any()
    assert 0 <= sizes[result.slice].sum() - sizes[result.val].sum() // 2 < 90_000
    assert not np.isin(digests[result.train], digests[result.slice]).any()


def test_a_training_text_of_one_file_spares_no_test_text():
    marks = np.array([VAL, TRAIN], np.int8)
    result = split("c", np.array([5, 6], np.uint64), np.array([9_000, 900_000]), marks)
    assert len(result.test) == 0 and len(result.slice) == 0 and len(result.train) == 1


def test_validation_never_grows_beyond_its_limit():
    sizes = np.full(6000, 90_000)
    held_out = sizes[by_hash(documents(6000)[0], sizes).val].sum()
    assert VAL_BYTES_MAX <= held_out < VAL_BYTES_MAX + 90_000


def test_a_long_document_is_for_training():
    digests, sizes = documents(1000)
    sizes[::10] = VAL_DOCUMENT_BYTES_MAX + 1
    assert sizes[by_hash(digests, sizes).val].max() <= VAL_DOCUMENT_BYTES_MAX


def test_equal_training_documents_do_not_lie_side_by_side():
    digests, _ = documents(5000)
    digests[:50] = 2**62  # not among the lowest, which are held out
    result = by_hash(digests, np.full(len(digests), 1000))
    places = np.flatnonzero(np.isin(result.train, np.arange(50)))
    assert len(places) == 50 and np.diff(places).min() > 1


def test_too_little_text_says_what_to_do():
    with pytest.raises(UsageError, match="100,000 are needed; add text, or use --corpus stdlib"):
        by_hash([1, 2], [10, 20])


def test_one_giant_document_says_what_to_do():
    with pytest.raises(UsageError, match=r"no document to validate on.*train/ and val/"):
        by_hash([1], [5_000_000])


def test_a_corpus_that_only_repeats_its_validation_text_is_refused():
    marks = np.array([VAL, TRAIN], np.int8)
    with pytest.raises(UsageError, match="nothing left to train on"):
        split("c", np.array([5, 5], np.uint64), np.array([90_000, 90_000]), marks)


def test_the_digest_is_of_the_content():
    assert digest(b"a") == digest(b"a") != digest(b"b")
