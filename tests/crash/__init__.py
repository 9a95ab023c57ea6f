"""Crash safety, tried out: `python -m tests.crash --size full`; see docs/design/crash-safety.md."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))  # studies.py: what the tests of whole studies share
