"""What the GPU runtimes share: their settings, torch.compile, windowed attention, peak FLOP/s, memory, the questions of a probe.

Choices are pure functions from facts to (choice, reason); tests/facts holds them for real devices. What ran: docs/design/gpu.md.
"""

import importlib.util
import multiprocessing
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch_runtime
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from autoresearch import choices

PRODUCT_SIZE = 1024  # of the products that choose the dtype: [4096, 1024] by [1024, 4096], a thousand times a launch's overhead
FLEX_WIDTH = 128  # the widest head for which FlexAttention's backward kernel fits most cards (pytorch/pytorch#180278, #198224)
ASK_SECONDS = 10  # for a driver's own tool, which may hang when the driver does


@dataclass(frozen=True)
class Settings:
    """What a runtime has chosen for its device, each with its reason."""

    dtype: torch.dtype
    dtype_reason: str
    compile: bool
    compile_reason: str
    attention: str  # sdpa, flex, flash3
    attention_reason: str
    has_flash3: bool = False  # FlashAttention 3 can take its place
    close_dtypes: tuple[str, ...] = ()  # that whole steps may still decide between

    def measured(self, device: torch.device) -> "Settings":
        """The same, in the dtype whose products are the fastest on the device, or in the one that is asked for."""
        said = str(self.dtype).removeprefix("torch.")
        dtype, reason, close = torch_runtime.choose_dtype(said, choices.DTYPES, device, PRODUCT_SIZE)
        reason = f"{reason}; {self.dtype_reason}" if dtype == self.dtype else reason
        return replace(self, dtype=dtype, dtype_reason=reason, close_dtypes=close)

    def as_asked(self) -> "Settings":
        """The same, but for what a profile's [runtime] or its variables ask for."""
        compiles, reason = choices.settle("compile", self.compile, self.compile_reason, self.offers["compile"])
        found = replace(self, compile=compiles, compile_reason=reason)
        if found.attention not in found.offers["attention"]:
            found = replace(found, attention="sdpa", attention_reason="FlexAttention needs torch.compile")
        kind, reason = choices.settle("attention", found.attention, found.attention_reason, found.offers["attention"])
        return replace(found, attention=kind, attention_reason=reason)

    @property
    def offers(self) -> dict[str, tuple]:
        """What the device has: what was chosen, and what can take its place."""
        has_flash3 = self.has_flash3 and self.dtype != torch.float32
        kinds = dict.fromkeys((self.attention, *(("flash3",) if has_flash3 else ()), "sdpa"))
        attentions = tuple(kind for kind in kinds if kind != "flex" or self.compile)
        return {"dtype": self.close_dtypes, "compile": (True, False) if self.compile else (False,), "attention": attentions}

    @property
    def loss_scale(self) -> float:
        return torch_runtime.loss_scale_of(self.dtype)

    def compiled(self, function):
        return torch.compile(function, dynamic=False, fullgraph=True) if self.compile else function

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
        """FlexAttention or SDPA. See torch_runtime.attention."""
        own = flex if self.attention == "flex" else torch_runtime.attention
        return own(q, k, v, window)

    def facts(self, device: torch.device) -> dict:
        """For the probe. First a product on the device: a driver that is broken fails here, not in the run."""
        square = torch.ones(64, 64, device=device, dtype=self.dtype)
        (square @ square).sum().item()
        offered = ("has_flash3", "close_dtypes")
        chosen = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in offered}
        return {"ok": True} | chosen | {"dtype": str(self.dtype).removeprefix("torch."), "choices": choices.left(**self.offers)}

    def card_facts(self, device: torch.device, peaks: Path) -> dict:
        """The same of a card with memory of its own, the first of its kind. peaks: its backend's peaks.toml."""
        module = torch.get_device_module(device)
        card = module.get_device_properties(0)
        flops, source = peak_flops(peaks, card.name, self.dtype)
        return self.facts(device) | {
            "device": card.name,
            "count": module.device_count(),
            "memory_bytes": card.total_memory,
            "peak_flops": flops,
            "peak_source": source,
            "peak_bandwidth": peak_bandwidth(peaks, card.name),
        }


# A PyTorch build has one kind of accelerator, and its module (torch.cuda, torch.xpu, torch.mps) is that of no device given.


def synchronize() -> None:
    torch.get_device_module().synchronize()


def peak_memory_bytes() -> int:
    return torch.get_device_module().max_memory_allocated()


def forget_memory() -> None:
    torch_runtime.forget_memory()
    torch.get_device_module().empty_cache()


steps_ahead = 1  # the loss of a step is read while the device does the next


