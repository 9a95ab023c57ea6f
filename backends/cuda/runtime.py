"""An NVIDIA GPU as a training device: bfloat16 from Ampere on, float16 with a scaled loss before it, torch.compile, and
FlexAttention or SDPA; on Hopper also FlashAttention 3, where whole steps have shown it to be faster.

One device is used, the first that CUDA_VISIBLE_DEVICES leaves. Its steps ran on an H200, a whole training in a cell did not yet
(docs/design/gpu.md). A ROCm build of PyTorch answers to the same names but is another backend.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

WSL = "/usr/lib/wsl/lib/libcuda.so.1"
TEGRA = "/dev/nvhost-ctrl-gpu"
# Files that are there when an NVIDIA driver is: on Linux, inside WSL, on a Jetson, on Windows.
DRIVER_FILES = (
    "/proc/driver/nvidia/version",
    WSL,
    TEGRA,
    os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvml.dll"),
)
if __name__ == "__main__" and not any(map(os.path.exists, DRIVER_FILES)) and not shutil.which("nvidia-smi"):
    # Most computers: answered without PyTorch, whose import takes seconds.
    print(json.dumps({"ok": False, "reason": "no NVIDIA driver was found on this computer", "cure": None}))
    sys.exit()


def segments_variable(torch_version: str, system: str, is_wsl: bool, is_tegra: bool) -> str | None:
    """The environment variable that turns on expandable segments (less memory lost between blocks), or None where they do not
    work: on Windows and in WSL; on a Jetson they fail at the first block (unslothai/unsloth-zoo#1235). PyTorch 2.9 reads the old
    name only (pytorch/pytorch#183387), later ones warn of it.
    """
    if system != "linux" or is_wsl or is_tegra:
        return None
    return "PYTORCH_CUDA_ALLOC_CONF" if torch_version.startswith("2.9.") else "PYTORCH_ALLOC_CONF"


HAS_PAGING = sys.platform == "win32" or os.path.exists(WSL)  # Windows's driver, which WSL uses as well
_variable = segments_variable(importlib.metadata.version("torch"), sys.platform, os.path.exists(WSL), os.path.exists(TEGRA))
if _variable:  # read when PyTorch starts
    os.environ.setdefault(_variable, "expandable_segments:True")

import gpu  # noqa: E402
import torch  # noqa: E402
import torch_runtime  # noqa: E402
from gpu import forget_memory, peak_memory_bytes, read_later, steps_ahead, synchronize, to_device  # noqa: E402, F401
from torch_runtime import (  # noqa: E402, F401
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

from autoresearch import choices  # noqa: E402

FLASH3, FLASH3_BRANCH = "kernels-community/flash-attn3", "v1"
GET_FLASH3 = f"python -c \"from kernels import get_kernel; get_kernel('{FLASH3}', revision='{FLASH3_BRANCH}')\""
KERNELS_SINCE = "0.14"  # before it, kernels lay elsewhere in the hub's cache, and a folder's was loaded in another way
FLASH3_WIDTH = 256  # of a head at most, and a multiple of 8: Dao-AILab/flash-attention, hopper/flash_api.cpp
FLASH3_ERROR = 0.02  # relative, of all numbers together: bfloat16 rounds to 0.004, one token too many in a window of 32 is 0.1
MEMORY_SHARE = 0.95  # of a device whose driver pages: past it PyTorch says out of memory, and the Trainer takes fewer rows


def choose(
    capability: tuple[int, int], has_triton: bool, has_compiler: bool, system: str, no_flash3: str | None = "not looked for"
) -> gpu.Settings:
    """capability: compute capability. system: sys.platform. no_flash3: why FlashAttention 3 is not there; None: it is."""
    version = "{}.{}".format(*capability)
    if capability >= (8, 0):
        dtype, dtype_reason = torch.bfloat16, f"compute capability {version} multiplies bfloat16 in hardware"
    elif capability >= (7, 0):
        dtype, dtype_reason = torch.float16, f"compute capability {version} multiplies float16 in hardware, not bfloat16"
    else:
        dtype, dtype_reason = torch.float32, f"compute capability {version} has no tensor cores: half precision gains nothing"
    compiles, compile_reason = gpu.choose_compile(has_triton, has_compiler, system)
    if capability < (7, 0):
        compiles, compile_reason = False, "Triton makes no kernels below compute capability 7.0"
    return gpu.Settings(dtype, dtype_reason, compiles, compile_reason, *choose_attention(capability, compiles, no_flash3))


def choose_attention(capability: tuple[int, int], compiles: bool, no_flash3: str | None) -> tuple[str, str, bool]:
    """(kind, reason, whether FlashAttention 3 can be tried in its place): whole steps decide, since no card has timed it yet."""
    has_flash3 = capability[0] == 9 and no_flash3 is None
    also = f"; no FlashAttention 3: {no_flash3}" if capability[0] == 9 else ""
    also = "; FlashAttention 3 is there too, and taken where whole steps are faster with it" if has_flash3 else also
    if capability < (8, 0):  # pytorch/pytorch#164813
        return "sdpa", "FlexAttention does not fit cards before Ampere; a window is a mask, which saves no time", False
    if not compiles:
        return "sdpa", f"FlexAttention needs torch.compile; a window is a mask, which saves no time{also}", has_flash3
    return "flex", f"FlexAttention leaves out what a window hides; rows without one take SDPA{also}", has_flash3


def install_line(capability: tuple[int, int] | None, driver: int | None) -> str:
    """What to do about a PyTorch without CUDA. driver: the major version. None: unknown.

    CUDA 13 starts at Turing and at driver 580; PyTorch 2.9 to 2.14 is built for CUDA 12.6 too, for Maxwell to Hopper and drivers
    from 525 on (pytorch/pytorch#178665, #190385; NVIDIA's CUDA Compatibility, Minor Version Compatibility, table 1).
    """
    if capability is not None and capability < (7, 5):
        return gpu.pip_line("cu126")
    if driver is None or driver >= 580:
        return gpu.pip_line("cu130")
    if capability is not None and capability < (10, 0):
        return f"{gpu.pip_line('cu126')} (or update the NVIDIA driver to 580, for cu130)"
    return f"update the NVIDIA driver to 580 or later, then {gpu.pip_line('cu130')}"


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


def parse_card(line: str) -> tuple[str, tuple[int, int] | None, int | None]:
    """(name, capability, driver's major version) from nvidia-smi's `name, compute_cap, driver_version`."""
    name, capability, driver = (part.strip() for part in f"{line},,".split(",")[:3])
    major, _, minor = capability.partition(".")
    version = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return name, version, int(driver.split(".")[0]) if driver.split(".")[0].isdigit() else None


def obstacle(hip: str | None, cuda: str | None, card: str | None) -> dict | None:
    """Why this PyTorch can't use the card, or None. hip, cuda: torch.version's; card: nvidia-smi's line, or None."""
    name, capability, driver = parse_card(card) if card else ("unknown", None, None)
    if not cuda:
        build = "for ROCm" if hip else "without CUDA"
        reason = f"there is an NVIDIA card ({name}), but this PyTorch ({torch.__version__}) is built {build}"
        return {"ok": False, "reason": reason, "cure": install_line(capability, driver)}
    return None


def _obstacle() -> dict | None:
    """Why this backend does not work here, or None."""
    card = None
    if not torch.version.cuda:
        asked = gpu.says("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
        card = asked.strip().splitlines()[0] if asked and asked.strip() else None
    if found := obstacle(torch.version.hip, torch.version.cuda, card):
        return found
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # what torch raises for no driver, an old one, no device
        reason = f"CUDA does not start: {str(error).strip().splitlines()[0]}"
        return {"ok": False, "reason": reason, "cure": "update the NVIDIA driver, then check with nvidia-smi"}
    capability = torch.cuda.get_device_capability()
    if not is_built_for(capability, torch.cuda.get_arch_list()):
        reason = f"this PyTorch ({torch.__version__}) has no code for compute capability {capability[0]}.{capability[1]}"
        return {"ok": False, "reason": reason, "cure": install_line(capability, None)}
    return None


def load_flash3(device: torch.device):
    """(flash_attn_func, None), tried on the device, or (None, why not). From the local cache only: a run downloads nothing.

    Not by kernels' get_kernel: without a network it looks for all builds of the repository, and has fetched one.
    """
    if importlib.util.find_spec("kernels") is None:
        return None, "the package kernels is not installed"
    from packaging.version import Version  # of kernels' requirements

    version = importlib.metadata.version("kernels")
    if Version(version) < Version(KERNELS_SINCE):
        return None, f"kernels {version} is too old: pip install -U kernels, then {GET_FLASH3}"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from huggingface_hub import errors, snapshot_download

    cache = os.environ.get("KERNELS_CACHE")
    asked = {"repo_type": "kernel", "revision": FLASH3_BRANCH, "cache_dir": cache, "local_files_only": True}
    try:
        folder = snapshot_download(FLASH3, **asked, allow_patterns=[])  # [] asks for the folder, whatever lies in it
        function = importlib.import_module("kernels").get_local_kernel(Path(folder)).flash_attn_func
    except errors.LocalEntryNotFoundError:
        return None, f"it is not on this computer, and this gets it: {GET_FLASH3}"
    except Exception as error:  # another project's loader and binary: whatever it raises, there is SDPA
        return None, f"{_line(error)}; this may get another: {GET_FLASH3}"
    fault = flash3_fault(function, device)
    return (function, None) if fault is None else (None, fault)


def flash3_fault(function, device: torch.device) -> str | None:
    """Why a step is not trained with this flash_attn_func, or None: it must be part of one graph, forward and backward, and give
    what SDPA gives.
    """

    def results(attention):
        generator = torch.Generator().manual_seed(0)
        shapes = ((2, 96, 4, 64), (2, 96, 2, 64), (2, 96, 2, 64), (2, 96, 4, 64))
        *inputs, slope = (torch.randn(shape, generator=generator).to(device, torch.bfloat16) for shape in shapes)
        out = attention(*[one.requires_grad_() for one in inputs], 32)
        return torch.cat([one.flatten().float() for one in (out.detach(), *torch.autograd.grad(out, inputs, slope))])

    def flash(q, k, v, window):
        return call_flash3(function, q, k, v, window)

    try:
        found = results(torch.compile(flash, backend="aot_eager", fullgraph=True, dynamic=False))
        right = results(torch_runtime.attention)
    except Exception as error:  # PyTorch's, of many kinds, or its own
        return f"it is not part of one graph here: {_line(error)}"
    is_right = (found - right).norm() < FLASH3_ERROR * right.norm()
    return None if is_right else "its numbers are not those of SDPA here"


def call_flash3(function, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    out = function(q, k, v, causal=True, window_size=(min(window, q.size(1) - 1), 0))
    return out[0] if isinstance(out, tuple) else out  # some versions return the log-sums too


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


device = torch.device("cuda")
found = _obstacle()  # read by probe(); nothing below works where there is one
__getattr__ = gpu.says_why(found)
if found is None:
    gpu.limit_compile_pool()
    _capability = torch.cuda.get_device_capability()
    _flash3, _no_flash3 = None, "not looked for"
    if _capability[0] == 9 and choices.asked_for("attention") == "flash3":
        _flash3, _no_flash3 = load_flash3(device)
    settings = choose(_capability, gpu.has_triton(), gpu.has_compiler(), sys.platform, _no_flash3).measured(device).as_asked()
    dtype, loss_scale = settings.dtype, settings.loss_scale
    if HAS_PAGING:
        torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE)


def compile(function):
    return settings.compiled(function)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """See torch_runtime.attention."""
    if settings.attention == "flash3" and q.size(3) <= FLASH3_WIDTH and q.size(3) % 8 == 0:
        return call_flash3(_flash3, q, k, v, window)
    return settings.attend(q, k, v, window)


def check_pace(step_seconds: Sequence[float]) -> None:
    """Memory that other programs take is not in MEMORY_SHARE: then only the time of a step shows that the driver pages."""
    if HAS_PAGING and (reason := torch_runtime.paging(step_seconds, *torch.cuda.mem_get_info())):
        raise torch.OutOfMemoryError(reason)


def probe() -> dict:
    if found is not None:
        return found
    known = settings
    if _capability[0] == 9 and choices.asked_for("attention") is None:  # to tell of it; a worker loads it when it is told to
        attention = choose_attention(_capability, settings.compile, load_flash3(device)[1])
        known = replace(settings, **dict(zip(("attention", "attention_reason", "has_flash3"), attention, strict=True)))
    return known.card_facts(device, Path(__file__).with_name("peaks.toml")) | {"capability": list(_capability)}


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
