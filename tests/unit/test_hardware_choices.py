"""Choices in a runtime's place: the variables, the profile's table, and what a probe offers."""

import pytest

from autoresearch import choices
from autoresearch.errors import UsageError
from autoresearch.hardware.facts import Facts


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch):
    for variable in choices.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_a_profiles_table_is_what_the_variables_say_back(monkeypatch):
    table = {"compile": False, "attention": "sdpa", "threads": 2}
    for variable, text in choices.variables(table).items():
        monkeypatch.setenv(variable, text)
    offers = {"compile": (True, False), "attention": ("blocks", "sdpa"), "threads": range(1, 9)}
    settled = {name: choices.settle(name, own[0], "its own", own) for name, own in offers.items()}
    assert {name: value for name, (value, _) in settled.items()} == table
    assert all(choices.VARIABLES[name] in reason for name, (_, reason) in settled.items())


def test_without_a_variable_the_runtime_chooses(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_COMPILE", " ")
    assert choices.settle("compile", True, "a compiler is there", (True, False)) == (True, "a compiler is there")


@pytest.mark.parametrize("text, value", [("1", True), ("on", True), ("TRUE", True), ("0", False), ("Off", False), ("false", False)])
def test_a_person_may_write_a_switch_in_several_ways(text, value, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_COMPILE", text)
    assert choices.settle("compile", not value, "", (True, False))[0] is value


@pytest.mark.parametrize(
    "name, text, offered, problem, cure",
    [
        ("compile", "maybe", (True, False), "AUTORESEARCH_COMPILE is 'maybe', and here is on or off only", "to on or off, or"),
        ("compile", "on", (False,), "AUTORESEARCH_COMPILE is 'on', and here is off only (why)", "to off, or remove it"),
        ("attention", "flex", ("blocks", "sdpa"), "is 'flex', and here is blocks or sdpa only", "to blocks or sdpa"),
        ("threads", "3", range(1, 3), "AUTORESEARCH_THREADS is '3', and here is 1 to 2 only", "to 1 to 2, or remove it"),
        ("threads", "0", range(1, 3), "is '0'", "1 to 2"),
        ("threads", "two", range(1, 2), "is 'two', and here is 1 only", "set it (or threads in the profile's [runtime]) to 1"),
    ],
)
def test_what_the_device_has_not_is_a_reason_and_a_cure(name, text, offered, problem, cure, monkeypatch):
    monkeypatch.setenv(choices.VARIABLES[name], text)
    with pytest.raises(UsageError) as error:
        choices.settle(name, offered[0], "why", offered)
    assert problem in error.value.problem and cure in error.value.cure


def test_what_somebody_has_asked_for_is_not_offered_again(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_THREADS", "1")
    left = choices.left(compile=(True, False), threads=(2, 1), attention=("sdpa",))
    assert left == {"compile": [True, False]}, "threads are settled, and of attention there is one"
    assert Facts.from_dict({"ok": True, "device": "d", "choices": left}).choices == left


@pytest.mark.parametrize("cores, counts", [(1, [1]), (2, [2, 1]), (4, [4, 3, 2]), (16, [16, 15, 8])])
def test_thread_counts_never_exceed_the_cores(cores, counts):
    assert choices.thread_counts(cores) == counts


@pytest.mark.parametrize("wrong", [{"depth": [1]}, {"compile": True}, {"threads": [1.5]}, []])
def test_a_probe_may_offer_choices_of_these_names_only(wrong):
    with pytest.raises(ValueError, match="'choices' must be a table of lists of values for compile, attention, threads"):
        Facts.from_dict({"ok": True, "device": "d", "choices": wrong})


def test_older_facts_offer_nothing():
    assert Facts.from_dict({"ok": True, "device": "d"}).choices == {}
