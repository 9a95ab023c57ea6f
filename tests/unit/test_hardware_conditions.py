"""Battery, heat and other load: read from recorded answers and made-up trees, and looked at on this machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch.errors import UsageError
from autoresearch.hardware.devices import accelerator, registry
from autoresearch.hardware.devices.accelerator import Device
from autoresearch.hardware.now import conditions, load, power
from autoresearch.hardware.now.conditions import Conditions
from autoresearch.hardware.now.load import Load, Sample
from autoresearch.hardware.now.power import Heat, Power
from autoresearch.paths import shipped
from autoresearch.study import terms

ROOT = Path(__file__).parents[2]
QUIET = Conditions(8, Power("mains", 80), Heat(False, "cool"), Load(0.0, 0.0, None, 0.0), Device(False, "cool", ()))


def supplies(root, **folders: dict[str, str]):
    """A made-up /sys/class/power_supply: a folder for each supply, a file for each fact."""
    for name, facts in folders.items():
        folder = root / "sys/class/power_supply" / name
        folder.mkdir(parents=True)
        for fact, value in facts.items():
            (folder / fact).write_text(value + "\n", encoding="ascii")
    return root


BATTERY = {"type": "Battery", "present": "1", "capacity": "63"}
SECOND = BATTERY | {"status": "Discharging", "capacity": "21"}
MOUSE = {"type": "Battery", "scope": "Device", "online": "1", "status": "Discharging", "capacity": "55"}


@pytest.mark.parametrize(
    "folders, expected",
    [
        ({}, Power(None, reason="the system reports no battery")),
        ({"hidpp_battery_8": MOUSE}, Power(None, reason="the system reports no battery")),
        ({"AC": {"type": "Mains", "online": "1"}}, Power("mains")),
        ({"AC": {"type": "Mains", "online": "0"}, "BAT0": BATTERY | {"status": "Discharging"}}, Power("battery", 63)),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT0": BATTERY | {"status": "Not charging"}}, Power("mains", 63)),
        ({"ucsi-source": {"type": "USB", "online": "1"}, "BAT0": BATTERY | {"status": "Discharging"}}, Power("mains", 63)),
        ({"BAT0": BATTERY | {"status": "Full"}, "BAT1": SECOND}, Power("battery", 42)),
        ({"BAT0": BATTERY | {"status": "Charging"}}, Power("mains", 63)),
        ({"BAT0": BATTERY | {"status": "Unknown"}}, Power(None, 63, "the battery's state is unknown")),
    ],
)
def test_linux_power(tmp_path, folders, expected):
    assert power.linux_supply(supplies(tmp_path, **folders)) == expected


def test_a_battery_is_refused_unless_it_is_allowed():
    with pytest.raises(UsageError, match=r"battery \(63 % left\).*add --on-battery$"):
        power.refuse_on_battery(Power("battery", 63), allowed=False)
    power.refuse_on_battery(Power("battery", 63), allowed=True)
    power.refuse_on_battery(Power("mains", 63), allowed=False)
    power.refuse_on_battery(Power(None), allowed=False)


def test_linux_heat_is_the_difference_between_two_looks(tmp_path):
    assert power.linux_heat(tmp_path, None).throttled is None
    for cpu, name, count in ((0, "core", 3), (0, "package", 10), (1, "core", 4), (1, "package", 10)):
        path = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/{name}_throttle_count"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{count}\n", encoding="ascii")
    first = power.linux_heat(tmp_path, None)
    assert (first.throttled, first.count) == (None, 27)
    assert power.linux_heat(tmp_path, first).throttled is False
    path.write_text("11\n", encoding="ascii")
    assert power.linux_heat(tmp_path, first).throttled is True


# `pmset -g therm` as macOS prints it: on Apple Silicon, on an Intel Mac at rest, on a hot one.
@pytest.mark.parametrize(
    "text, throttled",
    [
        ("Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n", False),
        (
            "2024-01-01 05:08:37 -0700 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 12\n"
            "\tCPU_Speed_Limit \t= 100\n",
            False,
        ),
        (
            "2024-01-01 05:08:37 -0700 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 12\n"
            "\tCPU_Speed_Limit \t= 62\n",
            True,
        ),
        ("something new\n", None),
        (None, None),
    ],
)
def test_macos_heat(text, throttled):
    assert power.macos_heat(text).throttled is throttled


def test_the_load_is_what_others_use_beyond_the_processors_that_are_left_alone():
    first = Sample(10.0, busy=100.0, stolen=5.0, own=20.0, others={1: 30.0, 2: 7.0})
    second = Sample(12.0, busy=108.0, stolen=5.8, own=24.0, others={1: 30.5, 2: 10.0, 3: 0.5})
    found, largest = load.compare(first, second, usable=4, physical=4, logical=8)
    assert (found.processors, found.share, largest) == (2.0, 0.5, 2)
    assert found.stolen == pytest.approx(0.05)
    # 4 of 8 cores are ours: 2 processors' worth fits on the others.
    assert load.compare(first, second, usable=4, physical=8, logical=8)[0].share == 0.0
    assert load.compare(first, second, usable=1, physical=2, logical=2)[0].share == 1.0
    idle = Sample(12.0, busy=103.9, stolen=None, own=24.0, others={1: 30.0})  # the two clocks tick apart
    assert load.compare(first, idle, usable=4, physical=4, logical=4) == (Load(0.0, 0.0, None, None), None)


def test_each_condition_is_a_sentence_and_a_note_once():
    assert QUIET.warnings == ()
    device = Device(True, "thermal slowdown", ("game (900 MB)",))
    bad = Conditions(8, Power("battery", 63), Heat(True, "hot"), Load(0.37, 3.0, "backup", 0.2), device)
    assert bad.warnings == (
        "on battery, 63 % full: most computers run slower then",
        "throttled: hot",
        "other processes take 37% of the usable cores, backup most",
        "this virtual machine's host takes 20% of the processors' time for others",
        "the accelerator is throttled: thermal slowdown",
        "the accelerator is also used by game (900 MB)",
    )
    assert conditions.news(None, bad) == list(bad.warnings)
    later = Conditions(8, Power("battery", 50), QUIET.heat, Load(0.2, 1.6, "backup", None))
    assert conditions.news(bad, later) == [], "another figure is no news"
    assert conditions.news(QUIET, later) == list(later.warnings)
    assert json.loads(json.dumps(bad.to_dict())) == bad.to_dict()


def test_what_is_unknown_is_no_warning_and_prints_na():
    unknown = Conditions(2, Power(None, reason="no battery"), Heat(None, "no counters"), Load(), Device(None, "no answer", None))
    assert unknown.warnings == ()
    assert conditions.lines(unknown.to_dict()) == [
        "power     n/a: no battery",
        "heat      n/a: no counters",
        "load      n/a",
        "device    n/a: no answer; also used by: n/a",
    ]
    shown = "\n".join(conditions.lines(QUIET.to_dict()))
    assert "mains, 80 % full" in shown and "0% of the 8 cores" in shown and "not throttled" in shown and "nobody" in shown


BUSY = "print(flush=True)\nwhile True: pass"
SPENDS_TIME = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
# What another program sees, to which the busy process is a stranger.
WATCH = """
import json, sys, time
from autoresearch.hardware.now import conditions, load
pid = int(sys.argv[1])
first = load.sample()
time.sleep(0.5)
second = load.sample()
used = second.others[pid] - first.others[pid]
print(json.dumps([used, load.compare(first, second, 1, 1, 1)[0].processors, conditions.look().to_dict()]))
"""


@pytest.mark.slow
def test_a_busy_process_is_seen_and_our_own_is_not():
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
        try:
            busy.stdout.readline()
            mine = load.sample()
            assert busy.pid not in mine.others and mine.own > 0
            command = [sys.executable, "-c", WATCH, str(busy.pid)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
            used, processors, seen = json.loads(done.stdout)
            assert used > 0.05, "the busy process got less than a tenth of one processor"
            assert processors > 0.1
            assert seen["load"]["processors"] > 0.1 and seen["load"]["largest"]
        finally:
            busy.kill()


def test_what_ended_in_the_window_is_still_ours():
    """A child that has ended is in its parent's account; nothing of it becomes another's load."""
    before = load.sample()
    subprocess.run([sys.executable, "-c", SPENDS_TIME], check=True)
    after = load.sample()
    assert after.own - before.own > 0.25


def test_a_look_here_without_a_window_knows_no_load():
    assert conditions.look(window_seconds=0.0).load == Load()


def backend(folder, text: str | None):
    (folder / "backend.toml").write_text('title = "T"\nrank = 1\nauto = false\ntrain = "train.py"\n', encoding="utf-8")
    for name in ("runtime.py", "train.py"):
        (folder / name).write_text("", encoding="utf-8")
    if text is not None:
        (folder / "conditions.py").write_text(text, encoding="utf-8")
    return registry.read("t", folder)


@pytest.mark.parametrize(
    "text, throttled, words",
    [
        ('print("driver says hello"); print(\'{"throttled": true, "reason": "hot", "others": ["game"]}\')', True, "hot"),
        ("import time; time.sleep(60)", None, "did not answer within 0.5 s"),
        ("raise SystemExit(3)", None, "ended with status 3"),
        ("print('[]')", None, "unusable answer"),
        ("", None, "unusable answer"),
        ('print(\'{"throttled": 1, "reason": "hot"}\')', None, "unusable answer"),
        ('print(\'{"throttled": true, "reason": "hot", "others": [1]}\')', None, "unusable answer"),
    ],
)
def test_a_backend_tells_of_its_device(tmp_path, text, throttled, words):
    limit = 0.5 if "sleep" in text else 30.0
    device = accelerator.ask(backend(tmp_path, text)).answer(limit)
    assert device.throttled is throttled and words in device.reason
    assert device.others == (("game",) if throttled else None)


def test_a_backend_that_says_nothing_of_its_device_is_not_asked_and_the_file_is_no_term(tmp_path):
    quiet = backend(tmp_path, None)
    assert accelerator.ask(quiet) is None
    checksum = terms.backend_checksum(quiet)
    talking = backend(tmp_path, 'print(\'{"throttled": false, "reason": "cool", "others": []}\')')
    assert terms.backend_checksum(talking) == checksum
    assert conditions.look(talking, window_seconds=0.1).device == Device(False, "cool", ())
    assert conditions.look(talking, window_seconds=0.0).device is None


@pytest.fixture(scope="module")
def cuda():
    spec = importlib.util.spec_from_file_location("cuda_conditions", shipped("backends") / "cuda" / "conditions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "answer, throttled, words",
    [
        ("0x0000000000000000\n", False, "no slowdown"),
        ("0x0000000000000001\n", False, "no slowdown"),  # idle
        ("0x0000000000000004\n", False, "no slowdown"),  # at its power limit, as a busy card is
        ("0x0000000000000008\n", False, "no slowdown"),  # of no stated cause
        ("0x0000000000000024\n", True, "software thermal slowdown"),
        ("0x0000000000000048\n", True, "hardware thermal slowdown"),
        ("0x00000000000000C8\n", True, "hardware thermal slowdown and the power supply's brake"),
        ("[N/A]\n", None, "'[N/A]'"),
        (None, None, "does not answer"),
    ],
)
def test_nvidia_smi_clock_events(cuda, answer, throttled, words):
    """The bits are those of the NVML API reference, NvmlClocksEventReasons; the form is nvidia-smi's csv,noheader."""
    found = cuda.parse_slowdown(answer)
    assert found[0] is throttled and words in found[1]


@pytest.mark.parametrize(
    "answer, others",
    [
        (None, None),
        ("", []),
        ("1234, /usr/bin/python3, 2048\n99, a, b, 16\n", ["python3 (2048 MB)", "a, b (16 MB)"]),
        ("8, C:\\Games\\game.exe, [N/A]\n9, [Insufficient Permissions], [N/A]\n", None),
        ("8, C:\\Games\\game.exe, [N/A]\n9, C:\\Python\\python.exe, 900\n", ["python.exe (900 MB)"]),
    ],
)
def test_nvidia_smi_compute_apps(cuda, answer, others):
    assert cuda.parse_apps(answer) == others


@pytest.mark.parametrize("visible, expected", [(None, "0"), ("", "0"), ("2,3", "2"), ("GPU-8f5a", "GPU-8f5a")])
def test_the_card_that_is_used(cuda, visible, expected):
    assert cuda.card(visible) == expected


def test_the_shipped_file_answers_within_the_contract():
    found = registry.scan()["cuda"]
    assert accelerator.parse('{"throttled": null, "reason": "nvidia-smi does not answer", "others": null}').throttled is None
    assert "unusable" not in accelerator.ask(found).answer(30.0).reason
