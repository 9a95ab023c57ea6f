"""An Apple Silicon GPU as a training device, through PyTorch's Metal backend: SDPA, no torch.compile, unified memory.

Written from the documentation and checked on recorded facts of devices; not run on its hardware yet.
"""

import json
import os
import platform
import sys

if __name__ == "__main__" and sys.platform != "darwin":  # answered without PyTorch, whose import takes seconds
    print(json.dumps({"ok": False, "reason": "Metal is there on macOS only", "cure": None}))
    sys.exit()

# Read when PyTorch starts: an operation that Metal lacks then runs on the CPU, with a warning in the log, and does not end a run.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

import gpu
import numpy as np
import psutil
import torch
import torch.nn.functional as F
from gpu import forget_memory, synchronize  # noqa: F401
from torch_runtime import (  # noqa: F401
    band,
    check_pace,
    cross_entropy,
    embedding,
    is_out_of_memory,
    load_weights,
    logits,
    muon_dtype,
    print_probe,
    read_later,
    save_weights,
    seed,
    steps_ahead,
)


def choose(macos: str) -> gpu.Settings:
    """macos: its version, as in "14.5"."""
    is_new = int(macos.split(".")[0] or 0) >= 14  # pytorch/pytorch#119641
    return gpu.Settings(
        torch.bfloat16 if is_new else torch.float16,
        f"Metal has bfloat16 from macOS 14 on, here {macos}",
        False,
        "torch.compile for Metal is young (pytorch/pytorch#150121), and not tried here",
        "sdpa",
        "FlexAttention has no backward pass on Metal; a window is a mask, which saves no time",
    )


def obstacle(is_built: bool, is_available: bool) -> dict | None:
    """Why this backend does not work on a Mac, or None. The arguments are torch.backends.mps's."""
    if not is_built:
        cure = "use a Python for arm64 (python -c 'import platform; print(platform.machine())') and install torch"
        return {"ok": False, "reason": "this PyTorch is built without Metal", "cure": cure}
    if not is_available:
        return {"ok": False, "reason": "Metal finds no device", "cure": "macOS 14 or newer on Apple Silicon has one"}
    return None


def chip_name() -> str:
    """As in "Apple M4 Max"."""
    return (gpu.says("sysctl", "-n", "machdep.cpu.brand_string") or "").strip() or "Apple GPU"


if torch.backends.mps.is_available():
    # Of what macOS recommends. PyTorch's own limit is 1.7 times that, more than most Macs have: they would swap, or end.
    torch.mps.set_per_process_memory_fraction(1.0)
device = torch.device("mps")
settings = choose(platform.mac_ver()[0] or "0").measured(device).as_asked()
dtype, loss_scale = settings.dtype, settings.loss_scale


def to_device(ids: np.ndarray) -> torch.Tensor:
    """See torch_runtime.to_device. Memory is shared with the device: there is nothing to pin."""
    return torch.from_numpy(ids).to(device).to(torch.int64)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """See torch_runtime.attention. Always with a mask, and with as many key as query heads.

    In half precision and without gradients, as in scoring, SDPA's own causal mask shows a query up to three later tokens (torch
    2.10 and others before 2.14: pytorch/pytorch#195910); a mask with grouped heads has ended the process (pytorch/pytorch#149132).
    """
    shared = q.size(2) // k.size(2)
    if shared > 1:
        k, v = (x.repeat_interleave(shared, dim=2) for x in (k, v))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=band(q.size(2), window, q.device)).transpose(1, 2)


def compile(function):
    return settings.compiled(function)


def peak_memory_bytes() -> None:
    """Unknown: Metal's allocator in PyTorch counts what is in use now, not the most that was."""
    return None


def probe() -> dict:
    found = obstacle(torch.backends.mps.is_built(), torch.backends.mps.is_available())
    if found is not None:
        return found
    # Apple publishes no peak FLOP/s.
    return settings.facts(device) | {
        "device": chip_name(),
        "count": torch.mps.device_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
