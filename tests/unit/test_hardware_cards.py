"""One device of several: which is taken and why, from lists in the form of nvidia-smi and of Linux's /sys."""

import importlib
import json
import sys
from dataclasses import replace

import pytest

from autoresearch.errors import UsageError
from autoresearch.hardware.devices import accelerator, cards, detect, registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Card
from autoresearch.paths import shipped

GIB = 2**30


def card(index, name="NVIDIA GeForce RTX 4090", total=24, free=23.1, busy=0.0, display=False):
    return {
        "index": index, "id": f"GPU-{index}", "name": name, "memory_bytes": total * GIB, "free_bytes": int(free * GIB),
        "busy": busy, "display": display,
    }  # fmt: skip


DESKTOP = card(0, free=1.2, busy=0.98, display=True)
IDLE = card(1)


@pytest.fixture
def null(monkeypatch):
    def plays(*devices):
        monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps(devices))
        return registry.scan()["null"]

    monkeypatch.delenv("AUTORESEARCH_NULL_DEVICE", raising=False)
    return plays


@pytest.mark.parametrize(
    ("devices", "taken"),
    [
        ([DESKTOP, IDLE], 1),
        ([card(0, display=True), card(1)], 1),
        ([card(0), card(1)], 0),
        ([card(0, display=True), card(1, "NVIDIA GeForce GT 1030", 2, 2)], 0),  # a desktop costs less than a small card
        ([card(0, busy=0.9), card(1, "NVIDIA GeForce GT 1030", 2, 2)], 0),
        ([card(0, busy=0.9), card(1, "NVIDIA GeForce RTX 3060", 12, 12)], 1),
        ([card(0, "NVIDIA GeForce RTX 3060", 12, 12), card(1)], 1),
        ([card(0, free=5), card(1, free=6, display=True)], 0),  # none is free: the choice is as if all were
    ],
)
def test_one_that_is_free_is_taken(devices, taken):
    assert cards.free([Card(**one) for one in devices]).index == taken


def test_the_choice_is_said_with_what_speaks_against_the_others(null):
    picked = cards.pick(null(DESKTOP, IDLE))
    assert picked.card_reason == (
        "device 1 of 2 (NVIDIA GeForce RTX 4090): 23.1 GB free; device 0: 1.2 GB free, 98% busy, draws a desktop"
    )
    assert picked.selected == {"AUTORESEARCH_NULL_DEVICE": "1"} and picked.variables["AUTORESEARCH_NULL_DEVICE"] == "1"
    asked = cards.pick(null(DESKTOP, IDLE), "0").card_reason
    assert asked.endswith("asked for; 1.2 GB free, 98% busy, draws a desktop")


@pytest.mark.parametrize(("wanted", "index"), [("1", 1), ("3060", 1), ("rtx 4090", 0), ("A6000", 2), ("0", 0), ("4090", 0)])
def test_a_device_is_named_by_its_number_or_a_part_of_its_name(null, wanted, index):
    backend = null(card(0), card(1, "NVIDIA GeForce RTX 3060"), card(2, "NVIDIA RTX A6000"))
    assert cards.pick(backend, wanted).card.index == index


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("9", "there is no device '9' (there are: 0 NVIDIA GeForce RTX 4090, 1 NVIDIA GeForce RTX 4090); name one"),
        ("radeon", "there is no device 'radeon' (there are: 0 NVIDIA"),
        ("geforce", "--device 'geforce' fits 2 devices"),
    ],
)
def test_a_wrong_one_is_told_what_there_is(null, wanted, words):
    with pytest.raises(UsageError) as error:
        cards.pick(null(DESKTOP, IDLE), wanted)
    assert words in str(error.value)


def test_what_was_set_by_hand_holds_and_is_said(null, monkeypatch):
    backend = null(DESKTOP, IDLE)
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICE", "0")
    picked = cards.pick(backend)
    assert picked.card_reason == "as AUTORESEARCH_NULL_DEVICE=0 says, which was set by hand"
    assert picked.selected == {} and picked.card is None
    with pytest.raises(UsageError, match="AUTORESEARCH_NULL_DEVICE=0 chooses the device already; unset that"):
        cards.pick(backend, "1")


def test_a_single_device_is_known_and_nothing_is_set(null):
    picked = cards.pick(null(DESKTOP))
    assert picked.card.id == "GPU-0" and picked.selected == {} and "draws a desktop" in picked.card_reason


