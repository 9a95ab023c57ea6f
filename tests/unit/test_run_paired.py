"""From measurements in alternation to a score."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.measure.summary import RunResult
from autoresearch.metric import Metric
from autoresearch.run import paired
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.state import State

MIN, MAX = Metric("seconds", "s"), Metric("accuracy", "", "max")
TIMES = st.lists(st.floats(0.001, 1e6), min_size=3, max_size=9)


def test_each_goes_first_as_often_as_the_other_and_by_turns():
    assert paired.order(4, 0) == [(0, 1), (1, 0), (0, 1), (1, 0)]
    assert paired.order(3, 1) == [(1, 0), (0, 1), (1, 0)]


@given(TIMES, st.floats(0.01, 100))
def test_a_machine_that_is_slower_by_a_factor_changes_no_score(times, factor):
    score = paired.score(times, [0.9 * value for value in times], 2.0, MIN)
    slower = paired.score([factor * value for value in times], [0.9 * factor * value for value in times], 2.0, MIN)
    assert score == pytest.approx(1.8) and slower == pytest.approx(1.8)


def test_a_burst_in_one_pair_moves_nothing():
    assert paired.score([1, 1, 5, 1, 1], [0.9, 0.9, 0.9, 0.9, 0.9], 1.0, MIN) == pytest.approx(0.9)


def test_a_higher_accuracy_is_a_lower_score():
    level = paired.level([0.5, 0.5, 0.5], MAX)
    assert level == -0.5
    assert paired.score([0.5, 0.5], [0.6, 0.6], level, MAX) == pytest.approx(-0.6)


@pytest.mark.parametrize("reference", [[0.0, 0.0], [-1.0, -1.0]])
def test_what_is_not_above_zero_is_compared_by_its_difference(reference):
    assert paired.score(reference, [value - 0.5 for value in reference], reference[0], MIN) == reference[0] - 0.5


def test_a_number_that_is_always_the_same_needs_two_pairs():
    assert paired.is_constant([3, 3], [2, 2])
    assert not paired.is_constant([3], [2]) and not paired.is_constant([3, 3], [2, 2.1])


def test_a_gain_has_to_show_in_most_pairs_of_the_confirming_measure():
    before = [1.0 + 0.01 * n for n in range(10)]
    assert paired.confirmation(before, [0.8 * value for value in before], MIN) is True
    assert paired.confirmation(before, [0.9] * 7 + [2.0] * 3, MIN) is None  # ten more are to say it
    assert paired.confirmation(before, [0.9] * 5 + [2.0] * 5, MIN) is False
    assert paired.confirmation(before, before, MIN) is False
    assert paired.confirmation([0.5] * 2, [0.6] * 2, MAX) is True and paired.confirmation([0.5] * 2, [0.5] * 2, MAX) is False
    assert "in 10 pairs" in paired.confirmation_words(before, before, MIN)


def test_what_gains_nothing_is_confirmed_twice_in_a_hundred_times():
    rng, passed = random.Random(0), 0
    for _ in range(4000):
        better: list[float] = []
        found = None
        while found is None:
            better += [rng.choice([0.9, 1.1]) + 1e-6 * rng.random() for _ in range(10)]
            found = paired.confirmation([1.0] * len(better), better, MIN)
        passed += found
    assert 0.01 < passed / 4000 < 0.03


def kept(number: int, scores: list[float], level: float | None) -> Experiment:
    runs = [Run(k, k, f"{number}-{k}", result=RunResult("ok", k, val_bpb=score, level=level)) for k, score in enumerate(scores, 1)]
    return Experiment(number, "c", None, "b", "k", "d", "r", "a", 0.0, "", runs=runs, verdict="keep", scores=scores)


@pytest.mark.parametrize(("level", "sigma"), [(1.0, 0.005), (None, 0.1)])
def test_where_scores_are_ratios_the_noise_is_a_share_of_the_best(level, sigma):
    baseline, best = kept(0, [0.9, 1.0, 1.1], level), kept(1, [0.05], level)
    state = State(experiments=[baseline, best], best=best, kept=[baseline, best])
    assert state.noise.sigma == pytest.approx(0.1)
    assert state.noise_at_best.sigma == pytest.approx(sigma)
