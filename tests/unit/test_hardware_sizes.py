"""Sizes for a time budget: the law, the candidates and their order, and the search over trials on machines with a planted truth."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from autoresearch.hardware.autotune import sizes, trials, tune
from autoresearch.hardware.autotune.stopwatch import Learnt
from autoresearch.hardware.autotune.trials import Trial
from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import predict, profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine

TRAIN_PY = registry.scan()["cpu"].train_py.read_text(encoding="utf-8")
CPU = Facts(
    ok=True, device="CPU", matmul_tflops=0.24, cores=2, memory_bytes=16 << 30, dtype="float32", compile=True, attention="blocks"
)
SMALL = profiles.load("cpu-small")
BASE = Sizes.of(SMALL, TRAIN_PY)
BANDWIDTH = {"bandwidth": 20e9}  # bytes/s, as measured on a CPU with that product (benchmarks/results/train_speed-cpu-float32.json)


def machine(**changed):
    return Machine.of(replace(CPU, **changed), BANDWIDTH)


def test_more_tokens_and_more_steps_are_better():
    law = sizes.law()
    assert law.val_bpb(BASE, 2e6) < law.val_bpb(BASE, 1e6)
    large, small = replace(BASE, batch_tokens=16384), replace(BASE, batch_tokens=4096)
    assert law.val_bpb(small, 1e6) < law.val_bpb(large, 1e6), "steps are scarce"
    assert law.val_bpb(large, 1e8) < law.val_bpb(small, 1e8), "there are enough, and their noise is left"
    assert 0 < law.error < 0.1


def test_the_best_comes_first_and_the_starting_point_is_among_them():
    order = sizes.ranked(BASE, machine(), 300)
    assert len(order) > 20
    assert all(one.val_bpb <= other.val_bpb for one, other in pairwise(order))
    assert any(one.sizes == BASE for one in order)


def test_a_machine_of_unknown_speed_has_no_order():
    assert sizes.ranked(BASE, Machine.of(replace(CPU, matmul_tflops=None)), 300) == []


def test_a_slower_machine_gets_a_smaller_model():
    def parameters(matmul_tflops):
        faster = Machine.of(replace(CPU, matmul_tflops=matmul_tflops), {"bandwidth": matmul_tflops * 1e11})
        return sizes.capacity_params(sizes.ranked(BASE, faster, 300)[0].sizes)

    assert parameters(0.24) <= parameters(2.4) < parameters(240.0)


def test_nothing_leaves_the_range_of_the_law_or_the_device():
    law, small = sizes.law(), machine(memory_bytes=2 << 30)
    for one in sizes.candidates(BASE, small, 300):
        if one != BASE:
            names = ("depth", "width", "seq_len", "vocab_size", "batch_tokens")
            assert all(law.covers(name, getattr(one, name)) for name in names)
            estimate = predict.train_memory(one, small)
            assert estimate.value * (1 + estimate.error) <= sizes.MEMORY_SHARE * small.memory_bytes
    fewer = sizes.with_rows(replace(BASE, batch_tokens=65536), 65536, small)
    assert fewer.rows < sizes.with_rows(replace(BASE, batch_tokens=65536), 65536, machine(memory_bytes=64 << 30)).rows
    assert sizes.with_rows(BASE, 4096, machine(memory_bytes=64 << 20)) is None


def test_every_candidate_is_what_its_profile_makes_of_train_py():
    several = list(sizes.candidates(BASE, machine(), 300))[::5]  # reading a train.py takes 8 ms
    assert len(several) > 10
    for one in several:
        assert Sizes.of(tune.resized(SMALL, one), TRAIN_PY) == one


def test_a_step_holds_what_makes_some_800_of_them_and_a_trials_step_less():
    for one in sizes.ranked(BASE, machine(), 300):
        if one.sizes != BASE:
            steps = one.tokens_per_second * 300 / one.sizes.batch_tokens
            low, high = sizes.law().ranges["batch_tokens"]
            at_an_end = one.sizes.batch_tokens in (low, 2 * one.sizes.seq_len, high)
            assert sizes.STEPS / 1.6 < steps < sizes.STEPS * 1.6 or at_an_end
    large = replace(BASE, batch_tokens=8192, rows=16)
    assert [sizes.for_trial(large, 1 / share).batch_tokens for share in (1, 5, 15, 1000)] == [8192, 4096, 2048, 2048]
    assert sizes.for_trial(large, 1 / 15).rows == 4 and sizes.for_trial(replace(large, seq_len=2048), 1 / 15).batch_tokens == 4096
    assert sizes.for_trial(BASE, 1 / 15) == BASE, "smaller steps than these make no use of the processor"


def test_a_text_that_is_read_again_is_worth_less():
    assert sizes.useful_tokens(5e6, 1e7) == 5e6
    assert 1.9e7 < sizes.useful_tokens(2e7, 1e7) < 2e7 < sizes.useful_tokens(4e7, 1e7) < 4e7
    assert sizes.useful_tokens(1e12, 1e7) == pytest.approx(16.4e7), "for ever: its own length and 15.4 times that"
    law = sizes.law()
    assert law.val_bpb(BASE, 3e7) < law.val_bpb(BASE, 3e7, unique_tokens=1e6)
    assert sizes.judge(BASE, 1e5, 300).val_bpb < sizes.judge(BASE, 1e5, 300, text_bytes=1e6).val_bpb


# What is made of trials


def trial(change: Sizes, expected: float, seconds: float = 20.0) -> Trial:
    return Trial(change, 1000.0, Learnt(1000, seconds, expected), expected, None, "trained", change, 1000 / seconds)


OTHER = replace(BASE, depth=2, width=128, head_dim=128)
REFUSED = Trial(BASE, 1.0, None, None, None, "oom: out of memory")


def test_the_lowest_expected_score_wins_and_the_second_is_named():
    third = replace(OTHER, vocab_size=4096)
    chosen, reason = tune.verdict([trial(BASE, 1.2), trial(OTHER, 1.1), trial(third, 1.11)], BASE)
    assert chosen == OTHER and "1.100 expected" in reason and "vocabulary 4096, 2048 tokens a step, 1.110" in reason
    assert "after 20 s it had 1.100 and the named profile 1.200" in reason


def test_a_gain_within_a_trials_error_changes_nothing():
    chosen, reason = tune.verdict([trial(BASE, 1.2), trial(OTHER, 1.195)], BASE)
    assert chosen is None and "of 2 sizes that were trained none is 1% better" in reason


def test_only_the_last_round_decides():
    """What is expected after 20 s is off in another way than after 60 s."""
    third = replace(OTHER, vocab_size=4096)
    first = [trial(BASE, 1.2), trial(OTHER, 1.1), trial(third, 1.15)]
    assert tune.verdict([*first, trial(OTHER, 1.3, seconds=60), trial(third, 1.25, seconds=60)], BASE)[0] == third
    assert tune.verdict([*first, trial(OTHER, 1.3, seconds=60), trial(BASE, 1.25, seconds=60)], BASE)[0] is None


def test_where_the_named_profile_does_not_fit_the_best_of_the_others_is_taken():
    chosen, reason = tune.verdict([REFUSED, trial(OTHER, 1.1)], BASE)
    assert chosen == OTHER and "could not be trained here" in reason


def test_the_named_profile_in_smaller_portions_is_still_the_named_profile():
    assert tune.verdict([trial(replace(BASE, rows=BASE.rows // 2), 1.2)], BASE)[0] is None


def test_a_candidate_in_smaller_portions_is_not_tried_again():
    order = sizes.ranked(BASE, machine(), 300)
    halved = trial(replace(order[0].sizes, rows=1), order[0].val_bpb)
    assert trials.next_candidate(order, [halved]).sizes != order[0].sizes
    assert trials.corrections([halved], order, [order[0].sizes])[1] < trials.SPREAD, "and what it says is heard"


def test_without_a_trial_the_named_profile_stays():
    chosen, reason = tune.verdict([REFUSED], BASE)
    assert chosen is None and "nothing could be tried" in reason


def test_an_error_of_the_law_is_carried_over_to_sizes_that_are_alike():
    order = sizes.ranked(BASE, machine(), 300)
    first = order[0]
    bad = trial(first.sizes, first.val_bpb * 1.2)
    own = next(one for one in order if one.sizes == BASE)
    near = min(order[1:], key=lambda one: np.abs(np.subtract(*trials._places([one.sizes, first.sizes]))).sum())
    (near_shift, far_shift), (near_error, _) = trials.corrections([bad, trial(BASE, own.val_bpb)], order, [near.sizes, BASE])
    assert near_shift - far_shift > 0.1 and near_error < sizes.law().error * 3
    assert trials.next_candidate(order, [bad, trial(BASE, own.val_bpb)]).sizes not in (first.sizes, BASE)
    assert trials.next_candidate(order[:1], [bad]) is None


class Planted:
    """A machine with a planted truth: speeds and scores that are off from what is predicted by smooth errors, some per cent for the
    scores and more for the speeds, and a clock. Trials add noise.
    """

    COMPILE_SECONDS, START_SECONDS, NOISE = 40.0, 10.0, 0.007

    def __init__(self, seed: int, facts: Machine, text_bytes: float = math.inf):
        rng = np.random.default_rng(seed)
        self.rng, self.now, self.compiled, self.text_bytes = rng, 0.0, set(), text_bytes
        self.order = sizes.ranked(BASE, facts, 300, text_bytes)
        self.slopes, self.bend = rng.normal(0, 0.05, (2, 5)), rng.normal(0, 0.02, 5)
        # Trials train fewer tokens a step, and only the law says what that is worth: it has to be nearly right there.
        self.slopes[1, 4], self.bend[4] = self.slopes[1, 4] / 5, self.bend[4] / 5

    def speed(self, one) -> float:
        place = trials._places([one.sizes])[0] - trials._places([BASE])[0]
        return one.tokens_per_second * math.exp(2 * self.slopes[0] @ place)

    def score(self, one, seconds: float) -> float:
        """In bits per byte: the text's own factor, and a law that bends otherwise than ours."""
        place = trials._places([one.sizes])[0] - trials._places([BASE])[0]
        off = math.exp(self.slopes[1] @ place + self.bend @ place**2)
        return 1.3 * off * sizes.judge(one.sizes, self.speed(one), seconds, self.text_bytes).val_bpb

    def attempt(self, change: Sizes, predicted: float, seconds: float, limit_seconds: float) -> Trial:
        one = next(one for one in self.order if one.sizes == change)
        trained = sizes.for_trial(change, seconds / 300)
        self.now += (self.START_SECONDS if trained in self.compiled else self.COMPILE_SECONDS) + seconds + 4
        self.compiled.add(trained)
        bpb = self.score(replace(one, sizes=trained), seconds) * math.exp(self.rng.normal(0, self.NOISE))
        learnt = Learnt(round(self.speed(one) * seconds), seconds, bpb)
        return trials.of_training(change, trained, learnt, (predicted, predicted), 300, self.text_bytes)


@pytest.mark.parametrize("flops, text_bytes", [(0.24e12, math.inf), (2.4e12, 30e6), (100e12, math.inf)])
def test_on_a_machine_with_a_planted_truth_it_finds_the_best_within_its_time(flops, text_bytes):
    facts = Machine.of(replace(CPU, matmul_tflops=flops / 1e12), {"bandwidth": flops / 12})
    regrets = []
    for seed in range(3):
        planted = Planted(seed, facts, text_bytes)
        tried = tune.search(planted.order, BASE, 300, planted.attempt, lambda: 900 - planted.now, lambda: planted.now)  # noqa: B023
        assert planted.now < 900 + 75 and tried[0].sizes == BASE
        chosen = tune.verdict(tried, BASE)[0] or BASE
        truth = {one.sizes: planted.score(one, 300) for one in planted.order}
        regrets.append(truth[chosen] / min(truth.values()) - 1)
    assert max(regrets) < 0.04, regrets
