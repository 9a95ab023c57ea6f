"""The arithmetic of an audit: where rows are cut, what lies behind, and which differences are more than rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch.measure.audit import (
    CEILING_NATS,
    CLOSER_CUTS,
    CLOSER_ROUNDS,
    FLOOR_NATS,
    NEAR,
    PAYS_NATS,
    ROUNDING_NATS,
    SHIFT_FLOOR_NATS,
    SIGMAS,
    WHOLE_ROWS,
    Cuts,
    Difference,
    Tolerance,
    alone_objection,
    compare,
    direction,
    examine,
    make_cuts,
)

ROWS, T, V = 20, 32, 12


def text(seed=0, rows=ROWS, seq_len=T, vocab=V):
    """(inputs, targets) of a random stream; the last row's tail has no targets."""
    tokens = np.random.default_rng(seed).integers(vocab, size=rows * seq_len + 1).astype(np.int32)
    inputs, targets = tokens[:-1].reshape(rows, -1).copy(), tokens[1:].reshape(rows, -1).copy()
    targets[-1, seq_len // 2 :] = -1
    return inputs, targets


def cuts_of(seed, count=64, gain=None, **sizes):
    inputs, targets = text(**sizes)
    return inputs, targets, make_cuts(np.random.default_rng(seed), inputs, targets, count, gain)


def bigram_bits(inputs, targets, vocab=V):
    odds = np.random.default_rng(5).random((vocab, vocab)) + 0.01
    bits = -np.log2(odds / odds.sum(1, keepdims=True))[inputs, targets]
    return np.where(targets < 0, 0, bits).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    rows=st.integers(1, 9),
    seq_len=st.integers(2, 24),
    vocab=st.integers(1, 6),
    directed=st.booleans(),
)
def test_a_cut_row_is_the_row_up_to_the_cut_and_is_asked_nothing_behind_it(seed, count, rows, seq_len, vocab, directed):
    gain = np.random.default_rng(seed).normal(size=(rows, seq_len)) if directed else None
    inputs, targets, cuts = cuts_of(seed, count, gain, rows=rows, seq_len=seq_len, vocab=vocab)
    assert cuts.inputs.shape == cuts.targets.shape == (count, seq_len)
    assert cuts.inputs.dtype == inputs.dtype and set(np.unique(cuts.inputs)) <= set(np.unique(inputs))
    assert (cuts.at >= 1).all() and (cuts.at <= seq_len).all() and (cuts.rows >= 0).all() and (cuts.rows < rows).all()
    for one, (row, at) in enumerate(zip(cuts.rows, cuts.at, strict=True)):
        assert np.array_equal(cuts.inputs[one, :at], inputs[row, :at])
        assert np.array_equal(cuts.targets[one, :at], targets[row, :at])
        assert (cuts.targets[one, at:] == -1).all()
        if at < seq_len and len(np.unique(inputs)) > 1:
            assert cuts.inputs[one, at] != inputs[row, at] or len(np.unique(inputs.reshape(-1)[:-1])) == 1


def test_what_lies_behind_a_cut_is_a_piece_of_the_text_that_began_alike():
    inputs, _, cuts = cuts_of(1, count=200, rows=80)
    stream = inputs.reshape(-1)
    pairs = {tuple(stream[i : i + 3]) for i in range(len(stream) - 2)}
    pieces = {tuple(stream[i : i + 5]) for i in range(len(stream) - 4)}
    natural = whole = 0
    for row, at in zip(cuts.inputs, cuts.at, strict=True):
        if 2 <= at <= T - 5:
            natural += tuple(row[at - 2 : at + 1]) in pairs
            whole += 1
            assert tuple(row[at : at + 5]) in pieces
    assert natural > 0.95 * whole, "the seam can't be told from the text's own"


def test_some_rows_are_whole_and_the_rest_is_cut_anywhere():
    _, _, cuts = cuts_of(2, count=400)
    assert (cuts.at[::WHOLE_ROWS] == T).all()
    others = np.delete(cuts.at, np.arange(0, 400, WHOLE_ROWS))
    assert set(others) == set(range(1, T + 1))
    assert len(set(cuts.rows)) == ROWS


def test_another_secret_gives_other_cuts():
    first, second = (cuts_of(seed)[2] for seed in (3, 4))
    assert not np.array_equal(first.rows, second.rows) and not np.array_equal(first.at, second.at)


def test_half_of_the_cuts_go_where_the_gain_is():
    gain = np.zeros((ROWS, T))
    leaks = [(3, 5), (7, 20), (11, 30)]
    for row, place in leaks:
        gain[row, place] = 9
    hits = sum((cuts.rows == row) & (cuts.at == place + 1) for row, place in leaks for cuts in [cuts_of(5, 1000, gain)[2]])
    expected = 500 * np.log(4) / np.log(ROWS * T)  # ranks are log-uniform
    assert 0.8 * expected < hits.sum() < 1.3 * expected
    anywhere = cuts_of(5, 1000, gain)[2].at[0::2]
    assert (anywhere == T).mean() < 0.5, "the others stay where they were"


