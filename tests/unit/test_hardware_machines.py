"""What real devices get: backend, profile and dtype, from the facts in tests/facts and from the shipped files alone."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from autoresearch.hardware import detect, profiles, registry
from autoresearch.hardware.facts import Facts
from autoresearch.paths import shipped

MACHINES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "facts").glob("*.json"))
}
ABSENT = Facts(ok=False, reason="not in this computer")


@pytest.fixture(scope="module")
def runtimes():
    """The runtime.py files of backends, loaded for their pure functions."""
    pytest.importorskip("torch")
    sys.path.insert(0, str(shipped("backends") / "torch"))
    found = {}
    for name in ("cuda", "mps"):
        spec = importlib.util.spec_from_file_location(f"runtime_{name}", shipped("backends") / name / "runtime.py")
        found[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    sys.path.remove(str(shipped("backends") / "torch"))
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_gets_its_backend_and_profile(machine):
    table = MACHINES[machine]
    backends = registry.scan()
    cpu = Facts(ok=True, device="a processor", matmul_tflops=1.0)
    facts = dict.fromkeys(backends, ABSENT) | {"cpu": cpu, table["backend"]: Facts.from_dict(table["facts"])}
    choice = detect.choose_backend("auto", backends, facts)
    assert choice.backend.name == table["backend"]
    profile, _, others = profiles.choose("auto", choice.backend, choice.facts)  # raises where two profiles tie
    assert profile.name == table["expect"]["profile"]
    assert len(others) == len(profiles.all()) - 1


@pytest.mark.parametrize("machine", [name for name, table in MACHINES.items() if "dtype" in table["expect"]])
def test_a_machine_gets_its_dtype(machine, runtimes):
    table = MACHINES[machine]
    what = tuple(table["facts"]["capability"]) if table["backend"] == "cuda" else table["macos"]
    dtype, *_, reason = runtimes[table["backend"]].choose_dtype(what)
    assert str(dtype) == f"torch.{table['expect']['dtype']}"
    assert reason


def test_every_backend_has_a_profile_for_a_device_of_which_nothing_is_known():
    for backend in registry.scan().values():
        unknown = Facts(ok=True, device="", capability=(8, 0), memory_bytes=0)  # CUDA always tells these two
        assert profiles.choose("auto", backend, unknown)


@pytest.mark.parametrize("name", profiles.all())
def test_a_shipped_profile_is_whole(name):
    profile = profiles.all()[name]
    assert profiles.check(profile, registry.scan())
    if "TOTAL_BATCH_SIZE" in profile.train:
        device_tokens = profile.train["DEVICE_BATCH_SIZE"] * profile.data["seq_len"]
        assert profile.train["TOTAL_BATCH_SIZE"] % device_tokens == 0
    sizes = Path(profile.source).read_text(encoding="utf-8").partition("[data]")[2]
    assert [line for line in sizes.splitlines() if " = " in line and "#" not in line] == []  # each has its source


def test_float16_has_a_scaled_loss_and_the_others_do_not(runtimes):
    for capability in ((6, 1), (7, 0), (7, 5), (8, 0), (12, 1)):
        dtype, loss_scale, _ = runtimes["cuda"].choose_dtype(capability)
        assert (loss_scale > 1) == (str(dtype) == "torch.float16")


@pytest.mark.parametrize(
    "capability, has_triton, has_compiler, system, expected, words",
    [
        ((8, 9), True, True, "linux", True, "are there"),
        ((6, 1), True, True, "linux", False, "below compute capability 7.0"),
        ((8, 9), False, True, "linux", False, "Triton is not installed"),
        ((8, 9), False, False, "win32", False, "triton-windows"),
        ((8, 9), True, False, "win32", True, "are there"),
        ((8, 9), True, False, "linux", False, "needs a C compiler"),
    ],
)
def test_compilation_is_on_where_it_can_be(runtimes, capability, has_triton, has_compiler, system, expected, words):
    is_on, reason = runtimes["cuda"].choose_compile(capability, has_triton, has_compiler, system)
    assert is_on is expected
    assert words in reason


def test_a_build_runs_on_its_own_major_version_and_ptx_on_newer_ones(runtimes):
    build = ["sm_75", "sm_80", "sm_86", "sm_90a", "compute_120"]
    runs = {capability: runtimes["cuda"].is_built_for(capability, build) for capability in [(7, 0), (7, 5), (8, 9)]}
    assert runs == {(7, 0): False, (7, 5): True, (8, 9): True}
    assert not runtimes["cuda"].is_built_for((10, 0), build)
    assert runtimes["cuda"].is_built_for((12, 1), build)


@pytest.mark.parametrize(
    "name, tflops",
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 88.2),
        ("NVIDIA GeForce RTX 4070", 58.3),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GeForce GTX 1060 6GB", None),
    ],
)
def test_peak_flops_come_from_the_table_or_are_unknown(runtimes, name, tflops):
    import torch

    flops, source = runtimes["cuda"].peak_flops(name, torch.bfloat16)
    assert flops == (None if tflops is None else pytest.approx(tflops * 1e12))
    assert bool(source) == (tflops is not None)
    assert runtimes["cuda"].peak_flops(name, torch.float32) == (None, None)


def test_a_mac_without_metal_says_why(runtimes):
    assert "arm64" in runtimes["mps"].obstacle(False, False)["cure"]
    assert "no device" in runtimes["mps"].obstacle(True, False)["reason"]
    assert runtimes["mps"].obstacle(True, True) is None


@pytest.mark.skipif(sys.platform == "darwin", reason="has Metal")
def test_elsewhere_metal_is_refused_without_importing_torch():
    mps = registry.scan()["mps"]
    bare = detect.probe(registry.Backend("mps", "mps", mps.folder, mps.folder / "train.py"))  # no torch_runtime to find
    assert bare == Facts(ok=False, reason="Metal is there on macOS only")
