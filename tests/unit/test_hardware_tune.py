"""What autotune makes of its trials of the runtime's choices, and of trials that page."""

from dataclasses import replace

import pytest

from autoresearch.hardware.autotune import tune
from autoresearch.hardware.autotune.stopwatch import Learnt, Limits
from autoresearch.hardware.autotune.trials import Trial
from autoresearch.hardware.autotune.tune import Tuned
from autoresearch.hardware.autotune.tune_runtime import ROUNDS, alternatives, judge, postponed
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner.model import Sizes

CPU = Facts(
    ok=True, device="CPU", compile=True, threads=4, attention="blocks",
    choices={"attention": ["blocks", "sdpa"], "threads": [4, 3, 2], "compile": [True, False]},
)  # fmt: skip


def test_each_other_value_is_an_alternative_and_compilation_comes_first():
    assert alternatives(CPU) == [("compile", False), ("threads", 3), ("threads", 2), ("attention", "sdpa")]
    assert alternatives(replace(CPU, choices={})) == []


def rounds(ratio: float, lost: int = 0) -> list[tuple[float, float]]:
    return [(1.0, 1 / ratio)] * (ROUNDS - lost) + [(1.0, 1.5)] * lost


@pytest.mark.parametrize(
    "measured, taken",
    [
        (rounds(1.3), True),
        (rounds(1.3, lost=1), True),  # a hiccup
        (rounds(1.3, lost=2), False),  # noise may do that
        (rounds(1.01), False),  # not worth it
        (rounds(0.5), False),
        ([(1.0, 0.2)] * (ROUNDS - 1), False),  # the time ended
    ],
)
def test_a_change_is_taken_for_a_gain_beyond_the_noise(measured, taken):
    change = judge("compile", False, measured)
    assert change.taken is taken
    assert (change.ratio is None) == (len(measured) < ROUNDS) and str(len(measured)) in change.reason


def test_threads_are_not_compared_beside_a_load_and_other_choices_are():
    others = alternatives(CPU)
    assert postponed(others, None) == (others, ())
    now, later = postponed(others, "other processes take 50% of the usable cores")
    assert now == [("compile", False), ("attention", "sdpa")]
    assert [(one.name, one.value, one.taken) for one in later] == [("threads", 3, False), ("threads", 2, False)]
    assert later[0].reason == "not tried: other processes take 50% of the usable cores"


# Paging

SIZES = Sizes(
    depth=2, width=128, head_dim=128, gqa_ratio=1, mlp_ratio=4, window_pattern="L", short_window=0.5, seq_len=256, vocab_size=2048,
    rows=16, batch_tokens=4096,
)  # fmt: skip


def trial(measured: float | None, peak: int | None, predicted: float = 1000.0) -> Trial:
    learnt = measured and Learnt(int(measured * 20), 20.0, 1.5)
    return Trial(SIZES, predicted, learnt, measured and 1.2, peak, "trained" if measured else "oom", tokens_per_second=measured)


@pytest.mark.parametrize(
    "trials, refused",
    [
        ([trial(900, 10), trial(200, 50)], [1]),
        ([trial(200, 50), trial(900, 10)], [0]),
        ([trial(90, 10), trial(31, 50)], []),  # all are ten times slower than predicted: so is the smallest
        ([trial(90, 10), trial(29, 50)], [1]),
        ([trial(100, 10), trial(900, 50)], []),  # the smallest is the slow one: something else
        ([trial(900, 10), trial(200, 10)], []),  # it takes no more memory
        ([trial(900, 10), trial(200, 50, predicted=250)], []),  # a larger model, slower as predicted
        ([trial(900, None), trial(200, None)], []),  # unknown memory
        ([trial(None, None), trial(200, 50)], []),
    ],
)
def test_a_trial_that_pages_is_refused_with_its_reason(trials, refused):
    checked = tune.without_paging(trials)
    assert [place for place, one in enumerate(checked) if one != trials[place]] == refused
    for place in refused:
        assert checked[place].tokens_per_second is None and "does not stay in the device's memory" in checked[place].reason


def test_what_was_found_is_read_back_and_shown():
    change = judge("compile", False, rounds(1.3))
    found = Tuned(None, {"compile": False}, "why", Limits(1e12, None), (trial(900, 10),), (change,), 80.0)
    assert Tuned.from_json(found.to_json()) == found
    assert tune.lines(found, 300)[-1] == "compile off: 1.30 times as fast, ahead in 10 of 10 rounds: taken"


def test_what_was_tried_is_told():
    found = Tuned(None, {}, "so", Limits(None, None), (trial(1000.0, None), trial(None, None)), (), 1.0)
    trained, refused = tune.lines(found, 300)
    assert "1,000 tokens/s (1,000 predicted), val_bpb 1.500 after 20 s, 1.200 expected after 300" in trained
    assert refused.endswith("tokens a step: oom")


@pytest.mark.parametrize(
    "start, budget, seconds", [(0.0, 900.0, 25.0), (50.0, 900.0, 100.0), (200.0, 900.0, 180.0), (50.0, 120.0, 25.0)]
)
def test_a_device_that_compiles_for_long_keeps_time_for_its_other_choices(start, budget, seconds):
    assert tune.reserved(start, budget) == seconds


@pytest.mark.parametrize(
    "hours, experiments, seconds",
    [(None, None, 900), (8, None, 900), (1, None, 180), (0.1, None, 120), (8, 1, 120), (None, 20, 300), (None, 1000, 900)],
)
def test_the_time_for_it_grows_with_the_study(hours, experiments, seconds):
    assert tune.default_seconds(hours, experiments, 300) == seconds
