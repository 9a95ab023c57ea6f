"""What doctor predicts for a recorded machine, and for one of which little is known."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch.commands.doctor import prediction_lines
from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import profiles
from autoresearch.hardware.planner.plan import forecast
from autoresearch.paths import shipped

RECORDED = Path(__file__).parents[1] / "facts"


def card(name: str, peaks: str) -> tuple[Facts, str]:
    """(facts, profile) of a recorded NVIDIA card with its data sheet, as its probe would give them."""
    table = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    expect = dict(table["expect"])
    cards = tomllib.loads((shipped("backends") / "cuda" / "peaks.toml").read_text(encoding="utf-8"))["card"]
    sheet = next(one for one in cards if one["name"] == peaks)
    peak = {"peak_flops": sheet["tflops"] * 1e12, "peak_bandwidth": sheet["bandwidth_gb_s"] * 1e9}
    profile = expect.pop("profile")
    return Facts.from_dict(table["facts"] | expect | peak), profile


def predicted(facts: Facts, profile: str, **measured: float) -> dict:
    found = forecast(registry.scan()["cuda"], facts, profiles.load(profile), {"cores": 8} | measured)
    return json.loads(json.dumps(found.to_dict()))


def test_a_recorded_card_gets_figures_that_fit_it():
    facts, profile = card("rtx-4090", "RTX 4090")
    found = predicted(facts, profile)
    assert all(found[name] for name in found)
    # Published (benchmarks/reference/devices.csv): two of them train 521,000 tokens/s, at depth 8 and 2048 tokens.
    assert 130_000 < found["tokens_per_second"]["value"] < 520_000
    assert 0.2 * facts.memory_bytes < found["train_memory_bytes"]["value"] < 0.9 * facts.memory_bytes
    assert found["scoring_memory_bytes"]["value"] < found["train_memory_bytes"]["value"]
    assert found["tokens"]["value"] == pytest.approx(300 * found["tokens_per_second"]["value"])
    assert 9 < found["experiments_per_hour"]["value"] < 12  # of at most 12: 300 s each
    assert all(0 < estimate["error"] <= 1 for estimate in found.values() if isinstance(estimate, dict) and "error" in estimate)


def test_a_slower_card_gets_fewer_tokens_and_a_measured_limit_goes_before_the_data_sheet():
    slow, profile = card("rtx-3060-12gb", "RTX 3060")
    fast, _ = card("rtx-4090", "RTX 4090")
    usual = predicted(slow, profile)["tokens_per_second"]
    assert usual["value"] < predicted(fast, profile)["tokens_per_second"]["value"] / 2
    measured = predicted(slow, profile, matmul_flops=10e12, bandwidth=300e9)
    assert measured["tokens_per_second"]["value"] < usual["value"]
    assert measured["limits"]["matmul_flops"] == {"value": 10e12, "kind": "measured", "reason": "measured here"}


def test_the_figures_are_printed_with_their_errors_and_the_devices_memory():
    found = predicted(*card("rtx-4090", "RTX 4090"))
    printed = "\n".join(prediction_lines(found))
    speed = found["tokens_per_second"]
    assert f"    speed    {speed['value']:,.0f} ±{100 * speed['error']:.0f}% tokens/s; in the budget " in printed
    assert f"training {found['train_memory_bytes']['value'] / 2**20:,.0f} ±5% of 24,564 MB" in printed
    assert "n/a" not in printed


def test_what_is_not_known_is_printed_as_na():
    facts, profile = card("rtx-4090", "RTX 4090")
    found = predicted(replace(facts, peak_flops=None, memory_bytes=None), profile)
    assert found["tokens_per_second"] is None and found["train_memory_bytes"] is not None
    printed = "\n".join(prediction_lines(found))
    assert "limits   matrix product n/a" in printed and "speed    n/a tokens/s; in the budget n/a steps" in printed
    assert " of " not in next(line for line in prediction_lines(found) if line.startswith("    memory")).partition("training")[2]


def test_a_simulated_backend_has_no_forecast():
    found = forecast(registry.scan()["null"], Facts(ok=True, device="simulated"), profiles.load("null"))
    assert found is None and prediction_lines(found) == ["  predicted n/a: the planner does not know this model"]


@pytest.mark.parametrize("wrong", [{"GQA_RATIO": 0}, {"HEAD_DIM": 0}, {"WINDOW_PATTERN": ""}, {"MLP_RATIO": "x"}], ids=str)
def test_sizes_that_are_no_models_have_no_forecast(wrong):
    facts, name = card("rtx-4090", "RTX 4090")
    profile = profiles.load(name)
    assert forecast(registry.scan()["cuda"], facts, replace(profile, train=profile.train | wrong)) is None
