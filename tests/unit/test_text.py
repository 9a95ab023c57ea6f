"""Text of others at the edges: what moves a cursor, hides or reorders writing stops there, and letters of all languages pass."""

import pytest

from autoresearch.text import harmless, harmless_table, one_line, unified_diff, without_colours

LETTERS = "größer, λ → 0.06, данные, 学習率, שָׁלוֹם, नमस्ते, ไทย, é, 𝛼, 👍"
NASTY = "\x00\x07\x08\x0b\x0c\x1a\x1b\x7f\x85\x9b\xad\u061c\u200b\u200f\u2028\u202e\u2066\u2069\ufeff\ufe0f\u3164\U000e0041\udc80"


def test_letters_of_all_languages_stay():
    assert harmless(LETTERS) == one_line(LETTERS) == LETTERS


@pytest.mark.parametrize("letter", NASTY)
def test_what_is_not_seen_or_moves_something_goes(letter):
    for shown in (harmless(f"a{letter}b"), one_line(f"a{letter}b"), harmless(f"a{letter}b", stand_in="\ufffd")):
        assert letter not in shown and shown[0] == "a" and shown[-1] == "b" and len(shown) <= 3


def test_lines_stay_where_lines_are_wanted_and_nothing_overwrites_one():
    assert harmless("10 %\r20 %\r\nline\tcell\n") == "10 %\n20 %\nline\tcell\n"
    assert one_line("a\r\n\tb\u2028c") == "a b c"
    assert without_colours("\x1b[1;31mError\x1b[0m: no") == "Error: no"


def test_a_stack_of_marks_over_a_letter_is_cut_and_so_is_a_text_without_an_end():
    assert len(harmless("a" + "\u0301" * 500 + "b")) < 10
    assert harmless("x" * 30_000_000, 100) == "x" * 100 + "\n… (29,999,900 characters more)"
    assert one_line(" " * 30_000_000 + "x") == "…"
    assert harmless_table({"a\x1b": ["\x1b[2J", 1, None, {"b": "\u202e"}]}) == {"a ": [" [2J", 1, None, {"b": " "}]}


def test_a_diff_is_that_of_difflib_and_is_bounded():
    import difflib

    old = "".join(f"line {number}\n" for number in range(300))
    new = old.replace("line 100\n", "another\n").replace("line 200\n", "").replace("line 3\n", "line 3\nmore\n")
    expected = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a", "b"))
    assert unified_diff(old, new, "a", "b") == expected and unified_diff(old, old, "a", "b") == ""
    many = ["".join(f"{(number * step) % 97}\n" for number in range(50_000)) for step in (1, 7)]
    patch = unified_diff("first\n" + many[0], "first\n" + many[1], "a", "b")  # seconds to minutes by difflib
    assert patch.count("\n-") > 49_000 and "first" not in patch
