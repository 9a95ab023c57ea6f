"""The parts under an MLX training step, each against its plain form; what is chosen; that `auto` leaves MLX's CPU alone."""

import sys

import pytest
from mlx_backend import needs_mlx, run

from autoresearch.hardware.devices import detect, registry
from autoresearch.hardware.devices.facts import Facts

pytestmark = needs_mlx


def test_attention_sees_w_plus_1_keys_and_repeats_grouped_heads():
    found = run("""
mx.random.seed(0)
q, k, v = (mx.random.normal((2, heads, 40, 8)) for heads in (4, 2, 2))
found["differences"] = []
for window in (1, 5, 38, 39, 40):
    distance = mx.arange(40)[:, None] - mx.arange(40)
    score = q @ mx.repeat(k, 2, axis=1).swapaxes(2, 3) / 8**0.5
    score = mx.where((distance < 0) | (distance > window), -mx.inf, score)
    expected = mx.softmax(score, axis=-1) @ mx.repeat(v, 2, axis=1)
    found["differences"].append(mx.abs(runtime.attention(q, k, v, window) - expected).max().item())
""")
    assert max(found["differences"]) < 1e-5


@pytest.mark.parametrize("at_once", [1 << 23, 97 * 7])
def test_the_chunked_loss_equals_a_plain_one_in_value_and_gradients(at_once):
    found = run(f"""
runtime.LOSS_ELEMENTS_AT_ONCE = {at_once}
mx.random.seed(0)
hidden, weight = 3 * mx.random.normal((50, 16)), mx.random.normal((97, 16))
targets = mx.array(np.random.default_rng(0).integers(97, size=50))
for softcap in (4.0, 15.0, 1000.0):
    def plain(hidden, weight):
        return 7 * nn.losses.cross_entropy(softcap * mx.tanh(hidden @ weight.T / softcap), targets).mean()
    def ours(hidden, weight):
        return 7 * runtime.cross_entropy(hidden, weight, targets, softcap)
    (expected, wanted), (loss, got) = (mx.value_and_grad(f, argnums=(0, 1))(hidden, weight) for f in (plain, ours))
    errors = [(mx.abs(a - b).max() / mx.abs(b).max()).item() for a, b in zip(got, wanted)]
    found[softcap] = [abs(loss.item() / expected.item() - 1), *errors]
""")
    assert len(found) == 3 and all(error < 3e-5 for errors in found.values() for error in errors), found


def test_the_logits_never_exist_as_a_whole():
    """By MLX's own count of its memory: as much for four times the tokens, and less than their logits in float32."""
    found = run("""
runtime.LOSS_ELEMENTS_AT_ONCE = runtime.LOGITS_AT_ONCE = 1 << 16
def peak(work, *inputs):
    mx.eval(inputs)
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(work(*inputs))
    return mx.get_peak_memory() - before
weight = mx.random.normal((1024, 16))
for tokens in (512, 2048):
    targets = mx.zeros(tokens, mx.int32)
    loss = mx.value_and_grad(lambda hidden, weight: runtime.cross_entropy(hidden, weight, targets, 15.0), argnums=(0, 1))
    found[tokens] = peak(loss, mx.random.normal((tokens, 16)), weight)
model = train.build_model(types.SimpleNamespace(vocab_size=1024, seq_len=16))
mx.eval(model.parameters())
out = np.empty((128, 16, 1024), np.float16)
found["scoring"] = peak(lambda ids: runtime.logits(model, np.array(ids), out), mx.zeros((128, 16), mx.int32))
""")
    logits_bytes = 4 * 2048 * 1024
    assert found["2048"] < 1.3 * found["512"] and found["2048"] < logits_bytes / 2, found
    assert found["scoring"] < logits_bytes / 2, found


