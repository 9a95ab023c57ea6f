"""A sample of every suite of crash safety; `python -m tests.crash --size full` runs them whole."""

import os

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the suites fork their processes", allow_module_level=True)

from . import nights
from .suites import SUITES


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_nothing_is_lost(name):
    suite = SUITES[name]
    if suite.why_not:
        pytest.skip(suite.why_not)
    with nights.stage() as stage:
        figures = suite.run(stage, False, 1, 1)
    assert figures.cases and not figures.failures, "\n".join(figures.failures)
