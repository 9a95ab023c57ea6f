"""Every night (`pytest -m nightly`): the shipped train.py, from torch.compile to machine code, for cards that are not there.

Each kernel must compile in every configuration that would be tried, and fit the card's shared memory; a step must be one graph for
the loss and one for each shape of matrices; later steps must compile nothing and wait for nothing but a loss that is long computed;
the most memory must be near the planner's estimate.
"""

import importlib.util
import json

import pytest
from test_steps import EVENT

from autoresearch.hardware.planner import memory, profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.paths import shipped

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]
PAIRS = [
    ("cuda", "turing-8gb", "sm_75", "float16"),  # RTX 20, T4
    ("cuda", "rtx-8gb", "sm_86", "bfloat16"),  # RTX 3050, 3060 Ti, 3070
    ("cuda", "rtx-8gb", "sm_120", "bfloat16"),  # RTX 5060, PRO 500
    ("cuda", "rtx-12gb", "sm_86", "bfloat16"),  # RTX 3060, 3080
    ("cuda", "rtx-12gb", "sm_89", "bfloat16"),  # RTX 4070
    ("cuda", "rtx-16gb", "sm_89", "bfloat16"),  # RTX 4060 Ti, 4080
    ("cuda", "rtx-24gb", "sm_80", "bfloat16"),  # A100 40 GB
    ("cuda", "rtx-24gb", "sm_89", "bfloat16"),  # RTX 4090, L4
    ("cuda", "rtx-24gb", "sm_120", "bfloat16"),  # RTX 5090
    ("cuda", "h100", "sm_90", "bfloat16"),  # H100, H200
    ("cuda", "h100", "sm_100", "bfloat16"),  # B200
    ("rocm", "instinct", "gfx90a", "bfloat16"),  # MI200
    ("rocm", "instinct", "gfx942", "bfloat16"),  # MI300
    ("rocm", "radeon", "gfx1100", "bfloat16"),  # RX 7900
    ("rocm", "radeon", "gfx1201", "bfloat16"),  # RX 9070
]
# Windows, which no shipped profile has: FlexAttention's kernels, in two layers of the widths of rtx-24gb.
WINDOWS = [("cuda", "rtx-24gb", card, "bfloat16") for card in ("sm_86", "sm_120")] + [("rocm", "instinct", "gfx942", "bfloat16")]
SHORT = {"WINDOW_PATTERN": "SL", "DEPTH": 2, "ASPECT_RATIO": 256}
OF_THE_PLAN = (0.8, 1.25)  # the most memory, in the planner's estimate without what cuBLAS takes; h100 on sm_90: 1.14


@pytest.fixture
def compiled(on_card, tmp_path, monkeypatch):
    """compiled(backend, profile, card, dtype, constants={}) -> child.py's answer; its caches are kept for the test."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))

    def compiled(backend: str, profile: str, card: str, dtype: str, **constants) -> dict:
        found = on_card(card, backend, [profile], dtype, constants, machine_code=True)
        one = found.pop(profile)
        print(profile, card, json.dumps(found), json.dumps(one))
        return found | one

    return compiled


def assert_whole(found: dict) -> None:
    assert found["problems"] == [] and found["kernels"] > 20
    assert (found["graphs"], found["later graphs"], found["breaks"]) == (1 + found["shapes"], [0, 0], [])
    assert found["waits"][-1] == EVENT


@pytest.mark.parametrize("backend, profile, card, dtype", PAIRS, ids=[f"{profile}-{card}" for _, profile, card, _ in PAIRS])
def test_a_profile_compiles_for_its_cards(compiled, backend, profile, card, dtype):
    found = compiled(backend, profile, card, dtype)
    assert_whole(found)
    sizes = Sizes.of(profiles.load(profile), (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8"))
    planned = memory.training_bytes(sizes, memory.Layout(workspace_bytes=0))
    assert OF_THE_PLAN[0] < found["most bytes"] / planned < OF_THE_PLAN[1]


@pytest.mark.parametrize("backend, profile, card, dtype", WINDOWS, ids=[card for _, _, card, _ in WINDOWS])
def test_windows_compile_for_cards(compiled, backend, profile, card, dtype):
    assert_whole(compiled(backend, profile, card, dtype, **SHORT))


def test_a_later_start_assembles_nothing_and_is_ready_in_time(compiled):
    first, later = (compiled(*PAIRS[0]) for _ in range(2))
    assert first["assembled"] == first["configurations"] and later["assembled"] == 0
    assert later["seconds"] < profiles.load("turing-8gb").budget.startup_limit_seconds