def test_weights_survive_a_file_and_logits_do_not_depend_on_the_chunk(tmp_path):
    found = run(f"""
from pathlib import Path
path = Path({str(tmp_path / "checkpoint.part")!r})
model, other = awake_model(), train.build_model(SPEC)
runtime.save_weights(model, path)
found["is_same_object"] = runtime.load_weights(other, path) is other
ids = get_batch(5)[0]
first, second = np.empty((2, 5, 24, 97), np.float16)
runtime.logits(model, ids, first)
runtime.LOGITS_AT_ONCE = 2 * 24 * 97
runtime.logits(other, ids, second)
found |= {{"difference": float(np.abs(first - second).max()), "spread": float(np.ptp(first))}}
""")
    assert found["is_same_object"] and found["difference"] < 0.005 and found["spread"] > 1


def test_choices_have_their_reasons():
    found = run("""
import os
os.environ.pop("AUTORESEARCH_DTYPE", None)
speeds = {}
runtime.choices.measured_products = lambda offered, product, size: speeds
# Planted: an M1, whose bfloat16 is emulated, one that has it, a CPU.
for speeds in ({"float32": 2.3e12, "bfloat16": 1.6e12, "float16": 4.2e12}, {"float32": 3e12, "bfloat16": 6e12, "float16": 6e12},
               {"float32": 4e9, "bfloat16": 3e9, "float16": 2e9}):
    dtype, scale, reason, close = runtime.choose_dtype(128)
    found.setdefault("dtypes", []).append([str(dtype), scale, close])
found["compile"] = [runtime.choose_compile(is_gpu)[0] for is_gpu in (True, False)]
chips = (("Apple M1", 8), ("Apple M1 Max", 24), ("Apple M1", None), ("Apple M9", 10))
found["peaks"] = [runtime.peak_flops(*chip)[0] for chip in chips]
found["bandwidths"] = [runtime.peak_bandwidth(chip) for chip, _ in chips]
""")
    assert found["dtypes"] == [
        ["mlx.core.float16", 2.0**13, ["float16", "float32"]],
        ["mlx.core.bfloat16", 1.0, ["bfloat16", "float16", "float32"]],
        ["mlx.core.float32", 1.0, ["float32", "bfloat16", "float16"]],
    ]
    assert found["compile"] == [True, False]
    assert found["peaks"] == [pytest.approx(2.6e12), pytest.approx(7.963e12, rel=1e-3), None, None]
    assert found["bandwidths"] == [68.3e9, 400e9, 68.3e9, None]


def test_a_gpu_holds_what_macos_recommends_and_no_more():
    """Metal's answer is made up, and the setters are watched: MLX's CPU build has them, and its own limit, which must stay."""
    found = run("""
found["calls"], before = [], mx.get_memory_limit()
for name in ("set_wired_limit", "set_memory_limit"):
    setattr(mx, name, lambda size, name=name: found["calls"].append([name, size]))
size = 17_179_869_184  # of memory; Metal recommends two thirds
metal = {"device_name": "Apple M4", "memory_size": size, "max_recommended_working_set_size": size * 2 // 3}
runtime.limit_memory(False, metal)
runtime.limit_memory(True, {"device_name": "a virtual machine's"})
found["none"] = len(found["calls"])
runtime.limit_memory(True, metal)
found["is_untouched"] = mx.get_memory_limit() == before
""")
    assert found["none"] == 0 and found["is_untouched"]
    assert found["calls"] == [["set_wired_limit", 11_453_246_122], ["set_memory_limit", 11_453_246_122]]


@pytest.mark.skipif(sys.platform == "darwin", reason="may have Metal")
def test_without_metal_it_is_only_taken_by_name():
    backends = registry.scan()
    facts = dict.fromkeys(backends, Facts(ok=False, reason="not here")) | {
        "cpu": Facts(ok=True, device="a processor"), "mlx": detect.probe(backends["mlx"]),
    }  # fmt: skip
    choice = detect.choose_backend("auto", backends, facts)
    assert choice.backend.name == "cpu"
    assert dict(choice.others)["mlx"] == "works, but is only taken when asked for by name"
    assert detect.choose_backend("mlx", backends, facts).backend.name == "mlx"
