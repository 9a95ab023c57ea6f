"""JAX's train.py and runtime at a size of milliseconds, each test in a child process: two backends never share one."""

import importlib.util
import json
import os
import subprocess
import sys

import backend_child
import pytest

from autoresearch.hardware.devices import registry

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")


def run(lines: str, dtype: str = "float32") -> dict:
    """What the lines put into `found`; see backend_child.run. Without XLA's slow passes: half the time, the same program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
        return backend_child.run("jax", f"import jax\nimport jax.numpy as jnp\n{lines}", dtype, DEPTH=2)


def test_it_is_only_taken_by_name():
    assert not registry.scan()["jax"].auto


@needs_jax
def test_a_platform_that_is_not_there_is_a_reason_with_a_cure():
    command = [sys.executable, str(registry.scan()["jax"].folder / "runtime.py"), "--probe"]
    done = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "nonsense"}, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert not answer["ok"] and "nonsense" in answer["reason"] and "JAX_PLATFORMS" in answer["cure"]


@needs_jax
def test_choices_of_dtype():
    found = run("""
import os
os.environ.pop("AUTORESEARCH_DTYPE", None)
measured = runtime.choices.measured_products
planted = {"float32": 7e12, "bfloat16": 6e12, "float16": 40e12}
runtime.choices.measured_products = lambda offered, product, size: {name: planted[name] for name in offered}
found["chosen"] = [[str(dtype), scale] for dtype, scale, _, _ in map(runtime.choose_dtype, ("cpu", "gpu"))]
runtime.choices.measured_products = measured
found["real"] = runtime.choose_dtype("cpu")[2]
for asked in ("float16", "float8"):
    os.environ["AUTORESEARCH_DTYPE"] = asked
    try:
        runtime.choose_dtype("cpu")
    except Exception as error:
        found[asked] = str(error)
""")
    assert found["chosen"] == [["float32", 1.0], ["float16", 2.0**13]]
    assert found["real"].startswith("products measured here: ")
    assert "here is float32 or bfloat16 only" in found["float16"] and "float8" in found["float8"]


@needs_jax
@pytest.mark.slow
def test_attention_and_the_chunked_loss_equal_their_plain_forms():
    found = run("""
keys = iter(jax.random.split(jax.random.key(0), 9))
q, k, v = (jax.random.normal(next(keys), (2, 40, heads, 8)) for heads in (4, 2, 2))
distance = np.arange(40)[:, None] - np.arange(40)
score = jnp.einsum("bthd,bshd->bhts", q, jnp.repeat(k, 2, axis=2)) / 8**0.5
found["attention"] = []
for window in (1, 5, 38, 39, 40):
    weight = jax.nn.softmax(jnp.where((distance < 0) | (distance > window), -jnp.inf, score))
    expected = jnp.einsum("bhts,bshd->bthd", weight, jnp.repeat(v, 2, axis=2))
    found["attention"].append(float(jnp.abs(runtime.attention(q, k, v, window) - expected).max()))

hidden, weight = 3 * jax.random.normal(next(keys), (50, 16)), jax.random.normal(next(keys), (97, 16))
targets = np.random.default_rng(0).integers(97, size=50)
found["loss"] = []
for softcap, at_once in ((4.0, 97 * 7), (15.0, 1 << 23)):
    runtime.LOSS_ELEMENTS_AT_ONCE = at_once
    def plain(hidden, weight):
        logits = softcap * jnp.tanh(hidden @ weight.T / softcap)
        return -7 * jax.nn.log_softmax(logits)[np.arange(50), targets].mean()
    def ours(hidden, weight):
        return 7 * runtime.cross_entropy(hidden, weight, targets, softcap)
    (expected, wanted), (loss, got) = (jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(hidden, weight) for f in (plain, ours))
    found["loss"] += [float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip((loss, *got), (expected, *wanted))]
runtime.LOSS_ELEMENTS_AT_ONCE = 97 * 7
found["rows"] = [runtime.chunk_rows(*sizes) for sizes in ((50, 97), (4, 97), (13, 97), (8, 10**6))]
""")
    assert max(found["attention"]) < 1e-5 and max(found["loss"]) < 3e-5, found
    assert found["rows"] == [5, 4, 1, 1]


@needs_jax
@pytest.mark.slow
def test_odd_weights_survive_a_file(tmp_path):
    """An array of two names is saved once; a number alone stays one; bfloat16 stays; a model may have none."""
    found = run(f"""
from pathlib import Path
from autoresearch.border.files import parameters as stored_parameters
path = Path({str(tmp_path / "checkpoint")!r})
def model(**weights):
    return types.SimpleNamespace(weights=weights)
matrix = jnp.arange(6.0).reshape(2, 3)
saved = model(first=matrix, second=matrix, transposed=matrix.T, number=jnp.array(5.0), half=jnp.ones(2, jnp.bfloat16))
runtime.save_weights(saved, path)
found["numbers"] = stored_parameters(path)
loaded = runtime.load_weights(model(**{{name: 0 * weight for name, weight in saved.weights.items()}}), path).weights
found["same"] = [bool((loaded[name] == one).all()) and loaded[name].dtype == one.dtype for name, one in saved.weights.items()]
for other in (model(first=matrix), model(**saved.weights, more=matrix)):
    try:
        runtime.load_weights(other, path)
    except ValueError as error:
        found.setdefault("refused", []).append(str(error))
runtime.save_weights(model(), path)
found["none"] = runtime.load_weights(model(), path).weights
""")
    assert found["numbers"] == 6 + 6 + 1 + 2 and found["same"] == [True] * 5 and found["none"] == {}
    assert "second" in found["refused"][0] and "more" in found["refused"][1]


@needs_jax
@pytest.mark.slow
def test_the_logits_of_a_step_never_exist_as_a_whole():
    """By XLA's own plan of the memory: what the loss of 2048 tokens needs beside its arguments and results."""
    found = run("""
runtime.LOSS_ELEMENTS_AT_ONCE = 1 << 16
weight, targets = jnp.ones((1024, 16)), np.zeros(2048, np.int32)
loss = jax.jit(jax.value_and_grad(lambda hidden, weight: runtime.cross_entropy(hidden, weight, targets, 15.0), argnums=(0, 1)))
found["bytes"] = loss.lower(jnp.ones((2048, 16)), weight).compile().memory_analysis().temp_size_in_bytes
""")
    assert 0 < found["bytes"] < 4 * 2048 * 1024 / 2, found


@needs_jax
@pytest.mark.slow
@pytest.mark.thorough
def test_weights_stay_float32_a_warm_up_leaves_no_trace_and_a_step_is_compiled_once(compile_cache, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_COMPILE_CACHE", str(compile_cache))  # the second Trainer's step is loaded: half the time
    found = run(
        """
found["losses"] = []
for warm_up in (False, True):
    trainer = train.Trainer(train.build_model(SPEC, 3), 24)
    if warm_up:
        trainer.warm_up(lambda rows: get_batch(rows, seed=9))
    found["losses"].append([float(trainer.step(get_batch, 0.1 * step)) for step in range(3)])
found["compiled"] = trainer._compiled._cache_size()
found["state"] = sorted({str(array.dtype) for array in jax.tree.leaves((trainer.model.weights, trainer.state))})
found["hidden"] = str(trainer.model.hidden(trainer.model.weights, get_batch(2)[0]).dtype)
""",
        dtype="bfloat16",
    )
    assert found["losses"][0] == found["losses"][1] and len(set(found["losses"][0])) == 3
    assert found["compiled"] == 1 and found["state"] == ["float32"] and found["hidden"] == "bfloat16"
