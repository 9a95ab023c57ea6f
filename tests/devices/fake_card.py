"""A card that is not there: PyTorch's fake tensors, on a device whose driver does nothing. Only for a process of its own.

Real is all that PyTorch does on the host: autograd, torch.compile with the card's properties, which operations are launched in
which order, copies, waits, and when memory is taken and given back. Nothing is computed: a number that is read is 0.5.
"""

import contextlib
import ctypes
import importlib.util
import os
import subprocess
import weakref
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace


@dataclass(frozen=True)
class Card:
    """Data-sheet values. shared_bytes: the most that one block may take of the memory that its threads share."""

    name: str
    kind: str  # torch's word for the device
    target: int | str  # Triton's word for the architecture
    memory_gb: int
    processors: int
    shared_bytes: int
    threads: int = 1536  # of a multiprocessor
    warp: int = 32

    @property
    def capability(self) -> tuple[int, int]:
        return divmod(self.target, 10) if isinstance(self.target, int) else (9, 4)


# Shared memory: CUDA C++ Programming Guide, technical specifications by compute capability; AMD: 64 KB of LDS.
CARDS = {
    "sm_75": Card("NVIDIA GeForce RTX 2080", "cuda", 75, 8, 46, 64 << 10, threads=1024),
    "sm_80": Card("NVIDIA A100-SXM4-80GB", "cuda", 80, 80, 108, 163 << 10, threads=2048),
    "sm_86": Card("NVIDIA GeForce RTX 3060", "cuda", 86, 12, 28, 99 << 10),
    "sm_89": Card("NVIDIA GeForce RTX 4090", "cuda", 89, 24, 128, 99 << 10),
    "sm_90": Card("NVIDIA H100 80GB HBM3", "cuda", 90, 80, 132, 227 << 10, threads=2048),
    "sm_100": Card("NVIDIA B200", "cuda", 100, 180, 148, 227 << 10, threads=2048),
    "sm_120": Card("NVIDIA GeForce RTX 5090", "cuda", 120, 32, 170, 99 << 10),
    "gfx90a": Card("AMD Instinct MI210", "cuda", "gfx90a", 64, 104, 64 << 10, threads=2048, warp=64),
    "gfx942": Card("AMD Instinct MI300X", "cuda", "gfx942", 192, 304, 64 << 10, threads=2048, warp=64),
    "gfx1100": Card("AMD Radeon RX 7900 XTX", "cuda", "gfx1100", 24, 96, 64 << 10, threads=2048),
    "gfx1201": Card("AMD Radeon RX 9070 XT", "cuda", "gfx1201", 16, 64, 64 << 10, threads=2048),
    "xe2": Card("Intel(R) Arc(TM) B580 Graphics", "xpu", "xe2", 12, 160, 128 << 10),
    "apple": Card("Apple M4", "mps", "apple", 16, 10, 32 << 10),
}


def build_library(folder: Path) -> Path:
    """no_device.cpp, compiled against PyTorch's own headers (3 s of a processor)."""
    library = folder / "no_device.so"
    if not library.exists():
        source, made = Path(__file__).with_name("no_device.cpp"), library.with_suffix(f".{os.getpid()}")
        command = ["g++", "-std=c++20", "-shared", "-fPIC", str(source), "-o", str(made), "-I", str(_torch_folder() / "include")]
        subprocess.run([*command, "-L", str(_torch_folder() / "lib"), "-lc10", "-ltorch_cpu"], check=True)
        made.replace(library)
    return library


