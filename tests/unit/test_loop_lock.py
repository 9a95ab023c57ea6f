"""The study's lock, between real processes."""

import subprocess
import sys

import pytest

from autoresearch.errors import UsageError
from autoresearch.study import lock

HOLD = """
import sys
from pathlib import Path
from autoresearch.study import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_by_name_and_a_dead_one_is_forgotten(tmp_path):
    path = tmp_path / "lock"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "held\n"
        assert lock.holder(path) == str(child.pid)
        with pytest.raises(UsageError, match=f"process {child.pid}"), lock.hold(path):
            pass
        child.kill()
    with lock.hold(path):
        pass
    assert lock.holder(path) is None
    assert lock.holder(tmp_path / "none") is None
