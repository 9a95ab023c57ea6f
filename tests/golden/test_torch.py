"""torch on a CPU follows the golden state: eager and compiled, in each dtype, with its own kernels and with those of GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from autoresearch.hardware import detect, registry

pytest.importorskip("torch")

CHILD = Path(__file__).with_name("torch_child.py")


def follow(dtype: str, compiled: bool) -> dict:
    """What torch_child.py prints."""
    backend = registry.scan()["cpu"]
    job = {"python_path": [str(path) for path in backend.python_path], "train_py": str(backend.train_py), "compiled": compiled}
    command = [sys.executable, "-X", "utf8", str(CHILD), json.dumps(job)]
    variables = os.environ | {"AUTORESEARCH_DTYPE": dtype}
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(answer: dict, dtype: str) -> None:
    assert answer["dtype"] == dtype
    for kernels, found in answer["deviations"].items():
        assert golden.beyond(found, dtype) == {}, (kernels, found)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_eager_torch_follows_the_golden_state(dtype):
    answer = follow(dtype, compiled=False)
    assert answer["graphs"] == 0 and set(answer["deviations"]) == {"own", "generic"}
    check(answer, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_torch_follows_the_golden_state(dtype):
    answer = follow(dtype, compiled=True)
    if answer["graphs"] == 0:
        pytest.skip("torch.compile does not work here: there is no C++ compiler")
    check(answer, dtype)


def test_a_dtype_that_there_is_not_is_the_probes_reason(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float8")
    facts = detect.probe(registry.scan()["cpu"])
    assert not facts.ok and "set it to float32, bfloat16 or float16" in facts.reason
