"""The null backend's landscape: what it promises to anybody who tunes a loop on it."""

import math
import statistics
import sys

import pytest

from autoresearch import constants
from autoresearch.paths import shipped

NULL = shipped("backends") / "null"


@pytest.fixture(scope="module")
def landscape():
    sys.path.insert(0, str(NULL))
    try:
        import landscape
    finally:
        sys.path.remove(str(NULL))
    yield landscape
    del sys.modules["landscape"]


@pytest.fixture(scope="module")
def start():
    text = (NULL / "train.py").read_text(encoding="utf-8")
    return {name: constant.value for name, constant in constants.read(text).items()}


def test_the_defaults_are_those_of_its_train_py(landscape, start):
    assert {name: start[name] for name in landscape.AXES} == {name: axis[0] for name, axis in landscape.AXES.items()}
    assert all(start[name] in kinds for name, kinds in landscape.KINDS.items())


NOT_SIMULATED = ("PAIR_ROWS", "PAIR_LR", "ROTARY_SHARE", "KEY_OFFSET")


def test_its_constants_are_those_of_the_torch_backend():
    """What works on the one is then a fair trial of the search on the other. Two parts of the model are none of the landscape."""
    torch, null = (constants.read((folder / "train.py").read_text(encoding="utf-8")) for folder in (NULL.parent / "torch", NULL))
    facts = {name: (constant.value, constant.annotation) for name, constant in torch.items() if name not in NOT_SIMULATED}
    assert {name: (null[name].value, null[name].annotation) for name in facts} == facts


def test_it_is_never_below_zero_and_gets_there(landscape, start):
    """Coordinate descent with no noise: what is left of the excess is small, so the optimum is where it says."""
    values = dict(start)
    first = landscape.excess_bpb(values)
    for _ in range(6):
        for name, (_, scale, unit) in landscape.AXES.items():
            near = [values[name] * 2 ** (unit * step / 8) for step in range(-16, 17)]
            if scale == landscape.LINEAR:
                near = [max(0.0, values[name] + unit * step / 8) for step in range(-16, 17)]
            values[name] = min(near, key=lambda value: landscape.excess_bpb(values | {name: value}))
        for name, kinds in landscape.KINDS.items():
            values[name] = min(kinds, key=lambda value: landscape.excess_bpb(values | {name: value}))
    assert 0 <= landscape.excess_bpb(values) < first / 20


def test_noise_is_normal_with_the_stated_sigma(landscape, start):
    draws = [landscape.noise_bpb(start, seed) / landscape.NOISE_SIGMA for seed in range(2000)]
    assert abs(statistics.mean(draws)) < 4 / math.sqrt(2000)
    assert abs(statistics.stdev(draws) - 1) < 4 / math.sqrt(4000)
    assert landscape.noise_bpb(start, 3) == draws[3] * landscape.NOISE_SIGMA
    assert landscape.noise_bpb(start | {"DEPTH": 5}, 3) != landscape.noise_bpb(start, 3)


def test_about_half_of_the_moves_in_one_direction_help(landscape, start):
    """The landscapes favour no direction, so a list of moves gets no gift from them."""
    better = [
        landscape.excess_bpb(start | {"LANDSCAPE": number, name: start[name] * 1.05})
        < landscape.excess_bpb(start | {"LANDSCAPE": number})
        for number in range(200)
        for name in ("MATRIX_LR", "SCALAR_LR", "ROPE_BASE", "SOFTCAP")
    ]
    assert 0.3 < statistics.mean(better) < 0.45  # half of the three in four that have an effect


def test_constants_that_it_does_not_know_or_get_change_nothing(landscape, start):
    assert landscape.excess_bpb(start | {"OTHER": 3, "ADAM_BETAS": (0.9, 0.9)}) == landscape.excess_bpb(start)
    assert landscape.excess_bpb({name: start[name] for name in landscape.KINDS}) == landscape.excess_bpb(start)


def test_a_learning_rate_far_too_large_falls_off_the_cliff(landscape, start):
    falls = [landscape.excess_bpb(start | {"LANDSCAPE": n, "MATRIX_LR": 40.0}) > 0.3 for n in range(40)]
    assert 0.5 < statistics.mean(falls) < 1.0  # everywhere but where the constant has no effect
