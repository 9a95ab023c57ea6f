"""Windows as data, and systems without a sandbox: not run there yet. See tests/windows, test_sandbox_macos.py too."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import psutil

from autoresearch.sandbox import windows
from autoresearch.sandbox.policy import Cell


def test_the_job_object_ends_everything_with_its_last_handle():
    limits = windows.job_limits()
    assert limits.BasicLimitInformation.LimitFlags & 0x2000
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        assert ctypes.sizeof(windows.ExtendedLimits) == 144  # winnt.h, 64 bits
        assert windows.ExtendedLimits.ProcessMemoryLimit.offset == 112


def test_a_process_that_windows_takes_into_no_job_is_set_going_all_the_same(monkeypatch):
    """Started suspended, it would wait for ever. What happens with a job: tests/windows."""
    kernel = SimpleNamespace(CreateJobObjectW=lambda *_: None)
    system = SimpleNamespace(WinDLL=lambda *_, **__: kernel, WinError=OSError, get_last_error=lambda: 5)
    monkeypatch.setattr(windows, "SYSTEM", system)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        psutil.Process(process.pid).suspend()
        process._handle = process.pid
        assert windows.hold(process) is None
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0


def test_windows_says_that_it_has_no_sandbox():
    found = windows.reach()
    assert found.level == 0 and not found.tried and "WSL2" in found.reasons[0]


def test_a_cell_on_a_system_without_a_sandbox_is_not_entered(tmp_path):
    """Fail closed: the module does not run, and the line says why."""
    code = (
        "import sys; sys.platform = 'plan9'; from autoresearch.sandbox import enter\n"
        "sys.argv = ['enter', 'this', sys.argv[1]]; enter.main()"
    )
    command = [os.sys.executable, "-c", code, Cell(2, str(tmp_path)).to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and '"refused"' in done.stdout and "no sandbox for plan9" in done.stdout
