"""The real machine seen: two clocks, other processes' use, its speed, and its idle sleep held off."""

import ctypes
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from autoresearch.hardware.now import awake, throughput
from autoresearch.hardware.now.load import Sample, sample, taken
from autoresearch.hardware.now.observer import Observer
from autoresearch.measure import clock
from autoresearch.measure.clock import asleep_seconds, awake_seconds, elapsed_seconds
from autoresearch.study import events
from autoresearch.study.validity import Reference, explain


def test_both_clocks_run_alike_while_it_is_awake():
    apart, awake_before, elapsed_before = asleep_seconds(), awake_seconds(), elapsed_seconds()
    time.sleep(0.05)
    assert awake_seconds() - awake_before >= 0.05 and elapsed_seconds() - elapsed_before >= 0.05
    assert abs(asleep_seconds() - apart) < 0.1


def test_a_sleep_between_two_readings_shows_and_a_lost_processor_does_not():
    now, slept, delays = 100.0, 0.0, []

    def clock():
        nonlocal now
        now += delays.pop(0) if delays else 0.001
        return now

    def both():
        return asleep_seconds(clock, lambda: now + slept)

    before = both()
    slept = 30.0
    delays = [0.0, 5.0]  # the process waits for five seconds between the first two readings
    assert both() - before == pytest.approx(30.0, abs=0.01)


def clock_of(platform, monkeypatch):
    """measure/clock.py as it is on another system."""
    monkeypatch.setattr(sys, "platform", platform)
    spec = importlib.util.spec_from_file_location("clock_elsewhere", clock.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_windows_clocks(monkeypatch):
    """The two calls fill in a number of 100 ns: not run on Windows."""

    def query(ticks):
        def fill(reference):
            reference._obj.value = ticks

        return fill

    kernel32 = SimpleNamespace(QueryUnbiasedInterruptTime=query(70_000_000))
    kernelbase = SimpleNamespace(QueryInterruptTime=query(100_000_000))
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel32, kernelbase=kernelbase), raising=False)
    windows = clock_of("win32", monkeypatch)
    assert (windows.awake_seconds(), windows.elapsed_seconds(), windows.asleep_seconds()) == pytest.approx((7.0, 10.0, 3.0))


