"""A plain CPU as a training device: the dtype whose products are the fastest here; one thread a physical core.

torch.compile needs a C++ compiler here; without one everything runs, eagerly and slower, and the reason says so.
"""

import ctypes
import os
import platform
import sys
import time
from pathlib import Path

import cpu_compiler
import cpu_kernels
import torch
import torch_runtime
from cpu_kernels import embedding  # noqa: F401
from torch_runtime import (  # noqa: F401
    check_pace,
    cross_entropy,
    forget_memory,
    is_out_of_memory,
    load_weights,
    logits,
    print_probe,
    read_later,
    save_weights,
    seed,
    steps_ahead,
    synchronize,
    to_device,
)

from autoresearch import choices
from autoresearch.hardware.cores import usable

device = torch.device("cpu")
PRODUCT_SIZE = 256  # of the products that choose the dtype: [1024, 256] by [256, 1024], as in a small model


def _choose_dtype() -> tuple[torch.dtype, str, tuple[str, ...]]:
    """See torch_runtime.choose_dtype. On one core: so another load on the machine does not change what is chosen."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    chosen = torch_runtime.choose_dtype("float32", choices.DTYPES, device, PRODUCT_SIZE)
    torch.set_num_threads(before)
    return chosen


def muon_dtype(dtype: torch.dtype) -> torch.dtype:
    """See torch_runtime.muon_dtype. float32, whatever the rest runs in: compiled in bfloat16, Muon's step gave NaN on a Xeon with
    AVX512-BF16 and no AMX, and on one with AMX (model 207). The cause is not known; forward, loss and backward were right on both,
    and so was the same step on other shapes.
    """
    return torch.float32


def _keep_memory() -> None:
    """Let glibc's malloc keep what is freed. Each training step takes and frees the same few hundred megabytes; by default they
    go back to the system, which zeroes them again page by page: a 384 -> 4096 product on 8192 tokens ran at 0.6 of 2.6 TFLOP/s.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for any block
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing is given back


dtype, dtype_reason, close_dtypes = _choose_dtype()
loss_scale = torch_runtime.loss_scale_of(dtype)
can_compile, compile_reason = cpu_compiler.choose()
compile_on, compile_reason = choices.settle("compile", can_compile, compile_reason, (True, False) if can_compile else (False,))
ATTENTIONS = ("blocks", "sdpa")
attention_kind, attention_reason = choices.settle(
    "attention", "blocks", "batched matrix products train faster here than SDPA, which scores", ATTENTIONS
)
cores = usable()
threads, threads_reason = choices.settle(
    "threads", cores, f"one for each of the {cores} cores that this process may use", range(1, cores + 1)
)
torch.set_num_threads(threads)
_keep_memory()


def compile(function):
    return torch.compile(function, dynamic=False, fullgraph=True) if compile_on else function


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """See torch_runtime.attention. Scoring, which needs no backward pass and runs eagerly, takes PyTorch's own kernel."""
    own = cpu_kernels.attention if attention_kind == "blocks" and torch.is_grad_enabled() else torch_runtime.attention
    return own(q, k, v, window)


def peak_memory_bytes() -> int | None:
    """The most memory that this process has held."""
    if os.name == "nt":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, KiB on Linux


def matmul_flops(size: int = 512, seconds: float = 0.2) -> float:
    """The best product of two size x size matrices in `dtype` on one core, times the threads.

    One core and a tenth of a millisecond at a time: so another load on the machine does not change which profile is chosen.
    """
    torch.set_num_threads(1)
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    out, best = a @ b, float("inf")
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 2 * size**3 / best * threads


def probe() -> dict:
    import psutil

    return {
        "ok": True,
        "device": _cpu_name(),
        "count": 1,
        "memory_bytes": psutil.virtual_memory().total,
        "capability": None,
        "cores": cores,
        "matmul_tflops": round(matmul_flops() / 1e12, 3),
        "dtype": str(dtype).removeprefix("torch."),
        "dtype_reason": dtype_reason,
        "compile": compile_on,
        "compile_reason": compile_reason,
        "attention": attention_kind,
        "attention_reason": attention_reason,
        "threads": threads,
        "threads_reason": threads_reason,
        "choices": choices.left(
            dtype=close_dtypes,
            compile=(True, False) if can_compile else (),
            threads=choices.thread_counts(cores),
            attention=ATTENTIONS,
        ),
        "peak_flops": None,
        "peak_source": None,
    }


def _cpu_name() -> str:
    """The name that the maker gave it; the architecture where the system does not say."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__" and "--probe" in sys.argv:
    print_probe(probe)
