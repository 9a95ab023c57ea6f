"""An Intel GPU (Arc, Core Ultra, Data Center GPU Max) as a training device, through an XPU build of PyTorch.

One device is used, the first that ZE_AFFINITY_MASK leaves; of a Max 1550 that is one of its two tiles. Written from the
documentation and checked on recorded facts of devices; not run on its hardware yet.
"""

import glob
import json
import os
import sys
from pathlib import Path

# Level Zero: its driver for Intel GPUs where Linux distributions put it, its loader where Intel's Windows driver does.
DRIVER_FILES = (
    "/usr/lib/x86_64-linux-gnu/libze_intel_gpu.so*",
    "/usr/lib64/libze_intel_gpu.so*",
    "/usr/lib/libze_intel_gpu.so*",
    os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "ze_loader.dll"),
)
if __name__ == "__main__" and not any(map(glob.glob, DRIVER_FILES)):
    # Most computers: answered without PyTorch, whose import takes seconds.
    print(json.dumps({"ok": False, "reason": "no compute driver (Level Zero) for an Intel GPU was found", "cure": None}))
    sys.exit()

import gpu  # noqa: E402
import torch  # noqa: E402
from gpu import forget_memory, peak_memory_bytes, read_later, steps_ahead, synchronize, to_device  # noqa: E402, F401
from torch_runtime import (  # noqa: E402, F401
    attention,
    check_pace,
    cross_entropy,
    embedding,
    is_out_of_memory,
    load_weights,
    logits,
    muon_dtype,
    print_probe,
    save_weights,
    seed,
)


def choose(has_matrix_engine: bool, has_triton: bool, has_compiler: bool, system: str) -> gpu.Settings:
    """has_matrix_engine: XMX, which Arc cards, the Max series and Core Ultra 200V have. system: sys.platform."""
    if has_matrix_engine:
        dtype, dtype_reason = torch.bfloat16, "its matrix engines (XMX) multiply bfloat16"
    else:
        dtype, dtype_reason = torch.float32, "it has no matrix engines (XMX): half precision gains little"
    kind = "sdpa"
    reason = "as the published run on an Arc card (karpathy/autoresearch#481); a window is a mask, which saves no time"
    return gpu.Settings(dtype, dtype_reason, *gpu.choose_compile(has_triton, has_compiler, system), kind, reason)


def obstacle(is_built: bool, is_available: bool) -> dict | None:
    """Why this backend does not work here, or None."""
    if not is_built:
        reason = f"there is a driver for Intel GPUs, but this PyTorch ({torch.__version__}) is built without XPU"
        return {"ok": False, "reason": reason, "cure": f"with an Arc, Core Ultra or Max GPU: {gpu.pip_line('xpu')}"}
    if not is_available:
        cure = "update Intel's graphics driver; Arc, Core Ultra and Max GPUs work with it"
        return {"ok": False, "reason": "XPU finds no device", "cure": cure}
    return None


device = torch.device("xpu")
found = obstacle(torch.xpu._is_compiled(), torch.xpu.is_available())  # read by probe(); nothing below works where there is one
__getattr__ = gpu.says_why(found)
if found is None:
    gpu.limit_compile_pool()
    _has_xmx = torch.xpu.get_device_properties(0).has_subgroup_matrix_multiply_accumulate
    settings = choose(_has_xmx, gpu.has_triton(), gpu.has_compiler(), sys.platform).measured(device).as_asked()
    dtype, loss_scale = settings.dtype, settings.loss_scale


def compile(function):
    return settings.compiled(function)


def probe() -> dict:
    if found is not None:
        return found
    return settings.card_facts(device, Path(__file__).with_name("peaks.toml"))


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