def test_a_study_goes_on_where_it_began_and_is_told_where_that_is_gone(null):
    moved = null(IDLE | {"index": 0}, DESKTOP | {"index": 1})
    assert cards.pick(moved, known="GPU-0").card.index == 1
    with pytest.raises(
        UsageError, match=r"began on \(GPU-9\) is not in this computer \(there are: 0 NVIDIA .*put it back, or name"
    ):
        cards.pick(moved, known="GPU-9")
    assert cards.pick(moved, "0", known="GPU-9").card.id == "GPU-1"


def test_a_list_that_breaks_the_contract_is_none_and_is_said(null, monkeypatch):
    backend = null()
    assert cards.listed(backend) == ([], None)
    for text in ("no JSON", "{}", '[{"index": -1, "id": "a", "name": "b"}]', '[{"index": 0}]', "[1]"):
        monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", text)
        assert cards.listed(backend)[0] == []
        assert "the first that is found; the backend's devices.py gave an unusable answer (" in cards.pick(backend).card_reason
        with pytest.raises(UsageError, match=r"null can't be listed: .*unusable answer.*; leave --device out"):
            cards.pick(backend, "0")


def test_a_list_or_a_number_in_a_variable_that_is_none_is_the_backends_reason(null, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", "[{")
    with pytest.raises(UsageError, match=r"AUTORESEARCH_NULL_DEVICES is no JSON list of devices; to do: mend it, or unset it"):
        detect.detect("null")
    null(IDLE)
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICE", "x")
    with pytest.raises(
        UsageError, match=r"plays no device x \(with AUTORESEARCH_NULL_DEVICE=x, which was set by hand\); to do: set "
    ):
        detect.detect("null")


def test_the_probe_sees_the_device_that_was_picked(null):
    backends, facts = detect.survey({"null": null(DESKTOP | {"name": "slow"}, IDLE | {"name": "quick"})})
    assert (facts["null"].device, facts["null"].device_id) == ("quick", "GPU-1")
    assert backends["null"].card.index == 1


def test_where_the_runtime_finds_nothing_by_that_number_the_first_is_taken_and_said(tmp_path):
    """devices.py may count a device that the runtime does not know."""
    (tmp_path / "runtime.py").write_text(
        "import json, os\n"
        "there = os.environ.get('CARD', '0') == '0'\n"
        "print(json.dumps({'ok': True, 'device': 'x'} if there else {'ok': False, 'reason': 'it finds no device'}))\n"
    )
    (tmp_path / "train.py").touch()
    (tmp_path / "devices.py").write_text(f"print('''{json.dumps([DESKTOP, IDLE])}''')")
    (tmp_path / "backend.toml").write_text(
        'title = "B"\nrank = 1\nauto = true\ntrain = "train.py"\n[devices]\nvariable = "CARD"\n[sandbox]\nvariables = ["CARD"]\n'
    )
    backend = registry.read("b", tmp_path)
    backends, facts = detect.survey({"b": backend})
    assert facts["b"].ok and facts["b"].device_id is None and backends["b"].selected == {}
    assert backends["b"].card_reason == "the first that is found; with CARD=1 it finds no device"
    assert detect.survey({"b": backend}, device="1")[1]["b"].reason == "it finds no device"


def test_what_is_asked_of_the_device_now_is_asked_of_the_one_that_was_picked(tmp_path, null):
    (tmp_path / "conditions.py").write_text(
        'import os\nprint(\'{"throttled": null, "reason": "card %s"}\' % os.environ.get(\'AUTORESEARCH_NULL_DEVICE\'))'
    )
    picked = replace(cards.pick(null(DESKTOP, IDLE)), folder=tmp_path)
    assert accelerator.ask(picked).answer(30.0).reason == "card 1"


def test_a_backend_that_has_not_the_device_leaves_the_place_to_one_that_has(null, monkeypatch):
    backends = {"null": null(DESKTOP, IDLE), "cpu": registry.scan()["cpu"]}
    monkeypatch.setattr(detect, "why_not_asked", lambda backend: None)
    monkeypatch.setattr(detect, "ask", lambda backend, *others: Facts(ok=True, device=backend.name))
    _, facts = detect.survey(backends, device="1")
    assert facts["null"].ok and facts["cpu"].reason == "the backend cpu has one device and none to choose"
    with pytest.raises(UsageError, match="there is no device '9' "):
        detect.survey(backends, device="9")


def test_a_selecting_variable_that_a_cell_would_not_see_is_the_backends_problem(tmp_path):
    for name in ("runtime.py", "train.py"):
        (tmp_path / name).touch()
    (tmp_path / "backend.toml").write_text('title = "B"\nrank = 1\nauto = true\ntrain = "train.py"\n[devices]\nvariable = "CARD"\n')
    assert "CARD is not in [sandbox] variables" in registry.read("b", tmp_path).problem


# The backends' own lists


@pytest.fixture
def module(monkeypatch):
    """module(backend, name): devices.py or conditions.py of a backend."""
    names = ("devices", "conditions")

    def load(backend, name):
        monkeypatch.syspath_prepend(shipped("backends") / backend)
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)


def write(root, **files):
    """Files of /sys: their paths and what they hold."""
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n", encoding="utf-8")


def test_nvidia_smi_lists_cards(module):
    """Two Quadro RTX 4000: akash-network/provider-configs#12. Two RTX 5090 in use: noonghunna/club-3090#1229."""
    parse = module("cuda", "devices").parse
    quadros = (
        "0, GPU-c7b57be0-94ff-d352-a59b-d0ee00aeed43, Quadro RTX 4000, 8192, 8191, 0, Disabled, 7.5, [N/A]\n"
        "1, GPU-d6de6afc-bdfe-75c4-5273-0544439153fc, Quadro RTX 4000, 8192, 8191, 0, Disabled, 7.5, [N/A]\n"
    )
    found = [Card(**one) for one in parse(quadros)]
    assert [one.id[:12] for one in found] == ["GPU-c7b57be0", "GPU-d6de6afc"]
    assert found[1].memory_bytes == 8192 * 2**20 and found[1].free_bytes == 8191 * 2**20 and found[1].display is False
    busy = (
        "0, GPU-a, NVIDIA GeForce RTX 5090, 32607, 3283, 0, Disabled, 12.0, [N/A]\n"
        "1, GPU-b, NVIDIA GeForce RTX 5090, 32607, 2250, 2, Enabled, 12.0, [N/A]\n"
    )
    assert cards.free([Card(**one) for one in parse(busy)]).index == 0
    mixed = (
        "0, GPU-a, NVIDIA GeForce RTX 3090, 24576, 24000, 0, Disabled, 8.6, [N/A]\n"
        "1, GPU-b, NVIDIA GeForce RTX 4090, 24564, 24000, 0, Disabled, 8.9, [N/A]\n"
    )
    assert cards.free([Card(**one) for one in parse(mixed)]).index == 1  # as CUDA's own order, the faster first
    assert parse("0, GPU-a, NVIDIA H100 80GB HBM3, 81559, 81000, [N/A], Disabled, 9.0, Enabled\n") == []  # parted by MIG
    (unknown,) = parse("0, GPU-a, Orin (nvgpu), [N/A], [N/A], [N/A], [N/A], 8.7, [N/A]\n")
    assert Card(**unknown).memory_bytes is None and Card(**unknown).display is None
    assert parse(None) == [] == parse("No devices were found\n")


def test_nvidia_smi_tells_heat_clock_and_power(module):
    conditions = module("cuda", "conditions")
    answer = "0x0000000000000020, 83, 1980, 318.44\n"
    assert conditions.parse_slowdown(answer) == (True, "software thermal slowdown")
    assert conditions.parse_state(answer) == (83, 1980, 318.44)
    assert conditions.parse_state("0x0000000000000000, 41, [N/A], [N/A]\n") == (41, None, None)
    assert conditions.parse_state("[N/A]\n") == conditions.parse_state(None) == (None, None, None)


def amd(root):
    """Two RX 7900 XTX beside a processor: rocminfo's figures in ollama/ollama#3158 (192 SIMDs, 2526 MHz, BDFID 2304, gfx1100);
    sensors in the form of the kernel's Documentation/gpu/amdgpu/thermal.rst."""
    nodes, bus = "sys/class/kfd/kfd/topology/nodes", "sys/bus/pci/devices"
    gpu = "cpu_cores_count 0\nsimd_count 192\ngfx_target_version 110000\nmax_engine_clk_fcompute 2526\ndomain 0\nlocation_id "
    write(root, **{
        f"{nodes}/0/properties": "cpu_cores_count 32\nsimd_count 0\nlocation_id 0",
        f"{nodes}/1/properties": gpu + "768", f"{nodes}/1/gpu_id": "51234",
        f"{nodes}/2/properties": gpu + "2304", f"{nodes}/2/gpu_id": "4711",
        f"{bus}/0000:03:00.0/mem_info_vram_total": 25753026560, f"{bus}/0000:03:00.0/mem_info_vram_used": 24000000000,
        f"{bus}/0000:03:00.0/gpu_busy_percent": 99, f"{bus}/0000:03:00.0/drm/card0/card0-DP-1/enabled": "enabled",
        f"{bus}/0000:09:00.0/mem_info_vram_total": 25753026560, f"{bus}/0000:09:00.0/mem_info_vram_used": 27127808,
        f"{bus}/0000:09:00.0/gpu_busy_percent": 0, f"{bus}/0000:09:00.0/drm/card1/card1-DP-4/enabled": "disabled",
        f"{bus}/0000:09:00.0/unique_id": "398a3f843a146602",
        f"{bus}/0000:09:00.0/vendor": "0x1002", f"{bus}/0000:09:00.0/device": "0x744c",
        "usr/share/hwdata/pci.ids": "1001  Kolter\n1002  AMD\n\t744b  Other\n\t744c  Navi 31 [Radeon RX 7900 XTX]\n1003  ULSI",
    })  # fmt: skip


def test_sysfs_lists_amd_gpus(module, tmp_path):
    amd(tmp_path)
    first, second = (Card(**one) for one in module("rocm", "devices").listed(tmp_path))
    assert (first.index, first.id, first.name, first.busy, first.display) == (0, "0000:03:00.0", "AMD GPU (gfx1100)", 0.99, True)
    assert (second.index, second.id, second.display) == (1, "398a3f843a146602", False)
    assert second.name == "Navi 31 [Radeon RX 7900 XTX] (gfx1100)" and second.free_bytes == 25753026560 - 27127808
    assert cards.free([first, second]) is second
    apu = "simd_count 4\ngfx_target_version 100306\nmax_engine_clk_fcompute 2200\nlocation_id 4096"
    write(tmp_path, **{"sys/class/kfd/kfd/topology/nodes/10/properties": apu})  # the tenth node comes after the second
    assert [one["index"] for one in module("rocm", "devices").listed(tmp_path)] == [0, 1, 2]
    assert module("rocm", "devices").listed(tmp_path / "nowhere") == []


def test_sysfs_tells_how_an_amd_gpu_is(module, tmp_path, monkeypatch):
    amd(tmp_path)
    told = module("rocm", "conditions").told
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    hwmon = "sys/bus/pci/devices/0000:09:00.0/hwmon/hwmon3"
    assert told(tmp_path)["reason"] == "no sensor answers" and told(tmp_path)["throttled"] is None
    write(tmp_path, **{
        f"{hwmon}/name": "amdgpu", f"{hwmon}/freq1_input": 2415000000, f"{hwmon}/power1_average": 303000000,
        f"{hwmon}/temp1_input": 61000, f"{hwmon}/temp1_crit": 100000, f"{hwmon}/temp1_label": "edge",
        f"{hwmon}/temp2_input": 92000, f"{hwmon}/temp2_crit": 110000, f"{hwmon}/temp2_label": "junction",
        "sys/class/kfd/kfd/proc/4242/vram_4711": 8589934592, "proc/4242/comm": "ollama",
        "sys/class/kfd/kfd/proc/17/vram_51234": 8589934592, "sys/class/kfd/kfd/proc/17/vram_4711": 0,
    })  # fmt: skip
    assert told(tmp_path) == {
        "throttled": False, "reason": "92 °C, 2415 MHz, 303 W; its critical temperature is 110 °C", "others": ["ollama (8192 MB)"],
        "watts": 303.0,
    }  # fmt: skip
    write(tmp_path, **{f"{hwmon}/temp2_input": 110000})
    assert told(tmp_path)["throttled"] is True
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "GPU-398a3f843a146602")
    assert told(tmp_path)["reason"] == "which GPU is used is not known"


def intel(root):
    """A processor's GPU and an Arc A770 by i915, and a Battlemage by xe: the latter's address, number and sensors as in
    aristocratos/btop#1457 (414 J in 2.01 s), the files of all as in the kernel's Documentation/ABI/testing."""
    bar = "0x{:016x} 0x{:016x} 0x000000000014220c".format
    i915, xe = "sys/bus/pci/drivers/i915", "sys/bus/pci/drivers/xe"
    write(root, **{
        f"{i915}/0000:00:02.0/device": "0xa780", f"{i915}/0000:00:02.0/drm/card0/card0-HDMI-A-1/enabled": "enabled",
        f"{i915}/0000:00:02.0/resource": bar(0x4000000000, 0x400FFFFFFF),
        f"{i915}/0000:0c:00.0/vendor": "0x8086", f"{i915}/0000:0c:00.0/device": "0x56a0",
        f"{i915}/0000:0c:00.0/resource": f"{bar(0x71000000, 0x71FFFFFF)}\n{bar(0, 0)}\n{bar(0x6000000000, 0x63FFFFFFFF)}",
        f"{i915}/0000:0c:00.0/drm/card1/gt_act_freq_mhz": 2400,
        f"{i915}/0000:0c:00.0/drm/card1/gt/gt0/throttle_reason_thermal": 1,
        f"{i915}/0000:0c:00.0/drm/card1/gt/gt0/throttle_reason_pl1": 1,
        f"{i915}/0000:0c:00.0/drm/card1/gt/gt0/throttle_reason_status": 1,
        f"{xe}/0000:03:00.0/device": "0xe223", f"{xe}/0000:03:00.0/resource": bar(0x6400000000, 0x6BFFFFFFFF),
        f"{xe}/0000:03:00.0/tile0/gt0/freq0/act_freq": 2850,
        f"{xe}/0000:03:00.0/tile0/gt0/freq0/throttle/reason_thermal": 0,
        f"{xe}/0000:03:00.0/tile0/gt0/freq0/throttle/reason_pl1": 1,
        f"{xe}/0000:03:00.0/hwmon/hwmon7/energy1_label": "card", f"{xe}/0000:03:00.0/hwmon/hwmon7/energy1_input": 1000000000,
        f"{xe}/0000:03:00.0/hwmon/hwmon7/temp2_input": 64000,
        "usr/share/misc/pci.ids": "8086  Intel\n\t56a0  DG2 [Arc A770]\n\t\t8086 1020  Limited Edition",
    })  # fmt: skip


def test_sysfs_lists_intel_gpus(module, tmp_path):
    intel(tmp_path)
    found = [Card(**one) for one in module("xpu", "devices").listed(tmp_path)]
    assert [(one.index, one.id) for one in found] == [(1, "0000:03:00.0"), (2, "0000:0c:00.0"), (0, "0000:00:02.0")]
    assert [one.name for one in found] == ["Intel GPU 0xe223", "DG2 [Arc A770]", "Intel GPU 0xa780"]
    assert [one.memory_bytes for one in found] == [32 * GIB, 16 * GIB, None]
    assert cards.free(found) is found[0] and found[2].display is True
    write(tmp_path, **{"sys/bus/pci/drivers/xe/0000:29:00.0/device": "0x0bd5"})  # a Max 1550: two devices for one card
    assert module("xpu", "devices").listed(tmp_path) == []


def test_sysfs_tells_how_an_intel_gpu_is(module, tmp_path, monkeypatch):
    intel(tmp_path)
    told = module("xpu", "conditions").told
    monkeypatch.delenv("ONEAPI_DEVICE_SELECTOR", raising=False)
    monkeypatch.setenv("ZE_AFFINITY_MASK", "1")
    energy = "sys/bus/pci/drivers/xe/0000:03:00.0/hwmon/hwmon7/energy1_input"
    clock = iter([10.0, 12.01])
    battlemage = told(tmp_path, lambda _: write(tmp_path, **{energy: 1000000000 + 414000000}), lambda: next(clock))
    assert battlemage == {
        "throttled": False,
        "reason": "64 °C, 2850 MHz, 206 W",
        "others": None,
        "watts": pytest.approx(414 / 2.01),
    }
    monkeypatch.setenv("ZE_AFFINITY_MASK", "2")
    assert told(tmp_path) == {"throttled": True, "reason": "heat; 2400 MHz", "others": None, "watts": None}
    monkeypatch.setenv("ZE_AFFINITY_MASK", "0")
    assert told(tmp_path) == {"throttled": None, "reason": "no sensor answers", "others": None, "watts": None}
    monkeypatch.setenv("ZE_AFFINITY_MASK", "5")
    assert told(tmp_path)["reason"] == "which GPU is used is not known"


@pytest.mark.parametrize(
    ("name", "selected"),
    [
        ("cuda", {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
        ("rocm", {"HIP_VISIBLE_DEVICES": "1"}),
        ("xpu", {"ZE_AFFINITY_MASK": "1", "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1"}),
    ],
)
def test_each_backend_declares_what_takes_one_device(name, selected, monkeypatch):
    backend = registry.scan()[name]
    for variable in (backend.selector.variable, *backend.selector.also):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cards, "listed", lambda backend: ([Card(**DESKTOP), Card(**IDLE)], None))
    picked = cards.pick(backend)
    assert picked.selected == selected and selected.items() <= picked.variables.items()
