"""A score by its metric's own name: what a person and a program are told of it, and that pretraining's words stay as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch.metric import VAL_BPB, Metric

ACCURACY = Metric("accuracy", "", "max", data="data", pieces="rows")
SECONDS = Metric("seconds", "s", data="data", pieces="runs")
RECORD = {
    "number": 3,
    "val_bpb": -0.9,
    "scores": [-0.9, -0.8],
    "tests": {1: -0.7, 2: None},
    "runs": [{"val_bpb": None}],
    "seconds": 4,
}


@given(st.floats(-1e5, 1e5))
def test_val_bpb_is_printed_with_six_digits_as_ever(score):
    assert VAL_BPB.text(score) == VAL_BPB.amount(score) == f"{score:.6f}"
    assert VAL_BPB.text(score, 4) == f"{score:.4f}" and VAL_BPB.change(score, 4) == f"{score:+.4f}"


def test_val_bpb_keeps_the_keys_that_programs_know():
    table = RECORD | {"gain_slice_val_bpb": 0.1, "test_bpb_difference": 0.2, "bpb": 1.0, "best_val_bpb": 2.0}
    assert VAL_BPB.told(table) == table and VAL_BPB.facts == {}


def test_a_max_metric_is_turned_round_where_it_is_shown():
    assert (ACCURACY.text(-0.9), ACCURACY.text(0.0), ACCURACY.text(None)) == ("0.900000", "0.000000", "n/a")
    assert (ACCURACY.change(-0.01, 4), ACCURACY.change(0.01, 4)) == ("+0.0100", "-0.0100")
    assert ACCURACY.amount(0.01, 0.002) == "0.010000 +- 0.002000"  # a gain is above 0 where it is one
    assert ACCURACY.share(0.1, -0.5) == " (20.00 %)" and ACCURACY.share(0.1, 0.0) == ""


def test_a_table_for_programs_has_the_metrics_name_and_direction():
    told = ACCURACY.told(RECORD)
    assert told == {
        "number": 3, "accuracy": 0.9, "scores": [0.9, 0.8], "tests": {1: 0.7, 2: None}, "runs": [{"accuracy": None}], "seconds": 4
    }  # fmt: skip
    gains = {"gain_bpb": 0.1, "gain_error_bpb": 0.2, "gain_slice_val_bpb": 0.3, "best_val_bpb": -1.0, "baseline_test_bpb": -2.0}
    expected = {"gain": 0.1, "gain_error": 0.2, "gain_slice_val": 0.3, "best_accuracy": 1.0, "baseline_test_accuracy": 2.0}
    assert ACCURACY.told(gains) == expected


def test_a_metric_that_is_called_as_a_column_of_ours_takes_no_column_away():
    assert SECONDS.told({"val_bpb": 2.5, "seconds": 4}) == {"val_seconds": 2.5, "seconds": 4
}  # fmt: skip


@pytest.mark.parametrize(
    ("score", "text"), [(1234567.8, "1234567.8"), (1.2345678e-6, "1.23457e-06"), (-250_000.0, "-250000.0"), (12.5, "12.500000")]
)
def test_a_score_of_any_size_can_be_read(score, text):
    assert SECONDS.text(score) == text


def test_small_gains_are_not_printed_as_nothing():
    assert SECONDS.amount(1.5e-8) == "1.5e-08" and SECONDS.amount(0.0) == "0.000000"