def pretend(card: Card, library: Path) -> ctypes.CDLL:
    """Before the first import of torch, which looks for its devices once. Returns the library, for what it has counted."""
    os.environ["FAKE_DEVICE"] = card.kind
    ctypes.CDLL(str(_torch_folder() / "lib" / "libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    loaded = ctypes.CDLL(str(library))
    import torch
    from torch._subclasses import fake_tensor

    is_amd = str(card.target).startswith("gfx")
    if is_amd:
        torch.version.hip = "7.2"
    elif card.kind == "cuda":
        torch.version.cuda = "13.0"
    major, minor = card.capability
    properties = SimpleNamespace(
        name=card.name, major=major, minor=minor, total_memory=card.memory_gb << 30, multi_processor_count=card.processors,
        gpu_subslice_count=card.processors, regs_per_multiprocessor=65536, max_threads_per_multi_processor=card.threads,
        max_threads_per_block=1024, warp_size=card.warp, shared_memory_per_block=48 << 10,
        shared_memory_per_block_optin=card.shared_bytes, shared_memory_per_multiprocessor=card.shared_bytes + 1024,
        L2_cache_size=32 << 20, gcnArchName=str(card.target), has_subgroup_matrix_multiply_accumulate=True,
    )  # fmt: skip
    answers = {
        "is_available": True, "is_initialized": True, "_is_compiled": True, "init": None, "_lazy_init": None, "device_count": 1,
        "current_device": 0, "set_device": None, "_exchange_device": 0, "_maybe_exchange_device": 0, "synchronize": None,
        "empty_cache": None, "get_device_properties": properties, "get_device_capability": card.capability,
        "get_device_name": card.name, "get_arch_list": [str(card.target) if is_amd else f"sm_{card.target}"],
        "is_bf16_supported": major >= 8, "max_memory_allocated": 0, "memory_allocated": 0, "is_current_stream_capturing": False,
        "mem_get_info": (card.memory_gb << 30,) * 2, "get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None,
        "manual_seed_all": None, "set_per_process_memory_fraction": None,
    }  # fmt: skip
    for kind in ("cuda", "xpu"):
        setattr(torch._C, f"_{kind}_getCurrentRawStream", lambda index=0: 0)
    module = getattr(torch, card.kind)
    for name, answer in answers.items():
        setattr(module, name, lambda *_, _answer=answer, **__: _answer)
    fake_tensor.FakeTensorMode.avoid_device_init = property(lambda _: True)
    fake_tensor.init_gpu_context = lambda device: None
    torch.nn.functional.scaled_dot_product_attention = attention_of(card)
    return loaded


def attention_of(card: Card):
    """SDPA as one operator. Which one, PyTorch chooses in C++ for a card that is there: on CUDA and ROCm FlashAttention from Ampere
    on and without a mask, else the memory-efficient kernel; here elsewhere PyTorch's plain products.
    """
    import torch

    aten = torch.ops.aten

    def attention(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        if card.kind != "cuda":
            return aten._scaled_dot_product_attention_math(q, k, v, attn_mask, 0.0, is_causal, enable_gqa=enable_gqa)[0]
        if enable_gqa:
            k, v = (x.repeat_interleave(q.size(-3) // x.size(-3), -3) for x in (k, v))
        if attn_mask is None and card.capability >= (8, 0) and q.dtype != torch.float32:
            return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal)[0]
        if attn_mask is not None:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf")).expand(*q.shape[:-1], -1)
        return aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, True, 0.0, is_causal)[0]

    return attention


def _torch_folder() -> Path:
    return Path(importlib.util.find_spec("torch").origin).parent


class Memory:
    """Bytes of the card's fake tensors that are alive."""

    def __init__(self):
        self.bytes = self.most = 0
        self._known = set()

    def hold(self, tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
            self.bytes += storage.nbytes()
            self.most = max(self.most, self.bytes)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


@contextlib.contextmanager
def watched(card: Card, library: ctypes.CDLL):
    """All tensors are fake in here. Gives (a function for what waited for the card and how often so far, a Counter; Memory)."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    aten = torch.ops.aten
    waits, memory = Counter(), Memory()

    class Watch(TorchDispatchMode):
        @classmethod
        def ignore_compile_internals(cls):
            return True

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if function is aten._local_scalar_dense.default:
                waits["number read"] += args[0].device.type == card.kind
                return 0.5
            if function is aten._pin_memory.default:  # fake tensors know nothing of pinned memory
                return pinned(aten.clone.default(args[0]))
            if kwargs.pop("pin_memory", False):
                return pinned(function(*args, **kwargs))
            out = function(*args, **kwargs)
            for one in tree_leaves(out):
                if isinstance(one, torch.Tensor) and one.device.type == card.kind:
                    memory.hold(one)
            if function in (aten._to_copy.default, aten.copy_.default):
                source, target = (args[0], out) if function is aten._to_copy.default else (args[1], args[0])
                host, *others = sorted((source, target), key=lambda one: one.device.type != "cpu")
                if host.device.type == "cpu" and others[0].device.type == card.kind:
                    is_queued = kwargs.get("non_blocking", args[2:3] == (True,)) and hasattr(host, "is_pinned_here")
                    waits[f"copy to {target.device.type}"] += not is_queued
            return out

    def pinned(tensor):
        tensor.is_pinned_here = True
        return tensor

    events = library.event_waits()
    with FakeTensorMode(allow_non_fake_inputs=True), Watch():
        yield lambda: waits + Counter(event=library.event_waits() - events), memory
