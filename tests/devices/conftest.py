"""Cards that are not there, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_card
import pytest


@pytest.fixture
def on_card(compile_cache):
    """on_card(card, backend, profiles, dtype, constants={}, machine_code=False) -> what child.py says."""
    torch = pytest.importorskip("torch")
    if sys.platform != "linux" or torch.version.cuda or torch.version.hip:
        pytest.skip("needs Linux and PyTorch's build for CPUs, beside whose devices there is room")
    library = str(fake_card.build_library(compile_cache))

    def run(card: str, backend: str, names: list[str], dtype: str, constants: dict, machine_code: bool = False) -> dict:
        job = {"library": library, "card": card, "backend": backend, "profiles": names, "constants": constants}
        command = [sys.executable, str(Path(__file__).with_name("child.py")), json.dumps(job | {"machine_code": machine_code})]
        variables = os.environ | {"AUTORESEARCH_DTYPE": dtype, "AUTORESEARCH_COMPILE_CACHE": ""}
        done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
