"""agents.space: what may be tried for a constant, by its annotation or inferred."""

import pytest

from autoresearch import constants
from autoresearch.agents.search import space


def axis(line: str, first=None):
    found = constants.read(line)
    (name,) = found
    return space.axes(found, {} if first is None else {name: first}).get(name)


def reachable(line: str) -> list:
    found = axis(line)
    return sorted({found.value(step / 200) for step in range(201)}) if found.ordered else list(found.values)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DEPTH = 4  # [2..6]", [2, 3, 4, 5, 6]),
        ("HEAD_DIM = 64  # [128, 32, 64]", [32, 64, 128]),
        ("TOTAL_BATCH_SIZE = 2**16  # [2**14..2**18 log]", [2**14, 2**15, 2**16, 2**17, 2**18]),
        ('PATTERN = "L"  # ["L", "SL"]', ["L", "SL"]),
        ("USE_BIAS = True", [False, True]),
        ("BATCH = 64", [16, 32, 64, 128, 256]),
        ("LAYERS = 3", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_values_that_may_be_tried(line, expected):
    assert reachable(line) == expected


@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        ("MATRIX_LR = 0.04  # [0.005..0.2 log]", 0.005, 0.2),
        ("MATRIX_LR = 0.04", 0.01, 0.16),
        ("WARMUP_RATIO = 0.0", 0.0, 1.0),
        ("SCALE = 8.0", 2.0, 32.0),
    ],
)
def test_the_range_of_a_float(line, low, high):
    values = reachable(line)
    assert (values[0], values[-1]) == (low, high)
    assert all(len(f"{value:g}".lstrip("0.").replace(".", "")) <= 3 for value in values)


@pytest.mark.parametrize("line", ['NAME = "x"', "BETAS = (0.9, 0.95)", "SHIFT = -0.5", "ZERO = 0", "SEED = 42", "A = 4  # [fixed]"])
def test_left_alone(line):
    assert axis(line) is None


def test_an_inferred_range_stays_where_the_first_value_put_it():
    assert axis("SCALE = 30.0", first=8.0).high == 32.0


def test_positions_are_ratios_on_a_log_axis_and_go_beyond_the_ends():
    found = axis("LR = 0.04  # [0.01..0.16 log]")
    assert found.position(0.04) == pytest.approx(0.5)
    assert found.position(0.64) == pytest.approx(1.5)
    assert found.value(1.5) == 0.16


@pytest.mark.parametrize(("line", "first", "low", "high"), [("X = 1", 0.5, 1, 2), ("X = 1", 0.2, 1, 2), ("X = 3", 2.0, 1, 4)])
def test_a_number_that_was_a_float_and_is_whole_now_has_a_range_of_its_own(line, first, low, high):
    """It had ended the search: a range of no width, or a fraction for a whole number."""
    found = axis(line, first)
    assert (found.low, found.high) == (low, high)
    assert {found.value(step / 50) for step in range(51)} == set(range(low, high + 1))


def test_choices_that_are_equal_as_numbers_have_a_position():
    assert axis("X = 1.0  # [1, 1.0]").position(1) == 0.5
