"""An AMD GPU as a training device, through a ROCm build of PyTorch, which answers to torch.cuda's names.

One device is used, the first that HIP_VISIBLE_DEVICES leaves. Written from the documentation and checked on recorded facts of
devices; not run on its hardware yet.
"""

import json
import shutil
import sys
from pathlib import Path

NODES = Path("/sys/class/kfd/kfd/topology/nodes")  # the Linux driver's list of processors: CPUs and GPUs


def driver_gpus(nodes: Path) -> list[str]:
    """The architectures, as in ["gfx1100"], of the GPUs that the driver lists. Of a CPU's node simd_count is 0."""
    found = []
    for path in sorted(nodes.glob("*/properties")):
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
        values = {key: value for key, _, value in (line.partition(" ") for line in lines)}
        if int(values.get("simd_count", 0)):
            version = int(values.get("gfx_target_version", 0))  # 90402: gfx942, its last two parts in base 16
            found.append(f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}")
    return found


if __name__ == "__main__" and not driver_gpus(NODES) and not shutil.which("rocminfo") and not shutil.which("hipinfo"):
    # Most computers: answered without PyTorch, whose import takes seconds.
    print(json.dumps({"ok": False, "reason": "no AMD GPU with a ROCm driver was found on this computer", "cure": None}))
    sys.exit()

import gpu  # noqa: E402
import torch  # noqa: E402
from gpu import forget_memory, peak_memory_bytes, read_later, steps_ahead, synchronize, to_device  # noqa: E402, F401
from torch_runtime import (  # noqa: E402, F401
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

# Matrix instructions with bfloat16: CDNA (MI100, MI200, MI300, MI350), RDNA 3 and later. AMD's instruction set manuals.
CDNA = ("gfx908", "gfx90a", "gfx94", "gfx95")
RDNA3_AND_LATER = ("gfx11", "gfx12")


def choose(architecture: str, has_triton: bool, has_compiler: bool, system: str) -> gpu.Settings:
    """architecture: as in "gfx942". system: sys.platform."""
    is_cdna, has_matrix = architecture.startswith(CDNA), architecture.startswith(CDNA + RDNA3_AND_LATER)
    if has_matrix:
        dtype, dtype_reason = torch.bfloat16, f"{architecture} multiplies bfloat16 matrices in hardware"
        compiles, compile_reason = gpu.choose_compile(has_triton, has_compiler, system)
    else:
        dtype, dtype_reason = torch.float16, f"{architecture} has float16 at twice the rate of float32, and no bfloat16"
        compiles, compile_reason = False, f"Triton's tests on AMD start at CDNA and RDNA 3, and this is {architecture}"
    if is_cdna and compiles:
        kind, reason = "flex", "FlexAttention leaves out what a window hides; rows without one take SDPA"
    else:
        kind = "sdpa"
        reason = "PyTorch tests FlexAttention on Instinct cards, compiled; here a window is a mask, which saves no time"
    return gpu.Settings(dtype, dtype_reason, compiles, compile_reason, kind, reason)


def obstacle(hip: str | None, gpus: list[str], system: str) -> dict | None:
    """Why this PyTorch can't use the GPU, or None. hip: torch.version's."""
    if hip:
        return None
    name = gpus[0] if gpus else "unknown"
    reason = f"there is an AMD GPU ({name}), but this PyTorch ({torch.__version__}) is built without ROCm"
    if system == "linux":  # PyTorch 2.11 and 2.12 are built for ROCm 7.2 (PyTorchKR/pytorch.kr#82)
        return {"ok": False, "reason": reason, "cure": gpu.pip_line("rocm7.2")}
    return {"ok": False, "reason": reason, "cure": "install AMD's own PyTorch for Windows, as rocm.docs.amd.com says"}


def _obstacle() -> dict | None:
    """Why this backend does not work here, or None."""
    if found := obstacle(torch.version.hip, driver_gpus(NODES), sys.platform):
        return found
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # what torch raises for no driver, no device, no right to /dev/kfd
        reason = f"ROCm does not start: {str(error).strip().splitlines()[0]}"
        return {"ok": False, "reason": reason, "cure": "check with rocminfo; on Linux it needs the groups render and video"}
    if _architecture() not in torch.cuda.get_arch_list():
        reason = f"this PyTorch ({torch.__version__}) has no code for {_architecture()}"
        return {"ok": False, "reason": reason, "cure": "AMD's system requirements for ROCm list the cards that a build is for"}
    return None


def _architecture() -> str:
    return torch.cuda.get_device_properties(0).gcnArchName.partition(":")[0]  # gfx942:sramecc+:xnack-


device = torch.device("cuda")  # ROCm's name for it too
found = _obstacle()  # read by probe(); nothing below works where there is one
__getattr__ = gpu.says_why(found)
if found is None:
    gpu.limit_compile_pool()
    settings = choose(_architecture(), gpu.has_triton(), gpu.has_compiler(), sys.platform).measured(device).as_asked()
    dtype, loss_scale = settings.dtype, settings.loss_scale


def compile(function):
    return settings.compiled(function)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """See torch_runtime.attention."""
    return settings.attend(q, k, v, window)


def probe() -> dict:
    if found is not None:
        return found
    facts = settings.card_facts(device, Path(__file__).with_name("peaks.toml"))
    return facts | {"device": f"{facts['device']} ({_architecture()})"}


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
