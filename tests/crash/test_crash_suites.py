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
HERE = [name for name, suite in SUITES.items() if not suite.why_not]
CASES = [",".join(HERE[first::4]) for first in range(4)]
CASES += [pytest.param(name, marks=pytest.mark.skip(reason=suite.why_not)) for name, suite in SUITES.items() if suite.why_not]


@pytest.mark.slow
@pytest.mark.parametrize("names", CASES)
def test_nothing_is_lost(names):
    """In processes of their own: a fork of pytest's, with frameworks in its memory, takes several times as long."""
    ended = subprocess.run([sys.executable, "-m", "tests.crash", "--only", names], cwd=ROOT, capture_output=True, text=True)
    said = f"{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == 0 and ended.stdout.count(" 0 failed") == len(names.split(",")), said
