"""What every torch device shares. A device's own runtime.py imports these names, and replaces the ones it does better.

The module `runtime` that train.py and the score worker see must have all of these:

    device, dtype            torch.device; what matrix products run in. Weights, optimizer state and losses stay in float32
    loss_scale               what the loss is multiplied with before backward(): 1, or in float16 where that starts
    compile(function)        torch.compile, or the function as it is
    muon_dtype(dtype)        what Newton-Schulz runs in
    is_out_of_memory(error), forget_memory(), check_pace(step_seconds): a device that is full
    to_device(ids), read_later(value), steps_ahead: a device that computes while the host goes on
    seed, synchronize, peak_memory_bytes, embedding, attention, cross_entropy, save_weights, load_weights, logits, probe

Shape letters: B rows, T tokens in a row, H query heads, G key/value heads, D head width, C model width, N = B*T, V vocabulary.
"""

import gc
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# torch.compile reads these when it is first used. Graphs with a custom autograd.Function are kept too: their key holds the
# traced backward pass (tried: another backward of the same name is compiled anew), and a warm start is seconds shorter.
os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE_ALLOW_CUSTOM_AUTOGRAD", "1")
if os.environ.get("AUTORESEARCH_COMPILE_CACHE"):
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(os.environ["AUTORESEARCH_COMPILE_CACHE"]) / "inductor")
if sys.platform == "win32":  # a kernel named after all that it fuses makes paths of over 260 characters (pytorch#187283)
    os.environ.setdefault("TORCHINDUCTOR_UNIQUE_KERNEL_NAMES", "0")

import numpy as np
import torch
import torch.nn.functional as F
from torch_weights import device_of, load_weights, save_weights  # noqa: F401

from autoresearch import choices

LOGITS_AT_ONCE = 1 << 27  # elements of a scoring chunk: 256 MB in bfloat16
LOSS_ELEMENTS_AT_ONCE = 1 << 23  # elements of a chunk of logits in training: 16 MB in bfloat16, or more where those were too many
LOSS_CHUNKS = 16  # at most: each is unrolled in what is compiled (256 took 452 s for sm_90, 16 of them 63 to 82 s)

# How a device says that it is full, besides torch.OutOfMemoryError: CUDA's driver, MPS; PyTorch's CPU allocator; cuBLAS; XPU.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "out_of_device_memory", "out_of_resources")
# Chosen: a laptop that gets hot loses half its speed, a driver that moves memory over the bus far more than four fifths.
PAGING_SLOWDOWN = 5
PAGING_STEPS = 2  # that many in a row: one slow step is a hiccup
PAGING_FREE_SHARE = 0.03  # of the device's memory, or less

# What float16 multiplies the loss with. The gradient of one token in a mean over a device batch of 2**13 tokens (the turing
# profile's) is 2**-13 of its own size, which in float16 is mostly below the smallest normal number (2**-14).
FLOAT16_LOSS_SCALE = 2.0**13


def choose_dtype(own: str, offered: Sequence[str], device: torch.device, size: int) -> tuple[torch.dtype, str, tuple[str, ...]]:
    """(dtype, reason, what whole steps may still decide between), from products on the device; own: where it has none.

    See autoresearch/choices.py, settle_dtype.
    """

    def product(name: str, n: int):
        a, b = (torch.ones(shape, device=device, dtype=getattr(torch, name)) for shape in ((4 * n, n), (n, 4 * n)))
        out = a @ b
        wait = torch.get_device_module(device).synchronize

        def run() -> None:
            torch.mm(a, b, out=out)
            wait()

        return run

    name, reason, close = choices.settle_dtype(own, offered, product, size)
    return getattr(torch, name), reason, close


def loss_scale_of(dtype: torch.dtype) -> float:
    """What the loss is multiplied with before backward(), in the beginning."""
    return FLOAT16_LOSS_SCALE if dtype == torch.float16 else 1.0


def seed(number: int) -> None:
    torch.manual_seed(number)


def synchronize() -> None:
    """Wait until the device has done its work. Nothing to wait for where work is done in the calling thread."""


steps_ahead = 0  # steps that the device may still have to do when the host begins the next


def to_device(ids: np.ndarray) -> torch.Tensor:
    """Token ids (int32) as int64 on the device, without a wait for what it is doing."""
    return torch.from_numpy(ids).to(torch.int64)


def read_later(value: torch.Tensor) -> Callable[[], float]:
    """What gives the number once the device has it; other work may be queued meanwhile, and is not waited for."""
    return value.item


def muon_dtype(dtype: torch.dtype) -> torch.dtype:
    """What Newton-Schulz runs in, for a compute dtype. The entries of its Gram matrices are mostly under float16's smallest
    normal number (6e-5: a normalised 512 x 512 matrix has entries of 2e-3), and would lose the digits that count.
    """
    return torch.float32 if dtype == torch.float16 else dtype


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def forget_memory() -> None:
    """Give back what no tensor holds, after a step that failed. A GPU's runtime empties its allocator's cache too."""
    gc.collect()


def check_pace(step_seconds: Sequence[float]) -> None:
    """Called before each step with the times of the last ones: may raise torch.OutOfMemoryError. A device that says when it is
    full needs no check; Windows drivers move memory to the computer's instead (see paging).
    """


