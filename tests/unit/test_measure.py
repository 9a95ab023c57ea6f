"""The arithmetic of the score and of the batches, against slow and plain versions."""

import math
import os
import queue
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.measure.batches import Asker, Rows, TokenFeed, TrainingTokens
from autoresearch.measure.bpb import InvalidLogits, ValidationText, rows_bits, target_bits
from autoresearch.measure.scorer import ask_all, slots
from autoresearch.measure.summary import RunResult

VOCAB = 40
BOS = 39


@pytest.fixture
def val_folder(tmp_path):
    """Twelve documents of tokens that carry one to three bytes, BOS before each."""
    rng = np.random.default_rng(0)
    token_bytes = np.append(rng.integers(1, 4, VOCAB - 1), 0).astype(np.int32)
    documents = [rng.integers(0, VOCAB - 1, rng.integers(1, 60)) for _ in range(12)]
    stream = np.concatenate([np.append(BOS, document) for document in documents]).astype(np.uint16)
    starts = np.cumsum([0] + [len(document) + 1 for document in documents])[:-1].astype(np.int64)
    stream.tofile(tmp_path / "tokens.bin")
    np.save(tmp_path / "starts.npy", starts)
    np.save(tmp_path / "bytes.npy", np.array([token_bytes[document].sum() for document in documents], np.int64))
    return tmp_path, token_bytes


def load(val_folder, eval_bytes=10**9):
    folder, token_bytes = val_folder
    return ValidationText.load(folder, token_bytes, "uint16", eval_bytes)


def bigram_logits(ids: np.ndarray) -> np.ndarray:
    """A model that depends on the last token only: float32 [..., VOCAB]."""
    table = (3 * np.random.default_rng(1).standard_normal((VOCAB, VOCAB))).astype(np.float32)
    return table[ids]


def run_score(text, seq_len, rows):
    """Score in this process: the worker's half is a function call."""
    filled = {}

    def send(slot, ids):
        assert ids.shape == (rows, seq_len) and slot not in filled
        filled[slot] = bigram_logits(ids)

    bits = ask_all(*text.rows(seq_len), rows, rows_bits, send, filled.pop)
    document_bits = text.document_bits(bits.reshape(-1)[: len(text.tokens) - 1].astype(np.float64))
    return SimpleNamespace(bits=bits, document_bits=document_bits, val_bpb=document_bits.sum() / text.total_bytes)


def slow_bpb(text) -> float:
    """Float64, one token after the other, for a model that needs no more context than one token."""
    nats = 0.0
    for before, token in zip(text.tokens[:-1], text.tokens[1:], strict=True):
        if token == BOS:
            continue
        logits = bigram_logits(np.array(int(before))).astype(np.float64)
        nats += math.log(np.exp(logits).sum()) - logits[int(token)]
    return nats / math.log(2) / text.total_bytes


@pytest.mark.parametrize("seq_len", [1, 7, 16, 500])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_score_equals_a_slow_scorer_at_any_row_length_and_batch_size(val_folder, seq_len, rows):
    text = load(val_folder)
    result = run_score(text, seq_len, rows)
    assert result.val_bpb == pytest.approx(slow_bpb(text), abs=1e-6)
    assert result.document_bits.sum() == pytest.approx(result.val_bpb * text.total_bytes)


def test_less_eval_bytes_is_a_prefix_and_document_sums_agree(val_folder):
    whole, part = load(val_folder), load(val_folder, eval_bytes=100)
    assert part.total_bytes >= 100 > part.total_bytes - part.document_bytes[-1]
    assert np.array_equal(part.tokens, whole.tokens[: len(part.tokens)])
    count = len(part.document_bytes)
    # At seq_len 1 a row boundary can't tell the two apart.
    np.testing.assert_allclose(run_score(part, 1, 8).document_bits, run_score(whole, 1, 8).document_bits[:count], rtol=1e-6)


