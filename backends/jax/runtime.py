"""Whatever JAX finds as a training device: a TPU, a GPU, or a plain CPU, each through XLA.

The names are those of backends/torch/torch_runtime.py, where JAX needs one, and `norm`. JAX has no global random state: train.py
takes the seed itself. Only the CPU was run yet; what concerns GPU and TPU is written from JAX's documentation.

Shape letters: B rows, T tokens in a row, H query heads, G key/value heads, D head width, C model width, N = B*T, V vocabulary.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

# Read when the device is first used. Training, scoring and audit are processes of their own, and JAX would else take three
# quarters of a GPU's memory for each (docs.jax.dev, "GPU memory allocation").
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from autoresearch import choices

LOGITS_AT_ONCE = 1 << 25  # elements of a scoring chunk: 128 MB in float32
LOSS_ELEMENTS_AT_ONCE = 1 << 23  # elements of a chunk of logits in training: 32 MB in float32
# torch's F.rms_norm without eps takes that of the type it computes in, which is float32 also for bfloat16 (seen in torch 2.13).
NORM_EPS = float(np.finfo(np.float32).eps)
ATTENTION_REASON = "XLA's own products and softmax; a window is a mask, and saves no time"
COMPILE_REASON = "XLA compiles a whole step, and keeps what it compiled"


def choose_dtype(platform: str) -> tuple[jnp.dtype, float, str, tuple[str, ...]]:
    """(dtype of products, loss scale, reason, what whole steps may still decide between), by the clock: autoresearch/choices.py.

    platform: "cpu", "gpu" or "tpu". The loss scale lifts a token's share of a mean over a device batch above float16's smallest
    numbers, as in the CUDA backend.
    """

    def product(name: str, n: int):
        a, b = (jnp.ones(shape, name) for shape in ((4 * n, n), (n, 4 * n)))
        multiply = jax.jit(partial(jnp.matmul, precision=choose_precision(jnp.dtype(name))[0]))
        return lambda: multiply(a, b).block_until_ready()

    # JAX 0.10's attention asks for a product that sums up in float32, which a CPU has not for float16.
    offered = choices.DTYPES[:2] if platform == "cpu" else choices.DTYPES
    name, reason, close = choices.settle_dtype("float32", offered, product, 128 if platform == "cpu" else 1024)
    return jnp.dtype(name), 2.0**13 if name == "float16" else 1.0, reason, close


def choose_precision(dtype: jnp.dtype) -> tuple[str, str]:
    """(jax_default_matmul_precision, reason): it concerns products of float32 arrays alone."""
    if dtype == jnp.float32:
        return "highest", "float32 is meant: by default a TPU takes bfloat16 for it, a GPU TF32"
    return "default", f"products are {dtype}; the few of float32 need no more than the device's default"


def find_devices() -> tuple[list[jax.Device], str | None]:
    """(what JAX has chosen, None), or ([], why it has none)."""
    try:
        return jax.devices(), None
    except (RuntimeError, AssertionError) as error:  # a platform's driver is not there; its plugin is not, and JAX says nothing
        return [], str(error).partition("\n")[0] or f"JAX_PLATFORMS is {jax.config.jax_platforms!r}, which is not installed"


def _capability(device: jax.Device | None) -> tuple[int, int] | None:
    """(8, 9) of an NVIDIA GPU; None for any other device, AMD's too, whose name is no number ("gfx942")."""
    major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


devices, problem = find_devices()
device = devices[0] if devices else None
platform = device.platform if device else None
device_name = f"{device.device_kind}, by JAX" if device else None
capability = _capability(device)
dtype, loss_scale, dtype_reason, close_dtypes = choose_dtype(platform) if device else (jnp.dtype("float32"), 1.0, "", ())
# There is one of each; what else is asked for is refused here.
compiles, compile_reason = choices.settle("compile", True, COMPILE_REASON, (True,))
attention_kind, attention_reason = choices.settle("attention", "xla", ATTENTION_REASON, ("xla",))
precision, precision_reason = choose_precision(dtype)
muon_dtype = jnp.dtype("float32") if dtype == jnp.float16 else dtype  # as torch_runtime.muon_dtype
jax.config.update("jax_default_matmul_precision", precision)
if os.environ.get("AUTORESEARCH_COMPILE_CACHE"):
    jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["AUTORESEARCH_COMPILE_CACHE"]) / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # chosen: fresh weights are many small functions


def peak_memory_bytes() -> int | None:
    """The most that XLA's arrays have held on the device; on a CPU, which has no such count, the most that the process has."""
    statistics = device.memory_stats()
    if statistics:
        return statistics.get("peak_bytes_in_use")
    if os.name == "nt":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, KiB on Linux


def norm(x: jax.Array) -> jax.Array:
    """x / root mean square of its last dimension, computed in float32, in x's dtype."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + NORM_EPS)).astype(x.dtype)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, window: int) -> jax.Array:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, T, H, D]; k and v [B, T, G, D] with H a multiple of G; returns [B, T, H, D].
    """
    is_full = window >= q.shape[1] - 1
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=None if is_full else (window, 0))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def cross_entropy(hidden: jax.Array, weight: jax.Array, targets: jax.Array, softcap: float) -> jax.Array:
    """Mean cross-entropy in nats of the logits `softcap * tanh(hidden @ weight.T / softcap)`.

    hidden [N, C] in the compute dtype, weight [V, C] float32, targets int [N]; returns a float32 scalar.
    The logits exist for a chunk of tokens at a time, and only once: their gradient is taken while they are at hand.
    """
    return _linear_cross_entropy(hidden, weight, targets, softcap)[0]


