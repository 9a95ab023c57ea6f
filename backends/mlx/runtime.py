"""An Apple Silicon GPU as a training device, through MLX: unified memory, mx.compile, MLX's kernels for attention and norm.

The names are those of backends/torch/torch_runtime.py, where MLX needs one, and `norm`. On a computer without Metal MLX runs on the
CPU: right, slow, and only taken when asked for by name. Only that was run yet; what concerns the GPU is written from MLX's
documentation.

Shape letters: B rows, T tokens in a row, H query heads, G key/value heads, D head width, C model width, N = B*T, V vocabulary.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import mlx.core as mx
import numpy as np

from autoresearch import choices

LOGITS_AT_ONCE = 1 << 25  # elements of a scoring chunk: 128 MB in float32, a slot of the harness
LOSS_ELEMENTS_AT_ONCE = 1 << 23  # elements of a chunk of logits in training: 32 MB in float32
# torch's F.rms_norm without eps takes that of the type it computes in, which is float32 also for bfloat16 (seen in torch 2.13).
NORM_EPS = float(np.finfo(np.float32).eps)
ATTENTION_REASON = "MLX's own kernels; a window is a mask, and saves no time"


def choose_dtype(size: int) -> tuple[mx.Dtype, float, str, tuple[str, ...]]:
    """(dtype of products, loss scale, reason, what whole steps may still decide between), by the clock: autoresearch/choices.py.

    The loss scale lifts a token's share of a mean over a device batch above float16's smallest numbers, as in the CUDA backend.
    """

    def product(name: str, n: int):
        a, b = (mx.ones(shape, getattr(mx, name)) for shape in ((4 * n, n), (n, 4 * n)))
        mx.eval(a, b)
        return lambda: mx.eval(a @ b)

    name, reason, close = choices.settle_dtype("float32", choices.DTYPES, product, size)
    return getattr(mx, name), 2.0**13 if name == "float16" else 1.0, reason, close


def choose_compile(is_gpu: bool) -> tuple[bool, str]:
    """(whether mx.compile is used, reason)."""
    if is_gpu:
        return True, "mx.compile joins elementwise operations into one Metal kernel"
    return False, "on a CPU mx.compile starts g++ for each kernel, and the step gets no faster"


def limit_memory(is_gpu: bool, info: dict) -> None:
    """Keep MLX's arrays resident, and begin to wait for memory, at what macOS recommends for the GPU; no more, so that the computer
    stays usable. Without a GPU nothing is set.

    Resident memory made a fine-tuning 14 % faster (ml-explore/mlx#2006; macOS 15 and up). MLX's own limit is 1.5 times as much, on
    a small Mac all that there is.
    """
    recommended = info.get("max_recommended_working_set_size")
    if is_gpu and recommended:
        mx.set_wired_limit(recommended)
        mx.set_memory_limit(recommended)


def peak_flops(chip: str, gpu_cores: int | None) -> tuple[float, str] | tuple[None, None]:
    """(FLOP/s, source) from peaks.toml for a chip ("Apple M1 Max") with that many GPU cores."""
    row = _chip_row(chip)
    return (row["gigaflops_per_core"] * 1e9 * gpu_cores, row["source"]) if row and gpu_cores else (None, None)


def peak_bandwidth(chip: str) -> float | None:
    """Bytes per second of the chip's memory, read and written, from peaks.toml."""
    row = _chip_row(chip)
    return row["bandwidth_gb_s"] * 1e9 if row else None


def _chip_row(chip: str) -> dict | None:
    table = tomllib.loads((Path(__file__).parent / "peaks.toml").read_text(encoding="utf-8"))
    return next((row for row in table["chip"] if row["name"] == chip), None)


is_gpu = mx.default_device().type == mx.DeviceType.gpu
device_info = mx.device_info()
chip = device_info["device_name"] if is_gpu else None
limit_memory(is_gpu, device_info)
device = chip or f"{device_info['device_name']}, by MLX"
dtype, loss_scale, dtype_reason, close_dtypes = choose_dtype(1024 if is_gpu else 128)
compile_on, compile_reason = choices.settle("compile", *choose_compile(is_gpu), (True, False))
attention_kind, attention_reason = choices.settle("attention", "sdpa", ATTENTION_REASON, ("sdpa",))


def compile(function, inputs=None, outputs=None):
    """mx.compile, or the function as it is. inputs, outputs: state that the function reads and replaces."""
    return mx.compile(function, inputs=inputs, outputs=outputs) if compile_on else function


def seed(number: int) -> None:
    mx.random.seed(number)


def synchronize() -> None:
    mx.synchronize()


def materialise(model) -> None:
    """Compute the model's weights. More than the machine has is a MemoryError here: on a CPU, MLX would end by a signal."""
    import psutil
    from mlx.utils import tree_flatten

    weights = [weight for _, weight in tree_flatten(model.parameters())]
    wanted, there = sum(weight.nbytes for weight in weights), psutil.virtual_memory().total
    if wanted > there:
        raise MemoryError(f"out of memory: the weights take {wanted / 2**30:,.0f} GB and the machine has {there / 2**30:,.0f}")
    mx.eval(weights)


def peak_memory_bytes() -> int:
    """The most that MLX's arrays have held at a time."""
    return mx.get_peak_memory()


def norm(x: mx.array) -> mx.array:
    """x / root mean square of its last dimension, in x's dtype."""
    return mx.fast.rms_norm(x, None, NORM_EPS)


def attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, H, T, D]; k and v [B, G, T, D] with H a multiple of G; returns [B, H, T, D].
    """
    seq_len = q.shape[2]
    mask = "causal" if window >= seq_len - 1 else band(seq_len, window)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[3] ** -0.5, mask=mask)


def band(seq_len: int, window: int) -> mx.array:
    """bool [T, T]: row sees column when 0 <= row - column <= window."""
    row = mx.arange(seq_len)[:, None]
    distance = row - row.T
    return (distance >= 0) & (distance <= window)


def cross_entropy(hidden: mx.array, weight: mx.array, targets: mx.array, softcap: float) -> mx.array:
    """Mean cross-entropy in nats of the logits `softcap * tanh(hidden @ weight.T / softcap)`.

    hidden [N, C] in the compute dtype, weight [V, C] float32, targets int [N]; returns a float32 scalar.
    The logits exist for a chunk of tokens at a time, and only once: their gradient is taken while they are at hand.
    """

    @mx.custom_function
    def loss_and_gradients(hidden, weight):
        return _linear_cross_entropy(hidden, weight, targets, softcap)

    @loss_and_gradients.vjp
    def from_the_outputs(primals, cotangents, outputs):
        (hidden, _), (_, grad_hidden, grad_weight) = primals, outputs
        scale = cotangents[0] / hidden.shape[0]
        return (grad_hidden * scale).astype(hidden.dtype), grad_weight * scale

    return loss_and_gradients(hidden, weight)[0]


def _linear_cross_entropy(hidden, weight, targets, softcap) -> tuple[mx.array, mx.array, mx.array]:
    """(mean loss, and the summed loss's gradients for hidden, in its dtype, and for weight, float32)."""
    rows = max(1, LOSS_ELEMENTS_AT_ONCE // weight.shape[0])
    compute_weight = weight.astype(hidden.dtype)
    loss, grad_weight, grad_hidden = mx.zeros(()), mx.zeros_like(weight), []
    for start in range(0, hidden.shape[0], rows):
        # A chunk begins when the one before is done: lazy evaluation could otherwise hold the logits of many at a time.
        done = [loss, grad_weight, *grad_hidden[-1:]]
        x, goal = mx.depends([hidden[start : start + rows], targets[start : start + rows]], done)
        chunk_loss, slope = _loss_and_slope(x @ compute_weight.T, goal[:, None], softcap)
        loss = loss + chunk_loss
        grad_hidden.append(slope @ compute_weight)
        grad_weight = grad_weight + slope.T @ x
    return loss / hidden.shape[0], mx.concatenate(grad_hidden), grad_weight


def _loss_and_slope(raw: mx.array, goal: mx.array, softcap: float) -> tuple[mx.array, mx.array]:
    """(summed cross-entropy, its gradient for raw in raw's dtype) of the logits before the soft cap, raw [n, V], goal [n, 1]."""
    height = mx.tanh(raw.astype(mx.float32) / softcap)
    capped = softcap * height
    total = mx.logsumexp(capped, axis=1, keepdims=True)
    loss = (total - mx.take_along_axis(capped, goal, axis=1)).sum()
    slope = mx.exp(capped - total) - (mx.arange(raw.shape[1]) == goal)
    return loss, (slope * (1 - height * height)).astype(raw.dtype)


def save_weights(model, path: Path) -> None:
    """safetensors under the names of torch's state_dict. An array of several names is saved once, as in torch_weights.py."""
    from mlx.utils import tree_flatten

    first, kept, twins = {}, {}, {}
    for name, value in tree_flatten(model.parameters()):
        if id(value) in first:
            twins[name] = first[id(value)]
        else:
            first[id(value)], kept[name] = name, value
    with open(path, "wb") as file:  # an open file: mx.save_safetensors adds an ending to a name
        mx.save_safetensors(file, kept, {"twins": json.dumps(twins)})


def load_weights(model, path: Path):
    """The model with the weights of the file, ready to score."""
    weights, metadata = mx.load(str(path), format="safetensors", return_metadata=True)
    weights |= {name: weights[twin] for name, twin in json.loads(metadata.get("twins", "{}")).items()}
    model.load_weights(list(weights.items()))  # refuses names or shapes that are not the model's
    mx.eval(model.parameters())
    return model.eval()  # dropout off, as in torch


def logits(model, ids: np.ndarray, out: np.ndarray) -> None:
    """Fill out (float16 or float32 [B, T, V]) with the model's logits for ids (int32 [B, T]), some rows at a time."""
    rows = max(1, LOGITS_AT_ONCE // out[0].size)
    out_dtype = mx.float16 if out.dtype == np.float16 else mx.float32
    for start in range(0, len(ids), rows):
        out[start : start + rows] = model(mx.array(ids[start : start + rows])).astype(out_dtype)


def probe() -> dict:
    import psutil

    square = mx.ones((64, 64), dtype)
    (square @ square).sum().item()  # a driver that is broken fails here, not in the run
    flops, source = peak_flops(chip, _gpu_cores()) if is_gpu else (None, None)
    return {
        "ok": True,
        "auto": is_gpu,
        "device": device,
        "count": 1,
        "memory_bytes": psutil.virtual_memory().total,
        "capability": None,
        "cores": None,
        "matmul_tflops": None,
        "dtype": str(dtype).removeprefix("mlx.core."),
        "dtype_reason": dtype_reason,
        "compile": compile_on,
        "compile_reason": compile_reason,
        "attention": attention_kind,
        "attention_reason": attention_reason,
        "choices": choices.left(dtype=close_dtypes, compile=(True, False) if is_gpu else ()),  # on a CPU compiling never pays
        "peak_flops": flops,
        "peak_source": source,
        "peak_bandwidth": peak_bandwidth(chip) if is_gpu else None,
        "versions": {"mlx": mx.__version__},
    }


def _gpu_cores() -> int | None:
    """From the registry of macOS's drivers; MLX does not say."""
    import subprocess

    asked = subprocess.run(["ioreg", "-rc", "IOAccelerator"], capture_output=True, text=True, check=False)
    found = re.search(r'"gpu-core-count" = (\d+)', asked.stdout)
    return int(found[1]) if found else None


if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