def test_every_token_is_a_target_once(val_folder):
    text = load(val_folder)
    for seq_len in (1, 13, 64):
        inputs, targets = text.rows(seq_len)
        assert np.array_equal(targets[targets >= 0], text.tokens[1:])
        assert np.array_equal(inputs.reshape(-1)[: len(text.tokens) - 1], text.tokens[:-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_distribution_give_no_score(bad, dtype):
    logits = np.zeros((5, VOCAB), dtype)
    logits[3, 7] = bad
    with pytest.raises(InvalidLogits, match="NaN or \\+inf"):
        target_bits(logits, np.zeros(5, np.int64))


def test_minus_infinity_is_a_probability_of_zero_and_no_score_when_it_is_the_targets():
    logits = np.zeros((3, VOCAB), np.float32)
    logits[:2, 8:] = -np.inf
    logits[2] = -np.inf  # nobody asks for this row
    targets = np.array([0, 7, -1])
    np.testing.assert_allclose(target_bits(logits, targets), [3, 3, 0], rtol=1e-6)
    for targets in ([0, 8, -1], [0, 7, 5]):
        with pytest.raises(InvalidLogits, match="a probability of 0"):
            target_bits(logits, np.array(targets))


def test_logits_of_any_finite_size_have_a_cost():
    high = float(np.finfo(np.float32).max)
    logits = np.array([[high, -high], [-high, -high], [1e6, 1e6 - 100]], np.float32)
    np.testing.assert_allclose(target_bits(logits, np.array([0, 1, 1])), [0, 1, 100 / math.log(2)], rtol=1e-6)


def test_uniform_logits_cost_log2_of_the_vocabulary_and_padding_nothing():
    bits = target_bits(np.full((4, VOCAB), 60000, np.float32), np.array([0, 5, -1, 39]))
    np.testing.assert_allclose(bits, [math.log2(VOCAB), math.log2(VOCAB), 0, math.log2(VOCAB)], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(2, 300), seq_len=st.integers(1, 50), seed=st.integers(0, 5), rows=st.integers(1, 9))
def test_an_epoch_takes_each_row_once(length, seq_len, seed, rows):
    if length < seq_len + 1:
        return
    order = Rows(np.arange(length), seq_len, seed)
    count, offset = order.count, order.offset
    firsts = []
    while len(firsts) < count:
        firsts += order.take(min(rows, count - len(firsts)))[:, 0].tolist()
    assert order.epoch == 0
    assert sorted(firsts) == [offset + i * seq_len for i in range(count)]
    assert length - 1 - (offset + count * seq_len) < seq_len, "no row is left out"


def test_no_order_puts_neighbours_together():
    """Of 1,000 rows some 0.2 % lie beside one of those drawn just before them; a stride near half their number made it all of them,
    with seed 28."""
    for seed in range(50):
        firsts = Rows(np.arange(8001), 8, seed).take(1000)[:, 0]
        for before in (1, 2, 3, 4):
            assert (np.abs(firsts[before:] - firsts[:-before]) <= 8).mean() < 0.02, (seed, before)


def test_batches_differ_by_seed_and_targets_are_the_next_tokens(tmp_path):
    np.arange(5000, dtype=np.uint16).tofile(tmp_path / "tokens.bin")

    def batch(seed):
        return TrainingTokens(tmp_path / "tokens.bin", "uint16", seed).rows(6, 32)

    rows = batch(1)
    assert rows.shape == (6, 33) and np.array_equal(rows[:, 1:], rows[:, :-1] + 1)
    assert np.array_equal(rows, batch(1)) and not np.array_equal(rows, batch(2))


@given(shapes=st.lists(st.sampled_from([(1, 8), (2, 8), (3, 16)]), min_size=1, max_size=40))
def test_what_was_asked_for_ahead_is_given_in_order_and_counted_when_it_is_used(tmp_path_factory, shapes):
    path = tmp_path_factory.getbasetemp() / "tokens.bin"
    if not path.exists():
        np.arange(5000, dtype=np.uint16).tofile(path)
    feed, replies = TokenFeed(path, "uint16", 1, 8), queue.SimpleQueue()

    def ask(rows, seq_len, ahead):
        _, payload = feed.answer({"rows": rows, "seq_len": seq_len, "ahead": ahead})
        replies.put(((rows, seq_len), np.frombuffer(payload, "uint16").reshape(rows, seq_len + 1)))

    asker = Asker(ask, replies.get_nowait)
    given_rows = {shape: [] for shape in shapes}
    for shape in shapes:
        given_rows[shape].append(asker.batch(*shape))
    used, ahead = sum(rows * seq_len for rows, seq_len in shapes), [rows * seq_len for rows, seq_len in given_rows]
    assert used <= feed.tokens <= used + sum(ahead) - min(ahead), "each other shape may have a batch that waits for nothing"
    for shape, batches in given_rows.items():
        assert all(batch.shape == (shape[0], shape[1] + 1) for batch in batches)
    if len(given_rows) == 1:
        direct = TrainingTokens(path, "uint16", 1)
        assert all(np.array_equal(batch, direct.rows(*shapes[0])) for batch in given_rows[shapes[0]])


def test_what_was_handed_out_counts_and_lengths_of_rows_are_bounded(tmp_path, monkeypatch):
    """One batch ahead of each of 4,096 shapes was for nothing, and each length kept an order of the whole text in the harness."""
    path = tmp_path / "tokens.bin"
    np.arange(5000, dtype=np.uint16).tofile(path)
    feed = TokenFeed(path, "uint16", 1, 8)
    for rows in range(1, 50):
        feed.answer({"rows": rows, "seq_len": 8, "ahead": True})
    assert feed.tokens == 8 * sum(range(1, 49)), "all but the last"
    monkeypatch.setattr("autoresearch.measure.batches.MOST_ROWS", 2000)
    feed.answer({"rows": 1, "seq_len": 16, "ahead": False})
    with pytest.raises(ValueError, match="rows of too many lengths: 2 so far"):
        for seq_len in range(2, 8):
            feed.answer({"rows": 1, "seq_len": seq_len, "ahead": False})


def test_a_slot_that_was_cut_short_is_no_logits_and_its_file_is_removed(tmp_path):
    with slots(tmp_path, rows=2, answer=(3, 5)) as places:
        assert [place.path.stat().st_size for place in places] == [120, 120]
        np.arange(30, dtype=np.float32).tofile(places[0].path)
        assert np.array_equal(places[0].read(), np.arange(30, dtype=np.float32).reshape(2, 3, 5))
        os.truncate(places[0].path, 64)
        with pytest.raises(InvalidLogits, match="cut short"):
            places[0].read()
    assert os.listdir(tmp_path) == []


def test_summary_block_prints_unknown_as_na_and_upstream_names():
    block = RunResult(status="ok", seed=1, val_bpb=0.9979, training_seconds=300.1, num_steps=953).summary_block()
    lines = dict(line.split(":", 1) for line in block.splitlines()[1:])
    assert lines["val_bpb"].strip() == "0.997900" and lines["num_steps"].strip() == "953"
    assert lines["peak_vram_mb"].strip() == lines["mfu_percent"].strip() == "n/a"


def test_run_result_survives_json():
    result = RunResult(status="oom", seed=3, reason="out of memory", startup_seconds=2.5)
    assert RunResult.from_json(result.to_json()) == result


def test_a_cost_beyond_the_largest_float_is_no_score():
    logits = np.zeros((3, VOCAB), np.float32)
    logits[1, 5] = np.finfo(np.float32).min  # as nats it is a float, as bits it is none
    with pytest.raises(InvalidLogits, match="infinite cost"):
        target_bits(logits, np.array([0, 5, 1]))
    assert np.isfinite(target_bits(logits, np.array([0, -1, 1]))).all()
