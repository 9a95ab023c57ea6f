"""Each framework follows the golden state on this CPU: eager and compiled, in each dtype that it trains in, in child processes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from autoresearch.hardware.devices import registry

CHILD = Path(__file__).with_name("child.py")


def follow(backend: str, framework: str, dtype: str, compiled: bool, cache: Path) -> dict:
    """What child.py prints. cache: of compiled code."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    found = registry.scan()[backend]
    job = {"python_path": [str(path) for path in found.python_path], "train_py": str(found.train_py)}
    job |= {"framework": framework, "compiled": compiled}
    command = [sys.executable, "-X", "utf8", "-B", str(CHILD), json.dumps(job)]
    variables = os.environ | {"AUTORESEARCH_DTYPE": dtype, "AUTORESEARCH_COMPILE_CACHE": str(cache)}
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_follows(answer: dict, dtype: str) -> None:
    assert answer["dtype"] == dtype
    for kernels, found in answer["deviations"].items():
        assert golden.beyond(found, dtype) == {}, (kernels, found)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("backend, framework, kernels", [("cpu", "torch", {"own", "generic"}), ("mlx", "mlx", {"own"})])
def test_eager_it_follows_the_golden_state(backend, framework, kernels, dtype, compile_cache):
    answer = follow(backend, framework, dtype, False, compile_cache)
    assert not answer["is_compiled"] and set(answer["deviations"]) == kernels
    assert_follows(answer, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, framework, dtype",
    [
        # Compiled bfloat16 is held against eager in tests/e2e/test_cpu_backend.py.
        pytest.param("cpu", "torch", "float32", marks=pytest.mark.thorough),
        ("mlx", "mlx", "float32"),
        pytest.param("jax", "jax", "float32", marks=pytest.mark.thorough),
    ],
)
def test_compiled_it_follows_the_golden_state(backend, framework, dtype, compile_cache):
    answer = follow(backend, framework, dtype, True, compile_cache)
    if not answer["is_compiled"]:
        pytest.skip("torch.compile does not work here: there is no C++ compiler")
    assert_follows(answer, dtype)
