"""The energy of a training: the processors' counters on trees of Linux's form, and a card's readings. Measured, or not known."""

import pytest
from report_events import study

from autoresearch.hardware.devices import accelerator
from autoresearch.hardware.now.energy import Meter
from autoresearch.report.summary import summarise
from autoresearch.study.state import State

RANGE = 262_143_328_850  # microjoules, as a desktop's package has it


@pytest.fixture
def zones(tmp_path):
    """Sets a zone's counter: its folder's name, what it is of, microjoules."""

    def put(zone: str, name: str, microjoules: int) -> None:
        folder = tmp_path / "sys/class/powercap" / zone
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", RANGE)):
            (folder / file).write_text(f"{text}\n", encoding="ascii")

    return put


def test_packages_and_their_memory_are_added_up_and_a_part_is_not_counted_twice(tmp_path, zones):
    def put(joules: int) -> None:
        for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core"),
                           ("intel-rapl:0:1", "dram"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0")):  # fmt: skip
            zones(zone, name, 5_000_000 + joules * 1_000_000)

    put(0)
    meter = Meter(tmp_path)
    put(100)
    assert meter.look() == pytest.approx(300)
    put(150)
    assert meter.look() == pytest.approx(450)


def test_a_counter_that_begins_anew_goes_on(tmp_path, zones):
    zones("intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = Meter(tmp_path)
    zones("intel-rapl:0", "package-0", 2_000_000)
    assert meter.look() == pytest.approx(3)
    zones("intel-rapl:0", "package-0", 3_000_000)
    assert meter.look() == pytest.approx(4)


def test_what_can_not_be_read_is_not_known(tmp_path, zones):
    assert Meter(tmp_path).look() is None
    zones("intel-rapl:0", "package-0", 1)
    meter = Meter(tmp_path)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()  # as for who is not root
    assert meter.look() is None and Meter(tmp_path).look() is None
    zones("intel-rapl:0", "package-0", 5)
    assert meter.look() is None  # a part of it was not counted


WATTS = {"187.4": 187.4, "0": 0.0, "null": None, "-1": None, '"187"': None, "1e9": None}


@pytest.mark.parametrize(("watts", "known"), WATTS.items())
def test_what_a_device_draws_is_a_number_of_watts_or_not_known(watts, known):
    device = accelerator.parse(f'{{"throttled": false, "reason": "61 °C", "others": null, "watts": {watts}}}')
    assert (device.watts, device.throttled) == (known, False)


def test_a_study_adds_up_what_is_known_and_says_of_how_many_trainings(tmp_path):
    entries = study([0.78, 0.9])
    runs = [event for event in entries if event["event"] == "run"]
    for event, joules in zip(runs, (36_000.0, None, 18_000.0), strict=False):
        event["watched"] = {"state": None, "reason": None, "taken": 0.0, "device_throttled": None, "joules": joules}
    summary = summarise(State.from_events(entries))
    assert summary.energy_kwh == pytest.approx(0.015) and summary.energy_trainings == 2
    del runs[0]["watched"]["joules"], runs[2]["watched"]  # as older ledgers have it
    summary = summarise(State.from_events(entries))
    assert (summary.energy_kwh, summary.energy_trainings) == (None, 0)
