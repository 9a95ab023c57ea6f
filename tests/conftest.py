"""What tests of several files share."""

import os
import sys
from pathlib import Path

import pytest

from autoresearch import cli


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


@pytest.fixture
def typed(capsys, monkeypatch):
    """What `autoresearch WORDS` does, without the half second that a process of its own takes: (exit status, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autoresearch", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return call
