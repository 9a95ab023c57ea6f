"""Choices in a runtime's place: the variables, the profile's table, and what a probe offers."""

import pytest

from autoresearch import choices
from autoresearch.errors import UsageError
from autoresearch.hardware.devices.facts import Facts


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch):
    for variable in choices.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_a_profiles_table_is_what_the_variables_say_back(monkeypatch):
    table = {"dtype": "bfloat16", "compile": False, "attention": "sdpa", "threads": 2}
    for variable, text in choices.variables(table).items():
        monkeypatch.setenv(variable, text)
    offers = {"dtype": choices.DTYPES, "compile": (True, False), "attention": ("blocks", "sdpa"), "threads": range(1, 9)}
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
    with pytest.raises(ValueError, match="choices must be a table of lists of values for dtype, compile, attention, threads"):
        Facts.from_dict({"ok": True, "device": "d", "choices": wrong})


def test_older_facts_offer_nothing():
    assert Facts.from_dict({"ok": True, "device": "d"}).choices == {}


# The dtype, by the clock. The figures are of processors and cards that were measured: FLOP/s of products.


@pytest.mark.parametrize(
    "machine, flops, chosen, close",
    [
        ("a Xeon with AVX512-BF16 and no AMX", {"float32": 0.21e12, "bfloat16": 0.11e12}, "float32", ("float32", "bfloat16")),
        ("an EPYC with AVX512-BF16 and no AMX", {"float32": 0.19e12, "bfloat16": 0.43e12}, "bfloat16", ("bfloat16",)),
        ("a Xeon with AMX", {"float32": 0.35e12, "bfloat16": 3e12}, "bfloat16", ("bfloat16",)),
        ("the EPYC, float16 too", {"float32": 0.19e12, "bfloat16": 0.43e12, "float16": 0.5e9}, "bfloat16", ("bfloat16",)),
        ("half precision alike", {"float32": 50e12, "bfloat16": 700e12, "float16": 720e12}, "bfloat16", ("bfloat16", "float16")),
        ("emulated bfloat16", {"float32": 7e12, "bfloat16": 6e12, "float16": 40e12}, "float16", ("float16",)),
        ("one kind only", {"float32": 1e12}, "float32", ("float32",)),
    ],
)
def test_the_dtype_is_the_one_with_the_fastest_products(machine, flops, chosen, close):
    found, reason, left = choices.by_products(flops)
    assert (found, left) == (chosen, close), machine
    assert reason.startswith(f"products measured here: {chosen} ") and all(name in reason for name in flops)


def product_of(speeds: dict[str, float], now: list[float], calls: list[str]):
    """A device with planted speeds, whose clock is `now`."""

    def product(name: str, size: int):
        if name not in speeds:
            raise RuntimeError(f"no {name} here")

        def multiply() -> None:
            calls.append(name)
            now[0] += 32 * size**3 / speeds[name]

        return multiply

    return product


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(choices.time, "perf_counter", lambda: now[0])
    return now


def test_products_are_timed_in_turn_and_what_fails_or_is_hopeless_is_not_waited_for(clock):
    calls = []
    product = product_of({"float32": 2e11, "float16": 5e8}, clock, calls)
    found = choices.measured_products(choices.DTYPES, product, 256)
    assert found == pytest.approx({"float32": 2e11, "float16": 5e8})
    assert clock[0] < 0.5, "an emulated float16 takes a second for a product of this size"
    assert choices.settle_dtype("float32", choices.DTYPES, product, 256)[0] == "float32"


def test_a_dtype_that_is_slow_at_its_first_products_only_is_no_hopeless_one(clock):
    """An H200 that four other processes used was asked to compute in float32: its first bfloat16 products had waited for them."""
    quick, calls = product_of({"float32": 5e13, "bfloat16": 6e14}, clock, []), []

    def product(name: str, size: int):
        multiply = quick(name, size)

        def disturbed() -> None:
            calls.append(name)
            clock[0] += 0.05 if name == "bfloat16" and calls.count(name) <= 5 else 0
            multiply()

        return disturbed

    assert choices.settle_dtype("bfloat16", choices.DTYPES, product, 1024)[0] == "bfloat16"


def test_a_device_that_multiplies_nothing_keeps_what_is_said_of_it(clock):
    found = choices.settle_dtype("bfloat16", choices.DTYPES, product_of({}, clock, []), 256)
    assert found == ("bfloat16", "no product could be timed", ("bfloat16",))


def test_a_dtype_that_is_asked_for_is_not_measured(clock, monkeypatch):
    calls = []
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float16")
    found = choices.settle_dtype("float32", choices.DTYPES, product_of({"float32": 1e12}, clock, calls), 256)
    assert found == ("float16", "the profile's [runtime] or AUTORESEARCH_DTYPE asks for it", ("float16",)) and not calls
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float8")
    with pytest.raises(UsageError, match="AUTORESEARCH_DTYPE is 'float8', and here is float32 or bfloat16 or float16 only"):
        choices.settle_dtype("float32", choices.DTYPES, product_of({}, clock, calls), 256)


@pytest.mark.parametrize(
    "runtime, dtype, environment, expected",
    [
        ({}, "bfloat16", {}, {"AUTORESEARCH_DTYPE": "bfloat16"}),
        ({"threads": 1}, "bfloat16", {}, {"AUTORESEARCH_THREADS": "1", "AUTORESEARCH_DTYPE": "bfloat16"}),
        ({"dtype": "float32"}, "bfloat16", {}, {"AUTORESEARCH_DTYPE": "float32"}),
        ({}, "bfloat16", {"AUTORESEARCH_DTYPE": "float32"}, {}),  # what a person asks for reaches the worker, or is refused
        ({}, None, {}, {}),
        ({}, "fixed point", {}, {}),  # a plug-in's own kind
    ],
)
def test_every_process_of_a_study_computes_in_the_dtype_that_the_probe_found(runtime, dtype, environment, expected, monkeypatch):
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert choices.settled(runtime, dtype) == expected
