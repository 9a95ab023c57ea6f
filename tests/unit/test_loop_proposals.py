"""What is sent back without a training."""

import pytest

from autoresearch.loop.proposals import objection, program_key
from autoresearch.loop.state import Experiment, State

BEST = "X = 1\n\n\ndef f():\n    return X\n"
OTHER = "X = 2\n"


def experiment(number, text, verdict):
    words = {"description": f"number {number}", "reasoning": "", "agent": "a", "cost_usd": 0.0, "started": ""}
    return Experiment(number, "c", None, "b", program_key(text), **words, verdict=verdict)


@pytest.fixture
def state():
    best, other = experiment(0, BEST, "keep"), experiment(1, OTHER, "crash")
    return State(experiments=[best, other], best=best, keys={best.key: 0, other.key: 1})


def test_a_new_program_is_welcome(state):
    assert objection("X = 3\n", state) is None
    assert objection("import re\nY = re.compile('\\d')\n", state) is None  # a careless escape warns and runs


@pytest.mark.parametrize("text", [BEST, BEST + "# a remark\n", BEST.replace("    return", "\treturn"), BEST.replace("1", "0x1")])
def test_comments_and_layout_make_no_new_program(state, text):
    assert "does not differ from the best" in objection(text, state)


def test_what_was_tried_is_named(state):
    assert objection("X = 2  # again", state) == "this program was tried before, as experiment 1 (crash): number 1"


NESTED = "(" * 900 + ")" * 900, "X = -" + "-" * 1900 + "1", "X = (a" + "\n.b" * 3000 + ")"


@pytest.mark.parametrize("text", ["def f(:\n", "X = '\udc80'\n", *NESTED])
def test_what_is_no_program_is_refused_in_one_line(state, text):
    reason = objection(text, state)
    assert reason.startswith("train.py does not parse: ") and "\n" not in reason


def test_an_annotation_that_no_search_can_read_is_sent_back_before_it_costs_a_training(state):
    assert "train.py line 1" in objection("X = 3  # see [1..]\n", state)


def test_what_failed_before_its_training_is_not_started_again_and_a_huge_text_never(state):
    state.rejected_keys[program_key("X = 4\n")] = "MemoryError: no room"
    assert objection("X = 4  # again\n", state).endswith("failed before its training: MemoryError: no room")
    assert "200,000 are allowed" in objection("X = '" + "a" * 200_000 + "'\n", state)
