"""Ending a process with all that it started."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from autoresearch import processes

# A child that has ended and that nobody reaps, and one that sleeps.
PARENT = """
import os, time
if os.fork() == 0:
    os._exit(0)
sleeper = os.fork()
if sleeper == 0:
    time.sleep(60)
print(sleeper, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork and are reaped")
def test_a_tree_is_ended_and_nobody_waits_for_a_child_that_is_never_reaped(monkeypatch):
    monkeypatch.setattr(processes, "_ROUND_SECONDS", 60.0)
    monkeypatch.setattr(processes, "_LAST_SECONDS", 60.0)
    with processes.start([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        sleeper = int(parent.stdout.readline())
        start = time.monotonic()
        processes.end_tree(parent)
        assert time.monotonic() - start < 30
    assert not psutil.pid_exists(sleeper) or psutil.Process(sleeper).status() == psutil.STATUS_ZOMBIE