def to_device(ids: np.ndarray) -> torch.Tensor:
    """See torch_runtime.to_device. From pinned memory, which the device fetches in its own time; half the bytes go over the bus."""
    return torch.from_numpy(ids).pin_memory().to(torch.accelerator.current_accelerator(), non_blocking=True).to(torch.int64)


def read_later(value: torch.Tensor) -> Callable[[], float]:
    """See torch_runtime.read_later. value.item() would be queued behind all that follows, and wait for it."""
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value.detach(), non_blocking=True)
    done = torch.Event()
    done.record()

    def read() -> float:
        done.synchronize()
        return host.item()

    return read


def says_why(found: dict | None) -> Callable[[str], object]:
    """A module's __getattr__ where its device does not work: what it lacks is asked for, and the reason is the answer."""

    def answer(name: str) -> object:
        raise AttributeError(
            f"no {name}: the device does not work here: {found['reason']}" if found else f"no {name} in this runtime"
        )

    return answer


def pip_line(build: str) -> str:
    """What replaces the installed PyTorch by another build. build: a folder of PyTorch's own package index."""
    return f'pip install --force-reinstall "torch>=2.9,<2.14" --index-url https://download.pytorch.org/whl/{build}'


def limit_compile_pool() -> None:
    """Where Python's locks need shared memory and there is none (level 2 of the sandbox), Inductor's pool of compilers can't start:
    PyTorch up to 2.13 goes on without a word, later ones end the step (pytorch/pytorch#189290).
    """
    try:
        multiprocessing.Lock()
    except OSError:
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def has_compiler() -> bool:
    """Triton builds a small C launcher for each kernel; triton-windows brings its own compiler."""
    return sys.platform == "win32" or any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang")))


def choose_compile(has_triton: bool, has_compiler: bool, system: str) -> tuple[bool, str]:
    """(whether to compile, reason). system: sys.platform."""
    if not has_triton:
        cure = "; on Windows the package triton-windows adds it" if system == "win32" else ""
        return False, f"Triton is not installed{cure}"
    if not has_compiler:
        return False, "Triton needs a C compiler on the PATH and there is none (install gcc or clang)"
    return True, "Triton and a C compiler are there"


def flex(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """FlexAttention where the window is shorter than the row, in compiled code; else SDPA. See torch_runtime.attention.

    Eager code (scoring) takes SDPA with a mask: FlexAttention that is not compiled keeps all scores in float32.
    """
    seq_len, width = q.size(1), q.size(3)
    if window >= seq_len - 1 or width > FLEX_WIDTH or not torch.compiler.is_compiling():
        return torch_runtime.attention(q, k, v, window)
    mask = getattr(_masks, _prepare_mask(seq_len, window, q.device.type))
    is_grouped = q.size(2) != k.size(2)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flex_attention(q, k, v, block_mask=mask, enable_gqa=is_grouped).transpose(1, 2)


_masks = SimpleNamespace()  # one block mask for each (T, window), by the name that _prepare_mask gives


@torch.compiler.assume_constant_result  # runs once, while the graph is traced: the mask is no part of the graph
def _prepare_mask(seq_len: int, window: int, device: str) -> str:
    name = f"{device}_{seq_len}_{window}"
    if not hasattr(_masks, name):

        def sees(batch, head, row, column):
            return (row >= column) & (row - column <= window)

        setattr(_masks, name, create_block_mask(sees, None, None, seq_len, seq_len, device=device))
    return name


def peak_flops(table: Path, name: str, dtype: torch.dtype) -> tuple[float, str] | tuple[None, None]:
    """(dense FLOP/s, source) from a peaks.toml."""
    if dtype == torch.float32 or (card := find_card(table, name)) is None:
        return None, None  # the tables are of half precision
    return card["tflops"] * 1e12, card["source"]


def peak_bandwidth(table: Path, name: str) -> float | None:
    """Bytes per second of the device's memory, read and written, from a peaks.toml."""
    card = find_card(table, name) or {}
    return card["bandwidth_gb_s"] * 1e9 if "bandwidth_gb_s" in card else None


def find_card(table: Path, name: str) -> dict | None:
    """The longest entry of a peaks.toml that the device's name ends in, at a word's start."""
    cards = tomllib.loads(table.read_text(encoding="utf-8"))["card"]
    fitting = [card for card in cards if f" {name}".endswith(f" {card['name']}")]
    return max(fitting, key=lambda card: len(card["name"])) if fitting else None


def says(*command: str) -> str | None:
    """What a program prints, or None where it is not there, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None