def _forward(hidden, weight, targets, softcap):
    loss, *gradients = _linear_cross_entropy(hidden, weight, targets, softcap)
    return loss, gradients


def _backward(softcap, gradients, grad_loss):
    grad_hidden, grad_weight = gradients
    scale = grad_loss / len(grad_hidden)
    return (grad_hidden * scale).astype(grad_hidden.dtype), grad_weight * scale, None


cross_entropy.defvjp(_forward, _backward)


def _linear_cross_entropy(hidden, weight, targets, softcap) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(mean loss, and the summed loss's gradients for hidden, in its dtype, and for weight, float32)."""
    compute_weight = weight.astype(hidden.dtype)

    def add_a_chunk(total, chunk):
        x, goal = chunk
        raw = jnp.matmul(x, compute_weight.T, preferred_element_type=jnp.float32)
        loss, slope = _loss_and_slope(raw, goal[:, None], softcap)
        slope = slope.astype(x.dtype)
        grad_weight = jnp.matmul(slope.T, x, preferred_element_type=jnp.float32)
        return (total[0] + loss, total[1] + grad_weight), slope @ compute_weight

    rows = chunk_rows(len(hidden), len(weight))
    chunks = (hidden.reshape(-1, rows, hidden.shape[1]), targets.reshape(-1, rows))
    (loss, grad_weight), grad_hidden = jax.lax.scan(add_a_chunk, (jnp.zeros(()), jnp.zeros_like(weight)), chunks)
    return loss / len(hidden), grad_hidden.reshape(hidden.shape), grad_weight


def chunk_rows(tokens: int, vocab_size: int) -> int:
    """The most tokens whose logits may exist at a time: a divisor of all tokens, since the chunks of a scan have one shape."""
    most = max(1, LOSS_ELEMENTS_AT_ONCE // vocab_size)
    return next(rows for rows in range(min(most, tokens), 0, -1) if tokens % rows == 0)


def _loss_and_slope(raw: jax.Array, goal: jax.Array, softcap: float) -> tuple[jax.Array, jax.Array]:
    """(summed cross-entropy, its gradient for raw) of the logits before the soft cap, raw float32 [n, V], goal [n, 1]."""
    height = jnp.tanh(raw / softcap)
    capped = softcap * height
    total = jax.nn.logsumexp(capped, axis=1, keepdims=True)
    loss = (total - jnp.take_along_axis(capped, goal, axis=1)).sum()
    slope = jnp.exp(capped - total) - (jnp.arange(raw.shape[1]) == goal)
    return loss, slope * (1 - height * height)


def save_weights(model, path: Path) -> None:
    """safetensors under the names of torch's state_dict. An array of several names is saved once, as in torch_weights.py."""
    from safetensors.numpy import save_file

    first = {}
    for name, weight in model.weights.items():
        first.setdefault(id(weight), name)
    twins = {name: first[id(weight)] for name, weight in model.weights.items() if first[id(weight)] != name}
    kept = {name: np.asarray(model.weights[name], order="C") for name in first.values()}  # np.ascontiguousarray: 0-d becomes 1-d
    save_file(kept, path, {"twins": json.dumps(twins)})


def load_weights(model, path: Path):
    """The model with the weights of the file, ready to score. Other names or shapes than the model's are refused."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        twins = json.loads((file.metadata() or {}).get("twins", "{}"))
    found |= {name: found[twin] for name, twin in twins.items()}
    wrong = {name: weight.shape for name, weight in found.items()}.items() ^ {
        name: weight.shape for name, weight in model.weights.items()
    }.items()
    if wrong:
        raise ValueError(f"{path} is not of this model; names and shapes that only one of both has: {sorted(wrong)}")
    model.weights = {name: jnp.array(weight) for name, weight in found.items()}
    return model


def logits(model, ids: np.ndarray, out: np.ndarray) -> None:
    """Fill out (float [B, T, V]) with the model's logits for ids (int32 [B, T]), some rows at a time."""
    rows = max(1, LOGITS_AT_ONCE // out[0].size)
    for start in range(0, len(ids), rows):
        out[start : start + rows] = model(ids[start : start + rows]).astype(out.dtype)


def probe() -> dict:
    import psutil

    versions = {"jax": jax.__version__, "jaxlib": jax.lib.__version__}
    if device is None:
        cure = "set JAX_PLATFORMS to a platform that is here (cpu is everywhere), or mend the driver"
        return {"ok": False, "reason": f"JAX has no device: {problem}", "cure": cure, "versions": versions}
    square = jnp.ones((64, 64), dtype)
    (square @ square).block_until_ready()  # a driver that is broken fails here, not in the run
    statistics = device.memory_stats() or {}
    return {
        "ok": True,
        "device": device_name,
        "count": len(devices),
        "memory_bytes": psutil.virtual_memory().total if platform == "cpu" else statistics.get("bytes_limit"),
        "capability": list(capability) if capability else None,
        "cores": None,
        "matmul_tflops": None,
        "dtype": str(dtype),
        "dtype_reason": f"{dtype_reason}; precision {precision}: {precision_reason}",
        "compile": compiles,
        "compile_reason": compile_reason,
        "attention": attention_kind,
        "attention_reason": attention_reason,
        "choices": choices.left(dtype=close_dtypes),
        "peak_flops": None,
        "peak_source": None,
        "versions": versions,
    }


if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