def test_gain_of_many_positions_is_met_at_every_rank():
    gain = np.arange(ROWS * T, dtype=float).reshape(ROWS, T)
    _, _, cuts = cuts_of(6, 2000, gain)
    scored = ROWS * T - T // 2
    ranks = scored - 1 - (cuts.rows * T + cuts.at - 1)[1::2]
    assert (ranks == 0).any() and scored > ranks.max() > 0.7 * scored
    assert 0.3 < (ranks < scored**0.5).mean() < 0.7, "half of them among the square root of all"


def test_cuts_lie_behind_scored_targets_however_few():
    """Of a long question with a short answer nearly all of a row is not scored."""
    inputs, targets = text()
    targets[:, 3:] = -1
    gain = np.random.default_rng(0).normal(size=targets.shape)
    cuts = make_cuts(np.random.default_rng(0), inputs, targets, 800, gain)
    is_cut = np.arange(800) % WHOLE_ROWS != 0
    assert set(cuts.at[is_cut]) == {1, 2, 3} and set(cuts.rows) == set(range(ROWS))


def test_a_model_of_the_past_shows_no_difference_and_targets_behind_are_not_looked_at():
    inputs, targets, cuts = cuts_of(7)
    scored = bigram_bits(inputs, targets)
    asked = bigram_bits(cuts.inputs, cuts.targets)
    asked[cuts.targets < 0] = 99
    assert compare(cuts, scored, asked) == Difference(0.0, 0.0, *(int(x) for x in (cuts.rows[0], 0, cuts.at[0])))


def test_the_worst_difference_is_found_where_it_is_whatever_its_sign():
    inputs, targets, cuts = cuts_of(8)
    scored = bigram_bits(inputs, targets)
    one = int(np.flatnonzero((cuts.at > 10) & (cuts.targets[:, 9] >= 0))[3])
    for sign in (1, -1):
        asked = bigram_bits(cuts.inputs, cuts.targets)
        asked[one, 9] += sign * 0.5
        found = compare(cuts, scored, asked)
        assert found.worst_nats == pytest.approx(0.5 * np.log(2), rel=1e-5)
        assert (found.row, found.position, found.cut) == (cuts.rows[one], 9, cuts.at[one])


def at_the_end(count, seq_len, bits):
    """A comparison of `count` rows, each cut at seq_len, whose last targets differ by bits [n] or [count, n]."""
    rows = np.arange(count)
    cuts = Cuts(rows, np.full(count, seq_len), np.zeros((count, seq_len), np.int32), np.zeros((count, seq_len), np.int32))
    asked = np.zeros((count, seq_len), np.float32)
    asked[:, seq_len - bits.shape[-1] :] = bits
    return compare(cuts, np.zeros((count, seq_len), np.float32), asked)


@pytest.mark.parametrize("near", NEAR)
def test_a_shift_is_summed_over_the_window_that_shows_it_best(near):
    found = at_the_end(32, 40, np.full(near, 0.01))
    assert found.shift_nats == pytest.approx(0.01 * np.log(2) * (32 * near) ** 0.5, rel=1e-4)


def test_a_shift_grows_with_the_cuts_and_rounding_does_not():
    shifts = [at_the_end(count, 40, np.full(1, 0.01)).shift_nats for count in (32, 128)]
    assert shifts[1] == pytest.approx(2 * shifts[0])
    rng = np.random.default_rng(0)
    noise = [np.std([at_the_end(n, 40, rng.normal(0, 0.01, (n, 40))).shift_nats for _ in range(60)]) for n in (32, 256)]
    assert 0.6 < noise[1] / noise[0] < 1.6


def test_a_shift_to_the_worse_is_no_look_ahead():
    assert at_the_end(32, 40, np.full(16, -0.01)).shift_nats < 0


def of(worst=0.0, shift=0.0):
    return Difference(worst, shift, row=3, position=7, cut=9)


def test_tolerance_is_ten_times_the_worst_of_the_baseline_within_limits():
    assert Tolerance.of_baseline([of()] * 5) == Tolerance(FLOOR_NATS, SHIFT_FLOOR_NATS) == Tolerance()
    found = Tolerance.of_baseline([of(0.001, 0.001), of(0.025, -0.03), of(0.002, 0.002)])
    assert found.worst_nats == pytest.approx(0.25) and found.shift_nats == pytest.approx(0.3)
    assert Tolerance.of_baseline([of(0.2)]).worst_nats == CEILING_NATS
    with pytest.raises(ValueError, match=r"position 7 .* 0\.400 nats .* position 9"):
        Tolerance.of_baseline([of(), of(0.4)])


def test_objections_say_where_and_by_how_much():
    allowed = Tolerance(0.05, 0.02)
    assert allowed.objection(of(0.05, 0.02)) is None
    assert "position 7" in allowed.objection(of(0.051)) and "0.050 is allowed" in allowed.objection(of(0.051))
    assert "0.0210; 0.0200 is rounding" in allowed.objection(of(0.01, 0.021))
    assert allowed.objection(of(float("inf"))) is not None
    assert allowed.objection(of(0.01, -5.0)) is None


