"""How many workers a machine has room for: cards of one kind, what a person or Slurm has taken, shares of cores; refusals."""

import json
import os
from dataclasses import replace

import pytest
from test_hardware_cards import card

from autoresearch.errors import UsageError
from autoresearch.hardware import cores, slots
from autoresearch.hardware.devices import cards, registry

CARDS = [card(0), card(1), card(2, "NVIDIA GeForce RTX 3060", 12, 12), card(3)]


@pytest.fixture
def null(monkeypatch):
    """The null backend as it plays devices, the study's own picked."""

    def plays(*devices):
        monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps(devices))
        return cards.pick(registry.scan()["null"])

    monkeypatch.delenv("AUTORESEARCH_NULL_DEVICE", raising=False)
    return plays


def test_a_card_of_the_studys_kind_each_the_studys_own_first(null):
    backend = cards.pick(null(*CARDS), wanted="1")
    found = slots.of(backend, None, None)
    assert [slot.variables for slot in found.all] == [{"AUTORESEARCH_NULL_DEVICE": number} for number in ("1", "0", "3")]
    assert [slot.device_id for slot in found.all] == ["GPU-1", "GPU-0", "GPU-3"]
    assert found.reason.startswith("3, one a device") and "left out: 2 NVIDIA GeForce RTX 3060" in found.reason
    assert len(slots.of(backend, None, 2).all) == 2
    with pytest.raises(UsageError, match=r"--workers 4: there are 3 devices .*RTX 4090; .*; give 3 or less"):
        slots.of(backend, None, 4)


def test_a_card_of_the_same_name_with_other_memory_is_of_another_kind(null):
    found = slots.of(cards.pick(null(card(0), card(1, total=48), card(2)), wanted="0"), None, None)
    assert [slot.device_id for slot in found.all] == ["GPU-0", "GPU-2"] and "left out: 1 " in found.reason


def with_selector(backend, **changes):
    return replace(backend, selector=replace(backend.selector, **changes))


def test_what_makes_an_index_mean_the_same_to_all_is_set_for_each(null):
    found = slots.of(with_selector(null(card(0), card(1)), fixed={"ORDER": "1"}), None, None)
    assert [slot.variables for slot in found.all] == [{"ORDER": "1", "AUTORESEARCH_NULL_DEVICE": number} for number in ("0", "1")]


def test_devices_that_are_taken_by_hand_have_a_worker_each(null, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICE", "1, 3")
    backend = registry.scan()["null"]
    found = slots.of(backend, None, None)
    assert [slot.variables["AUTORESEARCH_NULL_DEVICE"] for slot in found.all] == ["1", "3"]
    assert [slot.variables["AUTORESEARCH_NULL_DEVICE"] for slot in slots.of(backend, None, 1).all] == ["1"]
    with pytest.raises(UsageError, match="has 2; give 2 or less"):
        slots.of(backend, None, 3)
    monkeypatch.setenv("OTHERS", "1")  # which takes devices too: nobody knows which of them these are
    assert len(slots.of(with_selector(backend, also=("OTHERS",)), None, None).all) == 1


def test_a_backend_with_one_device_has_one_worker():
    backend = registry.scan()["mps"]
    assert len(slots.of(backend, None, None).all) == len(slots.of(backend, None, 1).all) == 1
    with pytest.raises(UsageError, match="the backend mps has one device; leave --workers out"):
        slots.of(backend, None, 2)


def test_a_study_that_has_all_cores_shares_none():
    with pytest.raises(UsageError, match="in a new study"):
        slots.of(registry.scan()["cpu"], None, 2)


def test_a_study_that_shares_the_cores_has_as_many_workers_as_there_are_shares(monkeypatch):
    found = [frozenset({2 * n, 2 * n + 1}) for n in range(4)]
    monkeypatch.setattr(slots, "shares", lambda per_run: found)
    backend = registry.scan()["cpu"]
    assert [slot.processors for slot in slots.of(backend, 2, None).all] == found
    assert [slot.processors for slot in slots.of(backend, 2, 3).all] == found[:3]
    with pytest.raises(UsageError, match="with 2 cores each there is room for 4; give 4 or less"):
        slots.of(backend, 2, 5)


def test_the_simulated_backend_has_room_for_any_number_but_not_for_a_slip_of_the_finger(null):
    backend = null()
    assert len(slots.of(backend, None, 8).all) == 8 and len(slots.of(backend, None, None).all) == 1
    for count in (0, slots.MOST + 1):
        with pytest.raises(UsageError, match=f"1 to {slots.MOST}"):
            slots.of(backend, None, count)


def siblings(*pairs):
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": pair for n, pair in enumerate(pairs)}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A Linux of so many processors, each with the text of its siblings, and maybe a control group's quota."""

    def made(pairs):
        for name, text in siblings(*pairs).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(len(pairs))), raising=False)
        return tmp_path

    return made


def test_shares_are_whole_cores(machine):
    root = machine(["0,4", "1,5", "2,6", "3,7"] * 2)
    assert slots.shares(1, root) == [{0, 4}, {1, 5}, {2, 6}, {3, 7}]
    assert slots.shares(2, root) == [{0, 1, 4, 5}, {2, 3, 6, 7}]
    assert slots.shares(3, root) == [{0, 1, 2, 4, 5, 6}]


def test_a_quota_gives_no_more_shares_than_it_has_cores(machine, monkeypatch):
    root = machine([str(n) for n in range(8)])
    monkeypatch.setattr(cores, "cgroup_quota", lambda root: 3.5)
    assert slots.shares(1, root) == [{0}, {1}, {2}]


@pytest.mark.skipif(not slots.can_bind(), reason="this system binds nothing to cores")
def test_what_is_bound_is_bound_and_free_again():
    before = os.sched_getaffinity(0)
    one = frozenset([min(before)])
    with slots.bound(one):
        assert os.sched_getaffinity(0) == one and cores.usable() == 1
    assert os.sched_getaffinity(0) == before
    with slots.bound(frozenset()):
        assert os.sched_getaffinity(0) == before


def test_a_system_that_binds_nothing_says_so(monkeypatch):
    monkeypatch.setattr(slots, "can_bind", lambda: False)
    with pytest.raises(UsageError, match="leave --workers out"):
        slots.shares(1)
