"""An NVIDIA GPU as a training device: bfloat16 from Ampere on, float16 with a scaled loss before it, SDPA, torch.compile.

One device is used, the first that CUDA_VISIBLE_DEVICES leaves. Written from the documentation and checked on recorded facts of
devices; not run on its hardware yet. A ROCm build of PyTorch answers to the same names but is another backend.
"""

import importlib.util
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

# Files that are there when an NVIDIA driver is: on Linux, inside WSL, on a Jetson, on Windows.
DRIVER_FILES = (
    "/proc/driver/nvidia/version",
    "/usr/lib/wsl/lib/libcuda.so.1",
    "/dev/nvhost-ctrl-gpu",
    os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvml.dll"),
)
if __name__ == "__main__" and not any(map(os.path.exists, DRIVER_FILES)):
    # Most computers: answered without PyTorch, whose import takes seconds.
    print(json.dumps({"ok": False, "reason": "no NVIDIA driver was found on this computer", "cure": None}))
    sys.exit()

CACHE = os.environ.get("AUTORESEARCH_COMPILE_CACHE")
if CACHE:  # read by torch.compile when it is first used
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(CACHE) / "inductor")

import torch  # noqa: E402
from torch_runtime import (  # noqa: E402, F401
    FLOAT16_LOSS_SCALE,
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

GET_PYTORCH = "install the PyTorch build for CUDA that pytorch.org (Get Started) names for your system"


def choose_dtype(capability: tuple[int, int]) -> tuple[torch.dtype, float, str]:
    """(dtype of products, loss scale, reason) for a compute capability.

    Weights, their gradients and the optimizer are float32 everywhere, and neither optimizer sees the scale.
    """
    version = "{}.{}".format(*capability)
    if capability >= (8, 0):
        return torch.bfloat16, 1.0, f"compute capability {version} multiplies bfloat16 in hardware"
    if capability >= (7, 0):
        return torch.float16, FLOAT16_LOSS_SCALE, f"compute capability {version} multiplies float16 in hardware, not bfloat16"
    return torch.float32, 1.0, f"compute capability {version} has no tensor cores: half precision gains nothing"


def choose_compile(capability: tuple[int, int], has_triton: bool, has_compiler: bool, system: str) -> tuple[bool, str]:
    """(whether to compile, reason). system: sys.platform."""
    if capability < (7, 0):
        return False, "Triton makes no kernels below compute capability 7.0"
    if not has_triton:
        cure = "; on Windows the package triton-windows adds it" if system == "win32" else ""
        return False, f"Triton is not installed{cure}"
    if not has_compiler and system != "win32":  # triton-windows brings its own
        return False, "Triton needs a C compiler on the PATH and there is none (install gcc or clang)"
    return True, "Triton and a C compiler are there"


def is_built_for(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a PyTorch build runs on a card: sm_XY on the same major version up to it, compute_XY on anything newer.

    architectures: torch.cuda.get_arch_list(), as in ["sm_75", "sm_80", "compute_120"].
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        digits = digits.rstrip("af")  # sm_90a, sm_100f: for one chip or family
        built = (int(digits[:-1]), int(digits[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


def peak_flops(name: str, dtype: torch.dtype) -> tuple[float, str] | tuple[None, None]:
    """(dense FLOP/s, source) from peaks.toml: the longest entry that the device's name ends in, at a word's start."""
    if dtype is torch.float32:
        return None, None  # the table is of tensor cores
    table = tomllib.loads((Path(__file__).parent / "peaks.toml").read_text(encoding="utf-8"))
    fitting = [card for card in table["card"] if f" {name}".endswith(f" {card['name']}")]
    if not fitting:
        return None, None
    card = max(fitting, key=lambda card: len(card["name"]))
    return card["tflops"] * 1e12, card["source"]


def _settings():
    capability = torch.cuda.get_device_capability()
    has_compiler = any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang")))
    has_triton = importlib.util.find_spec("triton") is not None
    return (*(dtype_asked_for() or choose_dtype(capability)), *choose_compile(capability, has_triton, has_compiler, sys.platform))


def _obstacle() -> dict | None:
    """Why this backend does not work here, or None."""
    if torch.version.hip:
        reason = f"this PyTorch is a ROCm build ({torch.__version__}), and this backend is for NVIDIA cards"
        return {"ok": False, "reason": reason, "cure": f"with an NVIDIA card, {GET_PYTORCH}"}
    if not torch.version.cuda:
        reason = f"there is an NVIDIA card, but this PyTorch ({torch.__version__}) is built without CUDA"
        return {"ok": False, "reason": reason, "cure": GET_PYTORCH}
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # what torch raises for no driver, an old one, no device
        reason = f"CUDA does not start: {str(error).strip().splitlines()[0]}"
        return {"ok": False, "reason": reason, "cure": "update the NVIDIA driver, then check with nvidia-smi"}
    capability = torch.cuda.get_device_capability()
    if not is_built_for(capability, torch.cuda.get_arch_list()):
        version = "{}.{}".format(*capability)
        reason = f"this PyTorch ({torch.__version__}) has no code for compute capability {version}"
        return {"ok": False, "reason": reason, "cure": f"{GET_PYTORCH}; older cards need the build for an older CUDA"}
    return None


device = torch.device("cuda")
obstacle = _obstacle()  # read by probe(); nothing below works where there is one
if obstacle is None:
    dtype, loss_scale, dtype_reason, compile_on, compile_reason = _settings()


def compile(function):
    return torch.compile(function, dynamic=False, fullgraph=True) if compile_on else function


def synchronize() -> None:
    torch.cuda.synchronize()


def peak_memory_bytes() -> int:
    return torch.cuda.max_memory_allocated()


def probe() -> dict:
    if obstacle is not None:
        return obstacle
    square = torch.ones(64, 64, device=device, dtype=dtype)
    (square @ square).sum().item()  # a driver that is broken fails here, not in the run
    name = torch.cuda.get_device_name()
    flops, source = peak_flops(name, dtype)
    return {
        "ok": True,
        "device": name,
        "count": torch.cuda.device_count(),
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
        "capability": list(torch.cuda.get_device_capability()),
        "cores": None,
        "matmul_tflops": None,
        "dtype": str(dtype).removeprefix("torch."),
        "dtype_reason": dtype_reason,
        "compile": compile_on,
        "compile_reason": compile_reason,
        "attention": "sdpa",
        "attention_reason": "PyTorch's own kernels; a window is a mask, and saves no time",
        "peak_flops": flops,
        "peak_source": source,
    }


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
