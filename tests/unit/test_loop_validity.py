"""What is normal on a machine, and which word the facts support: numbers in, words out."""

import pytest

from autoresearch.hardware.now.observer import Reading
from autoresearch.study import events
from autoresearch.study.validity import Reference, explain, wait_seconds


def speed(state, rate, place="before", clock_mhz=None, taken=None):
    unknown = {"median": None, "reason": None, "wait_seconds": None}
    return events.Speed(place=place, rate=rate, state=state, clock_mhz=clock_mhz, taken=taken, **unknown)


def learned(*rates, clock_mhz=None):
    reference = Reference()
    for rate in rates:
        reference.apply_speed(speed("steady", rate, clock_mhz=clock_mhz))
    return reference


def test_the_first_checks_are_compared_with_nothing():
    assert not learned(100.0, 100.0).is_off("before", Reading(1.0))
    assert learned(100.0, 100.0, 100.0).is_off("before", Reading(1.0))


def test_off_is_more_than_a_tenth_below_the_median_and_never_above_it():
    reference = learned(90.0, 100.0, 300.0)
    assert [reference.is_off("before", Reading(rate)) for rate in (90.5, 89.5, 900.0)] == [False, True, False]
    assert not reference.is_off("after", Reading(1.0))  # another place has its own median


def test_what_was_off_is_not_learned_before_it_is_normal():
    reference = learned(100.0, 100.0, 100.0)
    reference.apply_speed(speed("steady", 95.0, "after"))
    for _ in range(2):
        reference.apply_speed(speed("throttled", 50.0))
    assert reference.median("before") == 100.0
    reference.apply_speed(speed("helped", 10.0))
    reference.apply_speed(speed("normal", 52.0))
    assert reference.rates == {"before": [50.0, 50.0, 52.0], "after": []} and reference.off["before"] == []


def test_others_load_before_a_run_is_off_until_it_is_normal():
    reference = Reference()
    assert reference.is_off("before", Reading(100.0, taken=0.3)) and not reference.is_off("after", Reading(100.0, taken=0.3))
    assert explain(Reading(100.0, taken=0.3), "before", reference).state == "contended"
    reference.apply_speed(speed("normal", 100.0, taken=0.3))
    assert not reference.is_off("before", Reading(100.0, taken=0.35)) and reference.is_off("before", Reading(100.0, taken=0.5))
    reference.apply_speed(speed("normal", 100.0, taken=0.05))  # slow for another reason
    assert reference.taken == 0.3
    reference.apply_speed(speed("contended", 10.0, "after", taken=0.9))
    assert reference.off["after"] == []


def test_others_load_is_normal_after_it_counted_once_and_until_a_quieter_run():
    reference = Reference()
    runs = [(None, 0.05, 0.0), ("contended", 0.4, 0.4), (None, 0.45, 0.4), (None, None, 0.4), (None, 0.1, 0.1)]
    for state, taken, normal in runs:
        reference.apply_run(events.Watched(state=state, reason=None, taken=taken, device_throttled=None))
        assert reference.taken == normal


@pytest.mark.parametrize(
    "reading, state, words",
    [
        (Reading(70.0, taken=0.3, largest="ld", heat="hot", clock_mhz=1000), "contended", "usual speed: others take 30%"),
        (Reading(70.0, taken=0.3, helpers=0.5), "contended", "30% of the cores"),
        (Reading(70.0, taken=0.05, helpers=0.5), "helped", "beside our own agent's 50%"),
        (Reading(70.0, clock_mhz=2000.0), "throttled", "its clock is at 2000 MHz, usually 3000"),
        (Reading(70.0, clock_mhz=2900.0, heat="macOS limits the processor to 70 %"), "throttled", "macOS limits"),
        (Reading(70.0, on_battery=True), "throttled", "battery"),
        (Reading(70.0, taken=0.05, helpers=0.0, clock_mhz=2900.0, on_battery=False), "slow", "neither heat"),
        (Reading(70.0), "slow", "neither heat"),
    ],
)
def test_the_word_is_what_the_facts_support(reading, state, words):
    found = explain(reading, "before", learned(100.0, 100.0, 100.0, clock_mhz=3000.0))
    assert found.state == state and words in found.reason


def test_the_waits_double_up_to_a_limit():
    assert [wait_seconds(off) for off in range(1, 7)] == [10, 20, 40, 80, 160, 160]