def test_macos_clocks(monkeypatch):
    """Their names there: not run on macOS."""
    monkeypatch.setattr(time, "CLOCK_UPTIME_RAW", "awake", raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", "elapsed", raising=False)
    monkeypatch.setattr(time, "clock_gettime", {"awake": 7.0, "elapsed": 10.0}.__getitem__)
    macos = clock_of("darwin", monkeypatch)
    assert (macos.awake_seconds(), macos.elapsed_seconds(), macos.asleep_seconds()) == (7.0, 10.0, 3.0)


def uses(busy, own, stolen=0.0, seconds=10.0):
    return Sample(0.0, 0.0, 0.0, 0.0, {}), Sample(seconds, busy * seconds, stolen * seconds, own * seconds, {})


@pytest.mark.parametrize(
    "used, cores, expected",
    [
        (uses(2.0, 2.0), (2, 2, 2), 0.0),
        (uses(2.0, 1.5), (2, 2, 2), 0.25),
        (uses(1.9, 1.5), (2, 2, 2), 0.15),  # a tenth of a core was idle
        (uses(3.0, 1.0), (8, 8, 16), 0.0),  # an accelerator's training, and cores to spare
        (uses(9.0, 8.0), (8, 8, 16), 0.125),  # a second hardware thread of a busy core is not to spare
        (uses(16.0, 2.0), (2, 16, 16), 0.0),  # we may use two of sixteen, and had them
        (uses(16.0, 1.0), (2, 16, 16), 0.5),
        (uses(1.6, 1.6, stolen=0.4), (2, 2, 2), 0.2),
        (uses(1.0, -5.0), (2, 2, 2), 0.0),  # a tree of ours ended and took its seconds along: of a second, not of a night
    ],
)
def test_what_others_took(used, cores, expected):
    assert taken(*used, *cores) == pytest.approx(expected)


@pytest.mark.slow
def test_our_own_tree_is_nobody_else(busy):
    busy()
    own = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        first = sample(names=False)
        time.sleep(1.0)
        second = sample(names=False)
    finally:
        own.kill()
        own.wait()
    assert first.others == {} and second.descendants > first.descendants
    assert second.own - first.own < second.busy - first.busy
    assert sample(names=False).own >= second.own - 1e-6  # what has ended is still ours; sums of hundredths are not exact


@pytest.mark.slow
def test_busy_processes_make_it_contended(busy):
    """Beside four busy processes a core the same work is slower, and the word for it is right."""
    processes = busy()
    observer = Observer(threads=os.cpu_count())
    beside = observer.throughput(1.0)
    for process in processes:
        process.kill()
    alone = [observer.throughput(1.0) for _ in range(3)]
    reference = Reference()
    for reading in alone:
        unknown = {"median": None, "reason": None, "taken": None, "wait_seconds": None}
        steady = events.Speed(place="after", state="steady", rate=reading.rate, clock_mhz=reading.clock_mhz, **unknown)
        reference.apply_speed(steady)
    assert reference.is_off("after", beside)  # by its rate alone
    assert beside.taken >= 0.3 and beside.helpers < 0.1
    assert explain(beside, "after", reference).state == "contended"


def test_a_check_is_too_short_or_of_another_device():
    assert Observer(threads=1).throughput(0.05) is None
    assert Observer(threads=None).throughput(2.0) is None


def test_a_check_leaves_no_thread_and_takes_about_its_time():
    threads = psutil.Process().num_threads()
    times = throughput.piece_times(0.1, 2)
    assert len(times) >= 3 and all(seconds > 0 for seconds in times)
    while psutil.Process().num_threads() > threads:  # a thread that has been joined may still be on its way out
        time.sleep(0.01)


def test_the_programs_that_hold_sleep_off():
    assert awake.command("linux", 7)[:3] == ["systemd-inhibit", "--what=sleep:idle", "--who=autoresearch"]
    assert awake.command("darwin", 7) == ["caffeinate", "-i", "-w", "7"]
    assert awake.command("freebsd14", 7) is None


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A systemd-inhibit that tells that it began and ended, or fails."""
    if sys.platform != "linux":
        pytest.skip("another program elsewhere")

    def write(text: str) -> Path:
        path = tmp_path / "systemd-inhibit"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path

    return write


def test_sleep_is_held_off_inside_and_the_program_is_gone_after(program):
    folder = program('echo $$ > "$0.pid"; exec cat')
    with awake.held():
        while not (written := folder / "systemd-inhibit.pid").exists() or not written.read_text():
            time.sleep(0.01)
        pid = int(written.read_text())
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    assert awake.note() == "held off while a study runs, by systemd-inhibit; a closed lid is not"


@pytest.mark.slow
def test_the_program_ends_with_a_process_that_is_killed(program):
    folder = program('echo $$ > "$0.pid"; exec cat')
    code = "import time\nfrom autoresearch.hardware.now import awake\nwith awake.held(): time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code])
    while not (written := folder / "systemd-inhibit.pid").exists() or not written.read_text():
        time.sleep(0.01)
    pid = int(written.read_text())
    holder.kill()
    holder.wait()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_where_sleep_cannot_be_held_off_a_study_runs_all_the_same(program, monkeypatch):
    program('echo "Failed to connect to bus" >&2; exit 1')
    with awake.held():
        pass
    assert awake.note().startswith("not held off: systemd-inhibit says 'Failed to connect to bus'; see that")
    monkeypatch.setenv("PATH", "/nowhere")
    with awake.held():
        pass
    assert awake.note().startswith("not held off: this system has no program for it")
