"""What tests of several files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory) -> Path:
    """Where compiled kernels lie, one folder for all of pytest's processes: what one has compiled, the others load.

    New in each call of pytest, so that nothing is taken from an earlier state of the code.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder of its own in that of the call
    folder /= "compile"
    folder.mkdir(exist_ok=True)
    return folder
