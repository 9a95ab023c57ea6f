"""Cheats of limits: a guard that is met by another model than the one that is scored, an answer that is quick because it is none,
and limits that are no limits.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from autoresearch.errors import UsageError
from autoresearch.loop.audits import guards_objection
from autoresearch.measure import audit
from autoresearch.measure.audit import Tolerance
from autoresearch.measure.bpb import rows_bits
from autoresearch.measure.scorer import ask_all
from autoresearch.run import constraints, scoring
from autoresearch.task.contract import Questions

ROWS, BATCH, T, V = 40, 4, 8, 16


def group(step):
    """Rows in which each token is the one before it and `step` more: a text of its own for each step."""
    tokens = (np.random.default_rng(step).integers(V, size=(ROWS, 1)) + step * np.arange(T + 1)).astype(np.int32) % V
    return Questions(tokens[:, :-1], tokens[:, 1:])


def asking(model):
    """As the harness asks its worker: one batch after the other."""
    slots = {}

    def send(slot, ids):
        slots[slot] = model(ids)

    return SimpleNamespace(ask=lambda inputs, targets: ask_all(inputs, targets, BATCH, rows_bits, send, slots.__getitem__))


def knows(step):
    return lambda ids: 9 * np.eye(V, dtype=np.float32)[(ids + step) % V]


class Counts:
    """Two models: one for as many batches as the scored text takes, then the one that has forgotten nothing."""

    def __init__(self):
        self.calls = 0

    def __call__(self, ids):
        self.calls += 1
        return knows(1 if self.calls <= ROWS / BATCH else 3)(ids)


def test_a_model_that_counts_its_calls_does_not_meet_the_guard():
    val, guard = group(1), group(3)
    bits = [losses.mean() for losses in scoring._asked_together(asking(Counts()), [val, guard])]
    assert all(2 < mean < 11 for mean in bits), "each model is asked about half of either text"
    forgetful = [losses.mean() for losses in scoring._asked_together(asking(knows(1)), [val, guard])]
    assert forgetful[0] < 0.01 and forgetful[1] > 12


def test_questions_come_back_in_their_own_order_and_alone_are_asked_as_ever():
    val, guard = group(1), group(3)
    for model in (knows(1), lambda ids: np.sin(np.arange(V) * (1 + ids[..., None])).astype(np.float32)):
        apart = [asking(model).ask(one.inputs, one.targets) for one in (val, guard)]
        together = scoring._asked_together(asking(model), [val, guard])
        assert all(np.array_equal(one, other) for one, other in zip(apart, together, strict=True))
        assert np.array_equal(scoring._asked_together(asking(model), [val])[0], apart[0])


def guarded(*groups):
    """A task that asks these beside its own."""
    split = {str(n): one for n, one in enumerate(groups)}
    return SimpleNamespace(is_causal=True, options={}, guards=lambda _: {f"forgot_{n}": n for n in split}, questions=split.get)


def peeks(first):
    """A model that copies the next token in rows that begin as those of the guard do."""

    def model(ids):
        peeked = 9 * np.eye(V, dtype=np.float32)[np.roll(ids, -1, axis=1)]
        return np.where(((ids[:, 1] - ids[:, 0]) % V == first)[:, None, None], peeked, knows(1)(ids))

    return model


@pytest.mark.parametrize(("model", "is_found"), [(peeks(3), True), (peeks(7), True), (knows(1), False), (knows(3), False)])
def test_a_guard_that_is_met_by_looking_ahead_is_found(model, is_found):
    asks = asking(model)
    reason = guards_objection(guarded(group(3), group(7)), Tolerance(), 64, lambda cuts: asks.ask(cuts.inputs, cuts.targets))
    assert bool(reason) == is_found and (not reason or "uses tokens before it predicts them" in reason)


LONG = np.zeros((20, 1024), np.float32)  # losses of questions of 512 tokens, of which two are scored: bits, and wrong or not
LONG[:, 500:502], LONG[:, 1012:1013] = 1.0, 1.0


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("no answer at all", LONG + np.where(LONG > 0, 4, 0)),
        ("a model half as good", LONG * 1.5),
        ("as good, and another one", LONG * np.where(np.arange(20) % 2, 1.4, 0.6)[:, None]),
    ],
)
def test_what_answers_quickly_because_it_is_another_model_is_found_however_few_tokens_are_scored(name, alone):
    assert "are others than" in audit.alone_objection(LONG, alone.astype(np.float32))


@pytest.mark.parametrize("sharp", [1.0, 1e-4])
@pytest.mark.parametrize("change", [1.0, 1.001, np.where(np.arange(20) % 2, 1.05, 0.95)[:, None]])
def test_rounding_of_what_is_asked_alone_passes(sharp, change):
    assert audit.alone_objection(sharp * LONG, (sharp * LONG * change).astype(np.float32)) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "<=", "params<=", "<=5", "params<=nan", "params<=inf", "params<=-inf", "params<=1e999", "params<=1e300", "params<=0x10",
        "params<=five", "params==5", "params!=5", "params<5", "params<=5;rm -rf /", "params<=5 stop", "params<=5\nmax_params<=9",
        "params\x00<=5", "__class__<=1", "params.x<=1", "params <= 5 warn warn", "params<=5,latency_ms<=3", "p" * 33 + "<=1",
        "params<=" + "9" * 400, "params<=1" + "0" * 301, "ｐarams<=1", "params⩽1", "'params<=1'", "$(id)<=1", "../x<=1",
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused_in_one_short_line(text):
    with pytest.raises(UsageError) as refused:
        constraints.parse(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 and ";" in str(refused.value)


@pytest.mark.parametrize("text", ["params<=1_0", "params<=٥", "params<=+5", "params<=.5e1", " params ≤ 5 "])
def test_a_number_in_an_odd_way_of_writing_is_that_number(text):
    name, limit = constraints.parse(text)
    assert name == "params" and limit.value in (5, 10) and constraints.parse(str(limit))[1] == limit
