"""A sample of suites of crash safety, one of each kind in the plain run; `python -m tests.crash --size full` runs all whole."""

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
PLAIN = ["kill-init", "power-init", "mutants", "two-at-once"]
REST = [name for name in HERE if name not in PLAIN]
CASES = [",".join(name for name in PLAIN[first::2] if name in HERE) for first in range(2)]
CASES += [pytest.param(",".join(REST[first::2]), marks=pytest.mark.thorough) for first in range(2)]
CASES += [pytest.param(name, marks=pytest.mark.skip(reason=suite.why_not)) for name, suite in SUITES.items() if suite.why_not]


@pytest.mark.slow
@pytest.mark.parametrize("names", CASES)
def test_nothing_is_lost(names):
    """In processes of their own: a fork of pytest's, with frameworks in its memory, takes several times as long."""
    ended = subprocess.run([sys.executable, "-m", "tests.crash", "--only", names], cwd=ROOT, capture_output=True, text=True)
    said = f"{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == 0 and ended.stdout.count(" 0 failed") == len(names.split(",")), said