def paging(step_seconds: Sequence[float], free_bytes: int, total_bytes: int) -> str | None:
    """Why the driver must be moving device memory over the bus, or None. step_seconds: of the last steps, the newest last."""
    earlier, last = step_seconds[:-PAGING_STEPS], step_seconds[-PAGING_STEPS:]
    if len(earlier) < 5 or free_bytes > PAGING_FREE_SHARE * total_bytes:
        return None
    usual = statistics.median(earlier)
    if min(last) < PAGING_SLOWDOWN * usual:
        return None
    return (
        f"out of memory: the driver moves the device's memory to the computer's (steps of {min(last):.2f} s and more after "
        f"{usual:.2f} s, {free_bytes / 2**30:.1f} of {total_bytes / 2**30:.1f} GB free); make DEVICE_BATCH_SIZE smaller, or end "
        "other programs that use the GPU"
    )


def embedding(ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rows of weight (float32 [V, C]) for ids (int64 [B, T]): float32 [B, T, C]."""
    return F.embedding(ids, weight)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, T, H, D]; k and v [B, T, G, D] with H a multiple of G; returns [B, T, H, D].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    is_full = window >= q.size(2) - 1
    mask = None if is_full else band(q.size(2), window, q.device)
    is_grouped = q.size(1) != k.size(1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_full, enable_gqa=is_grouped)
    return out.transpose(1, 2)


def band(seq_len: int, window: int, device: torch.device) -> torch.Tensor:
    """bool [T, T]: row sees column when 0 <= row - column <= window."""
    row = torch.arange(seq_len, device=device)[:, None]
    distance = row - row.T
    return (distance >= 0) & (distance <= window)


def cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, softcap: float) -> torch.Tensor:
    """Mean cross-entropy in nats of the logits `softcap * tanh(hidden @ weight.T / softcap)`.

    hidden [N, C] in the compute dtype, weight [V, C] float32, targets int64 [N]; returns a float32 scalar.
    The logits exist for a chunk of tokens at a time, and only once: their gradient is taken while they are at hand.
    """
    return _LinearCrossEntropy.apply(hidden, weight, targets, softcap)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, softcap):
        chunk = max(1, LOSS_ELEMENTS_AT_ONCE // weight.size(0), -(-hidden.size(0) // LOSS_CHUNKS))
        compute_weight = weight.to(hidden.dtype)
        loss = torch.zeros((), device=hidden.device)
        grad_weight = torch.zeros_like(weight.T)  # [C, V]
        grad_hidden = []
        for x, goal in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            chunk_loss, slope, total = _loss_and_slope(x @ compute_weight.T, goal, softcap)
            loss = loss + chunk_loss
            # The division by the rows' sums is done on [n, C], which is much smaller than [n, V].
            grad_hidden.append(((slope @ compute_weight).float() / total).to(x.dtype))
            grad_weight = grad_weight + (x.float() / total).to(x.dtype).T @ slope
        ctx.save_for_backward(torch.cat(grad_hidden), grad_weight.T)
        return loss / hidden.size(0)

    @staticmethod
    def backward(ctx, grad_loss):
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_loss / grad_hidden.size(0)
        return (grad_hidden * scale).to(grad_hidden.dtype), grad_weight * scale, None, None


def _loss_and_slope(raw: torch.Tensor, targets: torch.Tensor, softcap: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(summed cross-entropy, slope, total) of the logits before the soft cap, raw [n, V].

    slope / total is the sum's gradient for raw; slope has raw's shape and dtype, total is float32 [n, 1].
    With r = 1 / (1 + exp(2 raw / softcap)) a capped logit is softcap (1 - 2 r), and its derivative 4 r (1 - r): two exp() and a
    division an element. Compiled tanh() takes four times as long as exp().
    """
    remainder = _remainder(raw, softcap)
    # A capped logit can't overflow exp() in float32 or bfloat16, which saves the pass that looks for the largest.
    is_safe = softcap <= 40 and raw.dtype != torch.float16
    least = torch.zeros_like(remainder[:, :1]) if is_safe else remainder.amin(1, keepdim=True)
    weight = torch.exp(-2 * softcap * (remainder - least))
    total = weight.sum(1, keepdim=True)
    slope = (weight * (remainder - remainder * remainder)).to(raw.dtype)

    targets = targets[:, None]
    remainder = _remainder(raw.gather(1, targets), softcap)  # [n, 1], at the target only from here on
    height = 2 * softcap * (remainder - least)
    loss = (total.log() + height).sum()
    at_target = (torch.exp(-height) - total) * (remainder - remainder * remainder)
    return loss, slope.scatter(1, targets, at_target.to(raw.dtype)), total / 4


def _remainder(raw: torch.Tensor, softcap: float) -> torch.Tensor:
    """What the capped logit lacks to the cap, in units of 2 softcap; float32, in (0, 1)."""
    return 1 / (1 + torch.exp(raw.float() * (2 / softcap)))


@torch.inference_mode()
def logits(model: torch.nn.Module, ids: np.ndarray, out: np.ndarray) -> None:
    """Fill out (float [B, T, V]) with the model's logits for ids (int32 [B, T]), some rows at a time."""
    device = device_of(model)
    rows = max(1, LOGITS_AT_ONCE // out[0].size)
    for start in range(0, len(ids), rows):
        inputs = torch.from_numpy(ids[start : start + rows].astype(np.int64)).to(device)
        torch.from_numpy(out[start : start + rows]).copy_(model(inputs))


def print_probe(probe) -> None:
    """The answer to `python runtime.py --probe`: one JSON line of probe()'s facts."""
    print(json.dumps(probe() | {"versions": {"torch": torch.__version__}}))
