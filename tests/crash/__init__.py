"""Crash safety, tried out: `python -m tests.crash --size full`; see docs/design/crash-safety.md."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS), str(TESTS / "e2e")]  # faults.py, scripted.py; studies.py: what the tests of whole studies share
