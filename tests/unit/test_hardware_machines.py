"""What real devices get: backend, profile, dtype, compilation and attention, from tests/facts and the shipped files alone."""

import json
import sys
from pathlib import Path

import pytest
import torch_backend

from autoresearch.hardware.devices import detect, registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import profiles

MACHINES = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((Path(__file__).parents[1] / "facts").glob("*.json"))
}
ABSENT = Facts(ok=False, reason="not in this computer")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_gets_its_backend_and_profile(machine):
    table = MACHINES[machine]
    backends = registry.scan()
    cpu = Facts(ok=True, device="a processor", matmul_tflops=1.0)
    facts = dict.fromkeys(backends, ABSENT) | {"cpu": cpu, table["backend"]: Facts.from_dict(table["facts"])}
    choice = detect.choose_backend("auto" if backends[table["backend"]].auto else table["backend"], backends, facts)
    assert choice.backend.name == table["backend"]
    profile, reason, others = profiles.choose("auto", choice.backend, choice.facts)  # raises where two profiles tie
    assert (profile.name, reason) == (table["expect"]["profile"], table["because"])
    assert len(others) == len(profiles.all()) - 1


@pytest.mark.parametrize("machine", [name for name, table in MACHINES.items() if "choose" in table])
def test_a_machine_gets_its_dtype_compilation_and_attention(machine):
    pytest.importorskip("torch")
    table = MACHINES[machine]
    known = dict(table["choose"])
    if table["backend"] == "cuda":
        known["capability"] = tuple(table["facts"]["capability"])
    settings = torch_backend.device_runtime(table["backend"]).choose(**known)
    got = {"dtype": str(settings.dtype).removeprefix("torch."), "compile": settings.compile, "attention": settings.attention}
    assert got == {name: value for name, value in table["expect"].items() if name != "profile"}
    assert settings.dtype_reason and settings.compile_reason and settings.attention_reason
    assert (settings.loss_scale > 1) == (got["dtype"] == "float16")


def test_the_table_has_every_kind_of_device():
    gpus = [table for table in MACHINES.values() if table["backend"] != "cpu"]
    assert len(MACHINES) >= 50 and len(gpus) >= 25 and all(table["source"] for table in gpus)
    capabilities = {tuple(table["facts"]["capability"]) for table in gpus if table["backend"] == "cuda"}
    assert {(6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (12, 0), (12, 1)} <= capabilities
    assert {"cuda", "rocm", "xpu", "mps", "jax"} == {table["backend"] for table in gpus}


def test_every_backend_has_a_profile_for_a_device_of_which_nothing_is_known():
    for backend in registry.scan().values():
        unknown = Facts(ok=True, device="", capability=(8, 0), memory_bytes=0)  # CUDA always tells these two
        assert profiles.choose("auto", backend, unknown)


@pytest.mark.parametrize("name", profiles.all())
def test_a_shipped_profile_is_whole(name):
    profile = profiles.all()[name]
    assert profiles.check(profile, registry.scan())
    if "TOTAL_BATCH_SIZE" in profile.train:
        device_tokens = profile.train["DEVICE_BATCH_SIZE"] * profile.data.seq_len
        assert profile.train["TOTAL_BATCH_SIZE"] % device_tokens == 0
    assert profiles.without_source(profile) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="has Metal")
def test_elsewhere_metal_is_refused_without_importing_torch():
    mps = registry.scan()["mps"]
    bare = detect.probe(registry.Backend("mps", "mps", mps.folder, mps.folder / "train.py"))  # no torch_runtime to find
    assert bare == Facts(ok=False, reason="Metal is there on macOS only")
