"""Sizes for a time budget: the law, the candidates and their order, and what is made of trials."""

from dataclasses import replace
from itertools import pairwise

from autoresearch.hardware import predict, profiles, registry, sizes, tune
from autoresearch.hardware.facts import Facts
from autoresearch.hardware.model import Sizes
from autoresearch.hardware.predict import Machine
from autoresearch.hardware.tune import Trial

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
    assert law.val_bpb(replace(BASE, batch_tokens=BASE.batch_tokens // 2), 1e6) < law.val_bpb(BASE, 1e6)
    assert 0 < law.error < 0.1


def test_the_best_comes_first_and_the_starting_point_is_among_them():
    order = sizes.ranked(BASE, machine(), 300)
    assert len(order) > 100
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
    for one in sizes.candidates(BASE, small):
        if one != BASE:
            assert all(law.covers(name, getattr(one, name)) for name in ("depth", "width", "vocab_size", "batch_tokens"))
            assert one.seq_len == BASE.seq_len
            estimate = predict.train_memory(one, small)
            assert estimate.value * (1 + estimate.error) <= sizes.MEMORY_SHARE * small.memory_bytes
    fewer = sizes.with_rows(replace(BASE, batch_tokens=65536), 65536, small)
    assert fewer.rows < sizes.with_rows(replace(BASE, batch_tokens=65536), 65536, machine(memory_bytes=64 << 30)).rows
    assert sizes.with_rows(BASE, 4096, machine(memory_bytes=64 << 20)) is None


def test_every_candidate_is_what_its_profile_makes_of_train_py():
    several = list(sizes.candidates(BASE, machine()))[::50]  # reading a train.py takes 8 ms
    assert len(several) > 20
    for one in several:
        assert Sizes.of(tune.resized(SMALL, one), TRAIN_PY) == one


def test_the_named_profile_is_tried_first_and_then_a_few_shapes():
    few = tune.chosen_few(sizes.ranked(BASE, machine(), 300), BASE)
    shapes = [(one.sizes.depth, one.sizes.width) for one in few[1:]]
    assert len(few) == tune.TRIALS and len(set(shapes)) == len(shapes)
    assert few[0].sizes == BASE


def trial(order, change, measured=1.0):
    """As fast as predicted, times `measured`."""
    one = next(one for one in order if one.sizes == change)
    return Trial(one.sizes, one.tokens_per_second, one.tokens_per_second * measured, None, "measured")


def test_the_winner_is_decided_by_measured_speed():
    order = sizes.ranked(BASE, machine(), 300)
    best = order[0].sizes
    chosen, reason = tune.verdict([trial(order, best), trial(order, BASE)], BASE, 300)
    assert chosen == best and "lowers the predicted val_bpb" in reason
    chosen, reason = tune.verdict([trial(order, best, 1e-3), trial(order, BASE)], BASE, 300)
    assert chosen is None and "error" in reason


def test_a_gain_within_the_laws_error_changes_nothing():
    order = sizes.ranked(BASE, machine(), 300)
    near = next(one for one in order if one.sizes != BASE and 0 < 1 - one.val_bpb / own(order).val_bpb < sizes.law().error)
    assert tune.verdict([trial(order, near.sizes), trial(order, BASE)], BASE, 300)[0] is None


def own(order):
    return next(one for one in order if one.sizes == BASE)


REFUSED = Trial(BASE, 1.0, None, None, "oom: out of memory")


def test_where_the_named_profile_does_not_fit_the_best_of_the_others_is_taken():
    order = sizes.ranked(BASE, machine(), 300)
    chosen, reason = tune.verdict([REFUSED, trial(order, order[0].sizes, 0.1)], BASE, 300)
    assert chosen == order[0].sizes and "could not be trained here" in reason


def test_the_named_profile_in_smaller_portions_is_still_the_named_profile():
    halved = Trial(replace(BASE, rows=BASE.rows // 2), 1000.0, 1000.0, None, "measured")
    assert tune.verdict([halved], BASE, 300)[0] is None


def test_without_a_trial_the_named_profile_stays():
    chosen, reason = tune.verdict([REFUSED], BASE, 300)
    assert chosen is None and "nothing could be tried" in reason
