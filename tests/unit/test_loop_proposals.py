"""What is sent back without a training."""

import time

import pytest

from autoresearch.categories import category
from autoresearch.propose.proposals import objection, program_key
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State

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


COOKIES = "unicode_escape", "utf-7", "utf_16", "latin-1", "utf-8-sig", "rot13"


@pytest.mark.parametrize("cookie", COOKIES)
@pytest.mark.parametrize("form", ["# -*- coding: {} -*-\n", "#!/usr/bin/env python\n  # vim: set fileencoding={} :\n"])
def test_a_source_that_names_its_encoding_is_refused(state, cookie, form):
    text = form.format(cookie) + "X = 3  # \\u000aimport os\n"
    assert f"names the encoding {cookie}" in objection(text, state)
    assert objection(form.format("UTF-8") + "X = 3\n", state) is None
    assert objection("X = 4\nY = 1\n" + form.format(cookie), state) is None  # where Python does not look for one


HIDING = "\x00", "\x0c", "\x1a", "\x1b", "\x85", "\r", "\ufeff", "\u2028", "\u202e", "\u2066", "\x0b", "\x1c"


@pytest.mark.parametrize("letter", HIDING)
@pytest.mark.parametrize("text", ["{}X = 3\n", "X = 3  # {}Y = 4\n", "X = 3\ns = '''{}'''\n"])
def test_what_nobody_sees_in_a_source_is_refused(state, letter, text):
    reason = objection(text.format(letter), state)
    assert f"U+{ord(letter):04X}" in reason and "\n" not in reason and letter not in reason


def test_letters_of_all_languages_and_the_line_ends_of_windows_are_welcome(state):
    assert objection("# größer, 学習率, данные, שלום, 👍\r\nX = 'λ → ∞'\r\n", state) is None


LARGE = {
    "statements": "a\n" * 99_000, "constants": "A=1\n" * 49_000, "a dotted name": "import a" + ".\\\na" * 49_000,
    "dotted names": ("import a" + ".a" * 900 + "\n") * 100, "names": ("a," * 900 + "\n") * 100, "a line": "X = '" + "#" * 150_000,
    "comments": ("x = 1" + " #" * 900 + '"\n') * 100, "annotations": ("A = 1 # [" + "-" * 1900 + "1, 2]\n") * 100,
    "keywords": "f(" + "a=1,\n" * 30_000 + "b)", "attributes": "x = (a" + "\n.b" * 60_000 + ")", "no text": "\n" * 199_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_every_text_gets_an_answer_and_soon(state, name):
    """CPU time, of all that looks at a proposal in the harness. Without the bounds: up to 20 s."""
    started = time.process_time()
    objection(LARGE[name], state)
    category(BEST, LARGE[name])
    assert time.process_time() - started < 4
