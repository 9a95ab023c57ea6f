"""A sample of every suite of crash safety; `python -m tests.crash --size full` runs them whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the suites fork their processes", allow_module_level=True)

from .suites import SUITES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_nothing_is_lost(name):
    """In a process of its own: a fork of pytest's, with frameworks in its memory, takes several times as long."""
    if SUITES[name].why_not:
        pytest.skip(SUITES[name].why_not)
    ended = subprocess.run([sys.executable, "-m", "tests.crash", "--only", name], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and " 0 failed" in ended.stdout, f"{ended.stdout}\n{ended.stderr}"
