"""Inductor and Triton for a card that is not there, down to machine code. `pretend` before torch.compile is first used.

Real: Inductor's choices (it asks for the card's properties), its Triton source, its Python wrapper, which runs line by line on fake
tensors; then, in `kernels`, Triton's passes and the assembler for that architecture, in every configuration that would be tried.
"""

from collections import Counter
from types import SimpleNamespace

import fake_card

sources: dict[str, str] = {}  # of Triton, by kernel's name and text: what Inductor has made
launches: Counter[str] = Counter()


class Kernel:
    """In a compiled kernel's place in Inductor's wrapper."""

    def __init__(self, name: str):
        self.name = name

    def run(self, *_, **__) -> None:
        launches[self.name] += 1


def pretend(card: fake_card.Card) -> None:
    import torch
    import triton
    from torch._inductor import config, utils
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.runtime import triton_helpers
    from triton.backends.compiler import GPUTarget

    target = GPUTarget("hip" if torch.version.hip else "cuda", card.target, card.warp)
    properties = {"max_shared_mem": card.shared_bytes, "multiprocessor_count": card.processors}
    triton.runtime.driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target, get_current_device=lambda: 0, get_current_stream=lambda _=0: 0,
            is_active=lambda: True, utils=SimpleNamespace(get_device_properties=lambda _: properties),
        )
    )  # fmt: skip
    triton_helpers.set_driver_to_gpu = lambda: None
    config.shape_padding = False  # whether odd matrices are padded is decided by timing them
    config.use_static_cuda_launcher = config.use_static_triton_launcher = False  # loads what it compiles
    config.compile_threads = 1
    utils.get_device_tflops = lambda dtype: 100.0
    utils.get_gpu_dram_gbps = lambda: 1000.0
    guards = torch._C._dynamo.guards
    guards._empty_strided_cuda = lambda size, stride, dtype: torch.empty_strided(size, stride, dtype=dtype, device=card.kind)
    guards._reinterpret_tensor = lambda x, size, stride, start=0: x.as_strided(size, stride, x.storage_offset() + start)
    guards.assert_size_stride = guards.assert_alignment = lambda *_: None

    def keep(self, name: str, source: str, device_str: str = "cuda") -> Kernel:
        sources[source] = name
        return Kernel(name)

    AsyncCompile.triton = keep
    _fold_on_cpu()


def _fold_on_cpu() -> None:
    """Inductor computes constants of one element on the card."""
    import torch
    from torch._inductor.fx_passes.joint_graph import UniformValueConstantFolder
    from torch.utils._python_dispatch import TorchDispatchMode

    class OnCpu(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            moved = [torch.device("cpu") if isinstance(one, torch.device) else one for one in (*args, *(kwargs or {}).values())]
            return function(*moved[: len(args)], **dict(zip(kwargs or {}, moved[len(args) :], strict=True)))

    for name in ("_deduce_value", "_add_peephole_patterns"):
        whole = getattr(UniformValueConstantFolder, name)

        def on_cpu(self, *arguments, _whole=whole):
            with OnCpu():
                return _whole(self, *arguments)

        setattr(UniformValueConstantFolder, name, on_cpu)


def kernels(card: fake_card.Card) -> dict:
    """Compile what Inductor has made. Some configuration must fit the card's shared memory: what does not, is left out there."""
    from torch._inductor.codecache import _load_triton_kernel_from_source
    from triton.backends.nvidia.compiler import CUDABackend

    assembled, problems, configurations = [], [], 0
    whole = CUDABackend.make_cubin
    CUDABackend.make_cubin = lambda *arguments: assembled.append(1) or whole(*arguments)
    for source, name in sources.items():
        try:
            kernel = _load_triton_kernel_from_source(name, source)
            kernel.precompile(warm_cache_only=True)
            shared = [result.kernel.metadata.shared for result in kernel.compile_results]
        except Exception as error:  # whatever it is: the kernel can't be had on that card
            problems.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
            continue
        configurations += len(shared)
        if min(shared) > card.shared_bytes:
            problems.append(f"{name}: {min(shared)} bytes of shared memory, of {card.shared_bytes}")
    counts = {"kernels": len(sources), "configurations": configurations, "assembled": len(assembled)}
    return counts | {"problems": problems}