def examined(differ, seed=0, rows=60, allowed=None):
    """An audit of the bigram model; differ(rng, cuts) -> nats [n, T] by which its targets are dearer in cut rows."""
    rng = np.random.default_rng(seed)
    inputs, targets = text(rows=rows)
    asked = []

    def draw(count):
        return make_cuts(rng, inputs, targets, count)

    def ask(cuts):
        asked.append(len(cuts.rows))
        return (bigram_bits(cuts.inputs, cuts.targets) + differ(rng, cuts) / np.log(2)).astype(np.float32)

    return examine(allowed or Tolerance(), bigram_bits(inputs, targets), draw(32), draw, ask), asked


def last(cuts, nats):
    """The last target before each cut, and nothing else."""
    return nats * (np.arange(T) == cuts.at[:, None] - 1) * (cuts.at < T)[:, None]


def test_nothing_is_looked_at_closer_within_float32s_rounding():
    found, asked = examined(lambda rng, cuts: rng.uniform(-1, 1, cuts.inputs.shape) * ROUNDING_NATS / 2)
    assert found.reason is None and found.closer is None and asked == [32]


@pytest.mark.parametrize("nats", [0.0005, 0.002])
def test_small_differences_that_go_one_way_are_a_look_ahead(nats):
    found, asked = examined(lambda rng, cuts: last(cuts, rng.exponential(nats, (len(cuts.rows), 1)).clip(max=5 * nats)))
    assert found.closer.sigmas > SIGMAS and "sigma" in found.reason and asked == [32, CLOSER_CUTS]
    assert found.closer.gain_nats == pytest.approx(nats, rel=0.3), "of every cut, seven in eight of which are cuts"


def test_a_look_ahead_at_few_positions_takes_more_cuts():
    found, asked = examined(lambda rng, cuts: last(cuts, 0.04) * (cuts.at % 16 == 7)[:, None], seed=1)
    assert found.reason and 2 < len(asked) < 1 + CLOSER_ROUNDS


@pytest.mark.slow
def test_rounding_of_any_shape_passes_and_a_row_counts_once():
    """Also when each row's rounding in the scoring is in all the differences of its cuts."""
    noises = {
        "normal": lambda rng, cuts: rng.normal(0, 0.006, cuts.inputs.shape),
        "seldom and large": lambda rng, cuts: (
            0.1 * rng.choice([-1, 1], cuts.inputs.shape) * (rng.random(cuts.inputs.shape) < 0.005)
        ),
        "of whole rows": lambda rng, cuts: np.random.default_rng(9).normal(0, 0.001, (60, 1))[cuts.rows] + 0 * cuts.inputs,
    }
    for name, noise in noises.items():
        for seed in range(3):
            found, _ = examined(noise, seed)
            assert found.reason is None, (name, found)


def test_a_closer_look_ends_when_what_may_be_hidden_no_longer_pays():
    found, asked = examined(lambda rng, cuts: rng.normal(0, 0.001, cuts.inputs.shape))
    assert found.closer.most_nats < PAYS_NATS and asked == [32, CLOSER_CUTS]
    found, asked = examined(lambda rng, cuts: rng.normal(0, 0.01, cuts.inputs.shape), allowed=Tolerance(0.2, 0.2))
    assert found.reason is None and found.closer.cuts > CLOSER_CUTS


def test_a_direction_is_a_number_of_standard_errors():
    inputs, targets, cuts = cuts_of(4, count=320, rows=80)
    scored = bigram_bits(inputs, targets)
    same = direction(cuts, scored, bigram_bits(cuts.inputs, cuts.targets))
    assert (same.sigmas, same.gain_nats, same.most_nats) == (0, 0, 0)
    cheaper = direction(cuts, scored, bigram_bits(cuts.inputs, cuts.targets) - (0.01 * (cuts.targets >= 0)).astype(np.float32))
    assert cheaper.sigmas < -SIGMAS and cheaper.objection() is None
    one = bigram_bits(cuts.inputs, cuts.targets)
    where = int(np.flatnonzero((cuts.at < T) & (cuts.targets[np.arange(320), cuts.at - 1] >= 0))[0])
    one[where, cuts.at[where] - 1] += 0.1
    assert direction(cuts, scored, one).sigmas == pytest.approx(1), "one row can never be a direction"


def test_answers_given_alone_are_those_that_were_scored_also_where_losses_are_small():
    rng = np.random.default_rng(0)
    for scale in (1e-4, 1.0, 100.0):  # a good fit's squared errors, nats, logits without a scale
        scored = scale * rng.exponential(size=(25, 4))
        rounded = (np.sqrt(scored) * (1 + 0.004 * rng.standard_normal(scored.shape))) ** 2  # as bfloat16 rounds
        assert alone_objection(scored, scored) is None and alone_objection(scored, rounded) is None, scale
        assert "asked alone" in alone_objection(scored, 1.1 * scored + 0.1 * scale**0.5), scale
        assert alone_objection(scored, scored + np.where(rng.random(scored.shape) < 0.5, 0.5, -0.5) * max(scale, scale**0.5)), scale
