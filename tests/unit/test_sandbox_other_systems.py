"""Windows as data, and systems without a sandbox: not run there yet."""

import ctypes
import os
import subprocess
from types import SimpleNamespace

from autoresearch import child
from autoresearch.border.messages import Protocol
from autoresearch.sandbox import launch, windows
from autoresearch.sandbox.policy import Cell


def test_the_job_object_ends_everything_with_its_last_handle():
    limits = windows.job_limits()
    assert limits.BasicLimitInformation.LimitFlags & 0x2000
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        assert ctypes.sizeof(windows.ExtendedLimits) == 144  # winnt.h, 64 bits
        assert windows.ExtendedLimits.ProcessMemoryLimit.offset == 112


def test_a_worker_on_windows_is_held_by_a_job_for_its_life(tmp_path, monkeypatch):
    """Everything but the system's calls: those were never run."""
    calls = []

    class Kernel:
        def __getattr__(self, name):
            def call(*arguments):
                calls.append(name)
                return name not in refused

            return call

    refused = ()
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: Kernel(), raising=False)
    monkeypatch.setattr(ctypes, "WinError", OSError, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5, raising=False)
    monkeypatch.setattr(subprocess.Popen, "_handle", 7, raising=False)
    monkeypatch.setattr(launch, "sys", SimpleNamespace(platform="win32"))
    with child.Worker({"type": "none"}, tmp_path, Protocol("starting", {}), module="this", cell=child.OUR_OWN):
        assert calls == ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"]
    assert calls[3:] == ["CloseHandle"]
    refused = ("AssignProcessToJobObject",)
    with child.Worker({"type": "none"}, tmp_path, Protocol("starting", {}), module="this", cell=child.OUR_OWN) as worker:
        assert worker.process.wait() == 0


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
