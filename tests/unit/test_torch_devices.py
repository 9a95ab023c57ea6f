"""The runtimes of GPUs that are not here: what they choose, what they say of a wrong PyTorch, and their path through train.py on
PyTorch's meta device, whose tensors have a shape, a dtype and no memory.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_backend  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402

from autoresearch.errors import UsageError  # noqa: E402
from autoresearch.hardware.devices import detect, registry  # noqa: E402
from autoresearch.hardware.planner import memory, profiles  # noqa: E402
from autoresearch.hardware.planner.model import Sizes  # noqa: E402

cuda, rocm, xpu, mps = (torch_backend.device_runtime(name) for name in ("cuda", "rocm", "xpu", "mps"))
import gpu  # noqa: E402, backends/torch/gpu.py, which they share
import torch_runtime  # noqa: E402

MACHINES = [json.loads(path.read_text(encoding="utf-8")) for path in (Path(__file__).parents[1] / "facts").glob("*.json")]


# Attention

TRITON = {"has_triton": True, "has_compiler": True, "system": "linux"}


@pytest.mark.parametrize(
    "capability, compiles, no_flash3, kind, words",
    [
        ((9, 0), True, None, "flex", "FlashAttention 3 is there too, and taken where whole steps are faster"),
        ((9, 0), False, None, "sdpa", "FlashAttention 3 is there too"),
        ((9, 0), True, "not installed", "flex", "no FlashAttention 3: not installed"),
        ((9, 0), False, "not installed", "sdpa", "needs torch.compile"),
        ((10, 0), True, None, "flex", "leaves out what a window hides"),
        ((8, 0), True, "not installed", "flex", "leaves out what a window hides"),
        ((8, 6), False, "not installed", "sdpa", "needs torch.compile"),
        ((7, 5), True, "not installed", "sdpa", "before Ampere"),
        ((6, 1), False, "not installed", "sdpa", "before Ampere"),
    ],
)
def test_cuda_takes_the_fastest_attention_that_is_there(capability, compiles, no_flash3, kind, words):
    chosen, reason, has_flash3 = cuda.choose_attention(capability, compiles, no_flash3)
    assert chosen == kind and words in reason
    assert has_flash3 == (capability == (9, 0) and no_flash3 is None)


@pytest.mark.slow
@pytest.mark.parametrize("heads, groups, width", [(4, 4, 16), (4, 2, 16), (2, 1, 256)])
def test_flex_attention_in_a_graph_equals_sdpa_and_makes_each_mask_once(heads, groups, width):
    """Its kernels need a GPU; its mask, its shapes and its place in one whole graph do not."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 300, count, width, generator=generator) for count in (heads, groups, groups))

    def both(q, k, v):
        return gpu.flex(q, k, v, 40) + gpu.flex(q, k, v, 299)

    counters.clear()
    compiled = torch.compile(both, fullgraph=True, dynamic=False, backend="aot_eager")
    with torch.no_grad():
        expected = torch_runtime.attention(q, k, v, 40) + torch_runtime.attention(q, k, v, 299)
        for _ in range(2):
            torch.testing.assert_close(compiled(q, k, v), expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(gpu.flex(q, k, v, 40), torch_runtime.attention(q, k, v, 40))  # eager: SDPA itself
    assert hasattr(gpu._masks, "cpu_300_40") and not hasattr(gpu._masks, "cpu_300_299")
    assert counters["stats"]["unique_graphs"] == 1


# Compilation, memory, drivers


@pytest.mark.parametrize("runtime", [cuda, rocm, xpu, mps], ids=lambda runtime: runtime.__name__)
def test_pytorchs_module_of_a_device_has_what_is_called_of_it(runtime):
    module = torch.get_device_module(runtime.device)
    called = ["synchronize", "empty_cache", "device_count"]
    if runtime is not mps:  # its memory is the computer's
        called += ["max_memory_allocated", "get_device_properties"]
    assert [name for name in called if not callable(getattr(module, name, None))] == []


def test_a_dtype_that_is_asked_for_goes_before_the_devices_own(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float16")
    settings = cuda.choose((9, 0), **TRITON).measured(torch.device("cpu"))
    assert settings.dtype == torch.float16 and settings.loss_scale > 1 and "asks for it" in settings.dtype_reason
    monkeypatch.setenv("AUTORESEARCH_DTYPE", "float8")
    with pytest.raises(UsageError, match=r"^AUTORESEARCH_DTYPE is 'float8', and here is float32 or bfloat16 or float16 only"):
        settings.measured(torch.device("cpu"))


def test_the_clock_goes_before_what_is_said_of_a_card(monkeypatch):
    """cuda says bfloat16 of compute capability 8.0; this device, a CPU, multiplies float32 faster (planted)."""
    monkeypatch.delenv("AUTORESEARCH_DTYPE", raising=False)
    speeds = {"float32": 2e12, "bfloat16": 1.5e12}
    monkeypatch.setattr(torch_runtime.choices, "measured_products", lambda offered, product, size: speeds)
    said = cuda.choose((8, 0), **TRITON)
    settings = said.measured(torch.device("cpu"))
    assert said.dtype == torch.bfloat16 and settings.dtype == torch.float32
    assert settings.dtype_reason == "products measured here: float32 2 TFLOP/s, bfloat16 1.5"
    assert settings.offers["dtype"] == ("float32", "bfloat16"), "whole steps may still decide"


HOPPER = {"capability": (9, 0), **TRITON, "no_flash3": None}


@pytest.mark.parametrize(
    "device, asked, compiles, kind",
    [
        (HOPPER, {}, True, "flex"),
        (HOPPER, {"ATTENTION": "flash3"}, True, "flash3"),
        (HOPPER, {"ATTENTION": "flash3", "COMPILE": "off"}, False, "flash3"),
        (HOPPER, {"ATTENTION": "sdpa", "COMPILE": "off"}, False, "sdpa"),
        ({"capability": (8, 6), **TRITON}, {"COMPILE": "off"}, False, "sdpa"),  # FlexAttention needs torch.compile
    ],
)
def test_choices_that_are_asked_for_go_before_the_devices_own(device, asked, compiles, kind, monkeypatch):
    for name, text in asked.items():
        monkeypatch.setenv(f"AUTORESEARCH_{name}", text)
    settings = cuda.choose(**device).as_asked()
    assert (settings.compile, settings.attention) == (compiles, kind)
    assert "asks for it" in (settings.compile_reason if "COMPILE" in asked else "asks for it")
    assert "asks for it" in (settings.attention_reason if "ATTENTION" in asked else "asks for it")


@pytest.mark.parametrize(
    "device, offers",
    [
        (HOPPER, {"compile": (True, False), "attention": ("flex", "flash3", "sdpa")}),
        (HOPPER | {"has_triton": False}, {"compile": (False,), "attention": ("sdpa", "flash3")}),
        (HOPPER | {"no_flash3": "not installed"}, {"compile": (True, False), "attention": ("flex", "sdpa")}),
        ({"capability": (8, 6), **TRITON}, {"compile": (True, False), "attention": ("flex", "sdpa")}),
        ({"capability": (7, 5), **TRITON}, {"compile": (True, False), "attention": ("sdpa",)}),
    ],
)
def test_a_device_offers_what_it_has(device, offers):
    assert cuda.choose(**device).offers == offers | {"dtype": ()}


def test_what_the_device_has_not_is_refused(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_COMPILE", "on")
    with pytest.raises(UsageError, match=r"AUTORESEARCH_COMPILE is 'on', and here is off only \(Triton is not installed"):
        cuda.choose((8, 6), False, True, "linux").as_asked()
    monkeypatch.setenv("AUTORESEARCH_COMPILE", "off")
    monkeypatch.setenv("AUTORESEARCH_ATTENTION", "flex")
    with pytest.raises(UsageError, match=r"AUTORESEARCH_ATTENTION is 'flex', and here is sdpa only \(FlexAttention needs torch"):
        cuda.choose((8, 6), **TRITON).as_asked()


@pytest.mark.parametrize(
    "has_triton, has_compiler, system, expected, words",
    [
        (True, True, "linux", True, "are there"),
        (False, True, "linux", False, "Triton is not installed"),
        (False, True, "win32", False, "triton-windows"),
        (True, True, "win32", True, "are there"),
        (True, False, "linux", False, "needs a C compiler"),
    ],
)
def test_compilation_is_on_where_it_can_be(has_triton, has_compiler, system, expected, words):
    is_on, reason = gpu.choose_compile(has_triton, has_compiler, system)
    assert is_on is expected and words in reason
    assert not cuda.choose((6, 1), has_triton, has_compiler, system).compile


@pytest.mark.parametrize(
    "version, system, is_wsl, is_tegra, variable",
    [
        ("2.13.0+cu130", "linux", False, False, "PYTORCH_ALLOC_CONF"),
        ("2.9.1+cu128", "linux", False, False, "PYTORCH_CUDA_ALLOC_CONF"),
        ("2.13.0+cu130", "win32", False, False, None),
        ("2.13.0+cu130", "linux", True, False, None),
        ("2.13.0", "linux", False, True, None),
    ],
)
def test_expandable_segments_are_asked_for_where_they_work(version, system, is_wsl, is_tegra, variable):
    assert cuda.segments_variable(version, system, is_wsl, is_tegra) == variable


def test_a_build_runs_on_its_own_major_version_and_ptx_on_newer_ones():
    build = ["sm_75", "sm_80", "sm_86", "sm_90a", "compute_120"]
    runs = {capability: cuda.is_built_for(capability, build) for capability in [(7, 0), (7, 5), (8, 9)]}
    assert runs == {(7, 0): False, (7, 5): True, (8, 9): True}
    assert not cuda.is_built_for((10, 0), build)
    assert cuda.is_built_for((12, 1), build)


# A PyTorch that does not fit the card


@pytest.mark.parametrize(
    "card, words",
    [
        ("NVIDIA GeForce RTX 4090, 8.9, 581.15", "/whl/cu130"),
        ("NVIDIA GeForce RTX 4090, 8.9, 551.86", "/whl/cu126 (or update the NVIDIA driver to 580"),
        ("NVIDIA GeForce RTX 5090, 12.0, 572.16", "update the NVIDIA driver to 580 or later, then pip install"),
        ("NVIDIA GeForce GTX 1060 6GB, 6.1, 581.15", "/whl/cu126"),
        ("Tesla V100S-PCIE-32GB, 7.0, 535.183.01", "/whl/cu126"),
        ("NVIDIA GeForce GTX 970", "/whl/cu130"),  # a driver too old to know compute_cap
        (None, "/whl/cu130"),
    ],
)
def test_a_pytorch_without_cuda_beside_a_card_is_named_with_the_line_that_mends_it(card, words):
    found = cuda.obstacle(hip=None, cuda=None, card=card)
    assert not found["ok"] and "is built without CUDA" in found["reason"]
    assert (card or "unknown").split(",")[0] in found["reason"]
    assert words in found["cure"] and "--force-reinstall" in found["cure"]


def test_a_build_for_the_other_maker_is_refused():
    assert "is built for ROCm" in cuda.obstacle(hip="7.2", cuda=None, card="NVIDIA L4, 8.9, 580.1")["reason"]
    assert cuda.obstacle(hip=None, cuda="13.0", card=None) is None
    assert "there is an AMD GPU (gfx1100)" in rocm.obstacle(None, ["gfx1100"], "linux")["reason"]
    assert "/whl/rocm7.2" in rocm.obstacle(None, ["gfx1100"], "linux")["cure"]
    assert "AMD's own PyTorch" in rocm.obstacle(None, [], "win32")["cure"]
    assert rocm.obstacle("7.2", ["gfx1100"], "linux") is None
    assert "/whl/xpu" in xpu.obstacle(False, False)["cure"]
    assert "no device" in xpu.obstacle(True, False)["reason"]
    assert xpu.obstacle(True, True) is None


def test_a_mac_without_metal_says_why():
    assert "arm64" in mps.obstacle(False, False)["cure"]
    assert "no device" in mps.obstacle(True, False)["reason"]
    assert mps.obstacle(True, True) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_metals_attention_sees_no_later_token(dtype, groups, monkeypatch):
    """A stand-in with the faults that are reported of SDPA on Metal: in half precision four queries share a row of its own causal
    mask (pytorch#195910), and grouped heads with a mask end the process (#149132).
    """
    own = torch.nn.functional.scaled_dot_product_attention

    def metals(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        assert attn_mask is None or not enable_gqa, "LLVM ERROR: Failed to infer result type(s)."
        if is_causal and q.dtype != torch.float32:
            row = torch.arange(q.size(2))[:, None]
            attn_mask, is_causal = row // 4 * 4 + 3 >= row.T, False
        return own(q, k, v, attn_mask=attn_mask, is_causal=is_causal, enable_gqa=enable_gqa)

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 24, count, 16, generator=generator).to(dtype) for count in (4, groups, groups))
    expected = [torch_runtime.attention(q, k, v, window) for window in (5, 23, 24)]
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", metals)
    assert (torch_runtime.attention(q, k, v, 24) - expected[2]).abs().max() > 0.3, "the stand-in has the fault"
    for window, right in zip((5, 23, 24), expected, strict=True):
        torch.testing.assert_close(mps.attention(q, k, v, window), right, atol=0.02, rtol=0)


def test_metal_gets_no_more_memory_than_macos_recommends_and_is_waited_for(monkeypatch):
    """PyTorch's module for Metal is called as it is there; its functions, which this build has not, are watched."""
    called = []
    for name in ("set_per_process_memory_fraction", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.mps, name, lambda *given, name=name: called.append((name, *given)))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    torch_backend.device_runtime.__wrapped__("mps")
    assert called == []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch._C, "_get_accelerator", lambda: torch.device("mps"))
    runtime = torch_backend.device_runtime.__wrapped__("mps")
    runtime.synchronize()
    runtime.forget_memory()
    assert called == [("set_per_process_memory_fraction", 1.0), ("synchronize",), ("empty_cache",)]


@pytest.mark.parametrize("version, name", [(110000, "gfx1100"), (90402, "gfx942"), (90010, "gfx90a"), (100300, "gfx1030")])
def test_amd_gpus_are_read_from_the_drivers_list(tmp_path, version, name):
    for index, text in enumerate(["simd_count 0\ngfx_target_version 0\n", f"simd_count 64\ngfx_target_version {version}\n"]):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "properties").write_text(text, encoding="ascii")
    assert rocm.driver_gpus(tmp_path) == [name]
    assert rocm.driver_gpus(tmp_path / "nowhere") == []


