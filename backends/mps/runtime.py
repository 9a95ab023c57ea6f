"""An Apple Silicon GPU as a training device, through PyTorch's Metal backend: SDPA, no torch.compile, unified memory.

Written from the documentation and checked on recorded facts of devices; not run on its hardware yet.
"""

import json
import platform
import subprocess
import sys

if __name__ == "__main__" and sys.platform != "darwin":  # answered without PyTorch, whose import takes seconds
    print(json.dumps({"ok": False, "reason": "Metal is there on macOS only", "cure": None}))
    sys.exit()

import psutil
import torch
from torch_runtime import (  # noqa: F401
    attention,
    cross_entropy,
    dtype_asked_for,
    embedding,
    load_weights,
    logits,
    print_probe,
    save_weights,
    seed,
)


def choose_dtype(macos: str) -> tuple[torch.dtype, float, str]:
    """(dtype of products, loss scale, reason) for a version of macOS, as in "14.5"."""
    if int(macos.split(".")[0] or 0) >= 14:
        return torch.bfloat16, 1.0, f"Metal has bfloat16 from macOS 14 on, here {macos}"
    # float16 would need a scaled loss, and a published run in float32 (Mac mini M4, devices.csv) did as well as others.
    return torch.float32, 1.0, f"Metal has bfloat16 from macOS 14 on, here {macos}"


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
    asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "Apple GPU"


device = torch.device("mps")
dtype, loss_scale, dtype_reason = dtype_asked_for() or choose_dtype(platform.mac_ver()[0] or "0")


def compile(function):
    return function


def synchronize() -> None:
    torch.mps.synchronize()


def peak_memory_bytes() -> None:
    """Unknown: Metal's allocator in PyTorch counts what is in use now, not the most that was."""
    return None


def probe() -> dict:
    found = obstacle(torch.backends.mps.is_built(), torch.backends.mps.is_available())
    if found is not None:
        return found
    square = torch.ones(64, 64, device=device, dtype=dtype)
    (square @ square).sum().item()  # a driver that is broken fails here, not in the run
    return {
        "ok": True,
        "device": chip_name(),
        "count": torch.mps.device_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "capability": None,
        "cores": None,
        "matmul_tflops": None,
        "dtype": str(dtype).removeprefix("torch."),
        "dtype_reason": dtype_reason,
        "compile": False,
        "compile_reason": "torch.compile for Metal is young (pytorch/pytorch#150121), and not tried here",
        "attention": "sdpa",
        "attention_reason": "PyTorch's own kernels; a window is a mask, and saves no time",
        "peak_flops": None,  # Apple publishes none
        "peak_source": None,
    }


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