def program(path: Path, text: str) -> None:
    path.write_text(f"#!{os.path.realpath(sys.executable)}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_drivers_tool_that_fails_or_hangs_costs_its_limit_only(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "ASK_SECONDS", 0.5)
    program(tmp_path / "answers", "print('yes')")
    program(tmp_path / "fails", "print('no'); raise SystemExit(9)")
    program(tmp_path / "hangs", "import time; time.sleep(60)")
    assert [gpu.says(name) for name in ("answers", "fails", "hangs", "missing")] == ["yes\n", None, None, None]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or torch.version.cuda is not None, reason="needs a PyTorch without CUDA, and runs a script")
def test_the_probe_names_the_card_that_this_pytorch_cannot_use(tmp_path, monkeypatch):
    program(tmp_path / "nvidia-smi", "print('NVIDIA GeForce RTX 3060, 8.6, 591.44')")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    facts = detect.probe(registry.scan()["cuda"])
    assert facts.reason.startswith("there is an NVIDIA card (NVIDIA GeForce RTX 3060), but this PyTorch")
    assert facts.cure.endswith("--index-url https://download.pytorch.org/whl/cu130")


# Peak FLOP/s


@pytest.mark.parametrize(
    "backend, name, tflops",
    [
        ("cuda", "NVIDIA H100 80GB HBM3", 989.4),
        ("cuda", "NVIDIA H100 PCIe", 756),
        ("cuda", "NVIDIA GeForce RTX 4090", 165.2),
        ("cuda", "NVIDIA GeForce RTX 4070 Ti SUPER", 88.2),
        ("cuda", "NVIDIA GeForce RTX 4070", 58.3),
        ("cuda", "NVIDIA L4", 121),
        ("cuda", "NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("cuda", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("cuda", "NVIDIA GeForce GTX 1060 6GB", None),
        ("rocm", "AMD Instinct MI300X", 1307.4),
        ("rocm", "AMD Radeon RX 7900 XTX", 122.8),
        ("rocm", "AMD Radeon RX 7900 XT", 103),
        ("rocm", "AMD Radeon Graphics", None),
        ("xpu", "Intel(R) Arc(TM) B580 Graphics", 116.5),
        ("xpu", "Intel(R) Data Center GPU Max 1550", 419.4),
        ("xpu", "Intel(R) Arc(TM) Graphics", None),
    ],
)
def test_peak_flops_come_from_the_table_or_are_unknown(backend, name, tflops):
    table = Path(torch_backend.device_runtime(backend).__file__).parent / "peaks.toml"
    flops, source = gpu.peak_flops(table, name, torch.bfloat16)
    assert flops == (None if tflops is None else pytest.approx(tflops * 1e12))
    assert bool(source) == (tflops is not None)
    assert gpu.peak_flops(table, name, torch.float32) == (None, None)


@pytest.mark.parametrize(
    "backend, name, gigabytes",
    [
        ("cuda", "NVIDIA H100 80GB HBM3", 3350),
        ("cuda", "NVIDIA GeForce RTX 4070 Ti SUPER", 672),
        ("cuda", "NVIDIA GH200 480GB", None),  # listed without one: it was sold with two kinds of memory
        ("cuda", "NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("rocm", "AMD Radeon RX 7900 XTX", 960),
        ("xpu", "Intel(R) Arc(TM) Pro B60 Graphics", 456),
    ],
)
def test_peak_bandwidth_comes_from_the_table_or_is_unknown(backend, name, gigabytes):
    table = Path(torch_backend.device_runtime(backend).__file__).parent / "peaks.toml"
    assert gpu.peak_bandwidth(table, name) == (None if gigabytes is None else pytest.approx(gigabytes * 1e9))


# A step at real sizes

GPUS = ("cuda", "rocm", "xpu", "mps")
PATHS = [(backend, profile) for backend in GPUS for profile in profiles.all().values() if backend in profile.backends]


def settings_for(backend: str, profile: str) -> gpu.Settings:
    """What the runtime chooses on a machine of tests/facts that gets this profile."""
    table = next(one for one in MACHINES if one["backend"] == backend and one["expect"]["profile"] == profile)
    known = dict(table["choose"])
    if backend == "cuda":
        known["capability"] = tuple(table["facts"]["capability"])
    return torch_backend.device_runtime(backend).choose(**known)


@pytest.mark.slow
@pytest.mark.parametrize("backend, profile", PATHS, ids=[f"{backend}-{profile.name}" for backend, profile in PATHS])
def test_a_step_at_real_sizes_stays_on_the_device_and_its_state_fits(backend, profile, monkeypatch):
    runtime = torch_backend.device_runtime(backend)
    settings = settings_for(backend, profile.name)
    replaced = {"device": torch.device("meta"), "dtype": settings.dtype, "settings": settings, "loss_scale": settings.loss_scale}
    replaced["to_device"] = lambda ids: torch.from_numpy(ids).to("meta", torch.int64)  # meta tensors have no memory to pin
    for name, value in (replaced | {"compile": lambda function: function, "check_pace": torch_runtime.check_pace}).items():
        monkeypatch.setattr(runtime, name, value, raising=False)
    # The fused AdamW has a meta kernel, but its list of devices lacks it.
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_get_fused_kernels_supported_devices", lambda: ["meta"])
    train = torch_backend.train(runtime, **profile.train)
    seq_len = profile.data.seq_len
    with torch.device("meta"):  # for what the model makes before it is moved
        model = train.build_model(SimpleNamespace(vocab_size=profile.data.vocab_size, seq_len=seq_len))
        trainer = train.Trainer(model, seq_len)
        assert trainer.rows * trainer.passes * seq_len == profile.train["TOTAL_BATCH_SIZE"]
        trainer.passes = 1
        ids = np.zeros((trainer.rows, seq_len), np.int32)
        kept = []
        monkeypatch.setattr(trainer, "_forget_gradients", lambda: kept.extend(one.grad for one in model.parameters()))
        loss = trainer.step(lambda rows: (ids[:rows], ids[:rows]), 0.5)
        logits = model(torch.zeros((2, seq_len), dtype=torch.int64))
    assert loss.shape == () and loss.dtype == torch.float32 and loss.device.type == "meta"
    assert logits.shape == (2, seq_len, profile.data.vocab_size) and logits.dtype == torch.float32
    adam = [value for state in trainer.optimizer.adam.state.values() for name, value in state.items() if name != "step"]
    muon = [part for _, momentum, variance, _ in trainer.optimizer.stacks for part in (momentum, variance)]
    weights, state = list(model.parameters()), [*adam, *muon]
    assert [one.shape for one in kept] == [one.shape for one in weights]
    assert {one.dtype for one in (*weights, *kept, *state)} == {torch.float32}
    assert {one.device.type for one in (*weights, *kept, *state)} == {"meta"}
    in_muon = sum(one.numel() for one in model.matrices())
    others = sum(one.numel() for one in weights) - in_muon
    momentum = 2 * others + in_muon
    assert momentum < sum(one.numel() for one in state) < momentum + 0.02 * in_muon  # NorMuon's variance: one number a row
    sizes, layout = Sizes.of(profile, torch_backend.SOURCE), memory.Layout(settings.dtype.itemsize, workspace_bytes=0)
    assert 4 * sum(one.numel() for one in kept) == pytest.approx(memory.gradient_bytes(sizes, layout), rel=1e-3)
    bytes_held = sum(one.nbytes for one in (*weights, *model.buffers(), *state))
    assert bytes_held == pytest.approx(sum(memory.held(sizes, layout).values()), rel=0.01)
    bytes_held += sum(one.nbytes for one in kept)
    smallest = min(one["facts"]["memory_bytes"] for one in MACHINES if one["expect"]["profile"] == profile.name)
    assert bytes_held < 0.25 * smallest


def test_without_shared_memory_nothing_asks_for_a_pool_of_compilers(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    gpu.limit_compile_pool()
    assert "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ

    def refused():
        raise PermissionError(13, "Permission denied")  # of sem_open, in a cell of level 2

    monkeypatch.setattr(gpu.multiprocessing, "Lock", refused)
    gpu.limit_compile_pool()
    assert os.environ.pop("TORCHINDUCTOR_COMPILE_THREADS") == "1"


# What the H200 has shown


@pytest.mark.parametrize("runtime", [cuda, rocm, xpu], ids=lambda runtime: runtime.__name__)
def test_a_runtime_whose_device_does_not_work_says_why_where_it_is_used(runtime):
    """In a cell that refused what CUDA needs, a training ended with "module 'runtime' has no attribute 'dtype'"."""
    assert runtime.found is not None, "there is no such device here"
    with pytest.raises(AttributeError, match="the device does not work here: ") as caught:
        _ = runtime.dtype
    assert runtime.found["reason"] in str(caught.value)
    with pytest.raises(AttributeError, match="no dtype in this runtime"):
        gpu.says_why(None)("dtype")
