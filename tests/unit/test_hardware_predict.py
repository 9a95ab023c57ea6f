"""The planner: published rows within the stated errors, more of everything costs more, and unknown facts stay unknown."""

import dataclasses
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_hardware_model import sizes_of

from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import memory, model, predict, profiles, speed
from autoresearch.hardware.planner.memory import Layout
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine
from autoresearch.paths import shipped

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import plan_errors  # noqa: E402

SIZES = Sizes(
    depth=8, width=512, head_dim=128, gqa_ratio=1, mlp_ratio=4, window_pattern="SSSL", short_window=0.5, seq_len=2048,
    vocab_size=8192, rows=32, batch_tokens=2**18,
)  # fmt: skip
CARD = Facts(
    ok=True, device="a card", memory_bytes=24 << 30, dtype="bfloat16", compile=True, attention="flex", peak_flops=165e12,
    peak_bandwidth=1e12,
)  # fmt: skip
CPU = Facts(
    ok=True,
    device="a CPU",
    memory_bytes=8 << 30,
    dtype="bfloat16",
    compile=True,
    attention="blocks",
    matmul_tflops=1.4,
    cores=2,
    processors=True,
)
MEASURED = {"bandwidth": 19e9}


def run(sizes: Sizes = SIZES, facts: Facts = CARD, **measured) -> predict.Prediction:
    return predict.predict(sizes, Machine.of(facts, {"cores": 8} | measured), train_seconds=300, eval_bytes=1_000_000)


# Published rows


@pytest.mark.parametrize("row", list(plan_errors.memory_rows()), ids=lambda row: row["run"])
def test_every_published_memory_is_met_within_five_percent(row):
    assert abs(row["error"]) < predict.MEMORY_ERROR == 0.05


def test_published_speeds_are_met_within_the_stated_error():
    rows = [row for row in plan_errors.speed_rows() if row["error"] is not None and not plan_errors.is_explained(row)]
    assert len(rows) >= 9
    errors = [abs(row["error"]) for row in rows]
    assert statistics.median(errors) < 0.25
    assert max(errors) < predict.SPEED_ERROR


def test_every_row_with_a_speed_is_compared_or_says_why_not():
    for row in plan_errors.speed_rows():
        assert row["error"] is not None or row["remark"].startswith("n/a: ")
        assert row["error"] is None or abs(row["error"]) < 1 or plan_errors.is_explained(row)


def test_the_saved_figures_are_those_of_the_command():
    saved = json.loads((ROOT / "benchmarks" / "results" / "plan_errors.json").read_text(encoding="utf-8"))
    rows = [*plan_errors.memory_rows(), *plan_errors.speed_rows()]
    assert [row["predicted"] for row in saved["memory"] + saved["speed"]] == [row["predicted"] for row in rows]


# More costs more


@pytest.mark.parametrize("attention", ["sdpa", "flash3", "blocks"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "change",
    [{"rows": 64}, {"depth": 10}, {"width": 640}, {"mlp_ratio": 5}, {"vocab_size": 16_384}, {"seq_len": 4096}],
    ids=str,
)
def test_more_of_anything_takes_more_memory(change, compiled, attention):
    layout = Layout(compiled=compiled, attention=attention)
    assert memory.training_bytes(replace(SIZES, **change), layout) > memory.training_bytes(SIZES, layout)
    smaller = replace(SIZES, gqa_ratio=2)
    assert memory.training_bytes(smaller, layout) < memory.training_bytes(SIZES, layout)


def test_what_a_layout_saves():
    whole = memory.training_bytes(SIZES, Layout(logits="whole"))
    assert memory.training_bytes(SIZES, Layout()) < whole
    assert memory.training_bytes(SIZES, Layout()) < memory.training_bytes(SIZES, Layout(compiled=False))
    assert memory.training_bytes(SIZES, Layout()) < memory.training_bytes(SIZES, Layout(product_bytes=4))
    assert memory.training_bytes(SIZES, Layout()) < memory.training_bytes(SIZES, Layout(attention="blocks"))


def test_a_small_batch_is_fullest_in_the_optimizer():
    tiny = replace(SIZES, rows=1, seq_len=64, batch_tokens=64)
    at_loss, at_optimizer = (sum(moment(tiny, Layout()).values()) for moment in (memory.at_loss, memory.at_optimizer))
    assert memory.training_bytes(tiny, Layout()) == at_optimizer > at_loss
    assert memory.training_bytes(SIZES, Layout()) == sum(memory.at_loss(SIZES, Layout()).values())


@pytest.mark.parametrize("change", [{"depth": 10}, {"width": 640}, {"vocab_size": 16_384}, {"mlp_ratio": 5}], ids=str)
@pytest.mark.parametrize("facts, measured", [(CARD, {}), (CPU, MEASURED)], ids=["card", "cpu"])
def test_a_larger_model_trains_fewer_tokens(facts, measured, change):
    small, large = run(SIZES, facts, **measured), run(replace(SIZES, **change), facts, **measured)
    assert large.tokens_per_second.value < small.tokens_per_second.value
    assert large.steps.value < small.steps.value


def test_a_faster_machine_trains_more_tokens():
    usual = run().tokens_per_second.value
    assert run(matmul_flops=300e12).tokens_per_second.value > usual
    assert run(bandwidth=2e12).tokens_per_second.value > usual
    assert run(facts=replace(CARD, compile=False)).tokens_per_second.value < usual / 1.5
    assert run(facts=replace(CARD, attention="sdpa")).tokens_per_second.value < usual  # computes what a window hides


def test_a_small_eager_step_waits_for_its_launches():
    tiny = replace(SIZES, depth=4, width=128, seq_len=64, rows=1, batch_tokens=64)
    slow, fast = (run(tiny, replace(CARD, compile=False), matmul_flops=flops).tokens_per_second.value for flops in (1e14, 1e15))
    assert slow == fast


def test_scores_are_counted_block_by_block_where_a_kernel_has_blocks():
    long = replace(SIZES, seq_len=1024, window_pattern="L", depth=1)
    assert model.scored_keys(long, "sdpa") == 1024 * 1025 // 2
    assert model.scored_keys(long, "blocks") == 256 * (256 + 512 + 768 + 1024)
    windowed = replace(long, depth=2, window_pattern="SL", short_window=0.125)
    assert model.scored_keys(windowed, "blocks") - model.scored_keys(long, "blocks") == 128 * (128 + 7 * 256)
    assert model.scored_keys(windowed, "sdpa") - model.scored_keys(long, "sdpa") == 1024 * 1024  # a mask saves nothing


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_starts_of_both_measured_machines_are_within_the_stated_error(dtype):
    path = ROOT / "benchmarks" / "results" / f"train_speed-cpu-{dtype}.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["start_up"]
    found = run(facts=CPU, **MEASURED)
    for name, estimate in (("cold", found.first_startup_seconds), ("warm", found.startup_seconds)):
        assert abs(measured[name]["process_seconds"] / estimate.value - 1) < estimate.error


def test_measured_scorings_are_within_the_stated_error():
    """Of the machine without AMX, whose limits train_speed measured; and of one with it (docs/design/cpu-speed.md)."""
    results = ROOT / "benchmarks" / "results"
    speed_of = json.loads((results / "train_speed-cpu-float32.json").read_text(encoding="utf-8"))
    limits = {"matmul_flops": 1e12 * max(speed_of["product_tflops"].values()), "bandwidth": 1e9 * speed_of["copy_gb_per_second"]}
    plain = Machine.of(replace(CPU, dtype="float32"), limits | {"cores": 2})
    misses = []
    for line in (results / "runs.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if "device" in one:  # a later machine
            continue
        shape = {name: one[name] for name in ("depth", "width", "head_dim", "seq_len", "vocab_size")}
        estimate = predict.predict(replace(SIZES, **shape), plain, 100, one["eval_bytes"]).scoring_seconds
        misses.append(one["scoring_seconds"] / estimate.value - 1)
    assert len(misses) >= 33 and abs(statistics.median(misses)) < 0.1
    assert sum(abs(miss) >= predict.SCORING_ERROR for miss in misses) <= len(misses) / 20
    profile = profiles.load("cpu")
    sizes = Sizes.of(profile, (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8"))
    amx = Machine.of(CPU, MEASURED | {"cores": 2})
    estimate = predict.predict(sizes, amx, 300, profile.data.eval_bytes).scoring_seconds
    assert abs(7.4 / estimate.value - 1) < estimate.error


# The figures hang together


def test_a_prediction_adds_up():
    found = run()
    assert found.tokens.value == pytest.approx(300 * found.tokens_per_second.value)
    assert found.steps.value == pytest.approx(found.tokens.value / SIZES.batch_tokens)
    total = 300 + found.startup_seconds.value + found.scoring_seconds.value
    assert found.experiments_per_hour.value == pytest.approx(3600 / total)
    assert found.first_startup_seconds.value >= found.startup_seconds.value
    assert found.experiments_per_hour.error < found.startup_seconds.error  # the budget itself is exact
    work = speed.parts(SIZES, 2, True, "flex", speed.ACCELERATOR)
    flops = sum(part.flops for part in work if part.name not in ("Muon", "attention"))
    assert flops == 6 * SIZES.batch_tokens * (model.matrix_params(SIZES) - 4 * 4 * 32 + model.head_params(SIZES))  # no gates


def test_a_measured_limit_goes_before_the_data_sheet():
    machine = Machine.of(CARD, {"matmul_flops": 100e12})
    assert (machine.matmul_flops.value, machine.matmul_flops.kind) == (100e12, "measured")
    assert machine.bandwidth.kind == "data sheet" and "data sheet" in machine.bandwidth.reason
    assert run(matmul_flops=100e12).tokens_per_second.value < run().tokens_per_second.value


@pytest.mark.parametrize(
    "missing, unknown",
    [
        ({"peak_flops": None}, {"tokens_per_second", "steps", "tokens", "scoring_seconds", "experiments_per_hour"}),
        ({"peak_bandwidth": None}, {"tokens_per_second", "steps", "tokens", "scoring_seconds", "experiments_per_hour"}),
        ({"attention": None}, {"train_memory_bytes", "tokens_per_second", "steps", "tokens"}),
    ],
    ids=["peak_flops", "peak_bandwidth", "attention"],
)
def test_what_needs_an_unknown_fact_is_unknown(missing, unknown):
    found = run(facts=replace(CARD, **missing))
    assert {name.name for name in dataclasses.fields(found) if getattr(found, name.name) is None} == unknown


def test_a_device_of_which_nothing_is_known_has_no_figures():
    found = predict.predict(SIZES, Machine.of(Facts(ok=True, device="?")), 300, 1_000_000)
    assert all(getattr(found, field.name) is None for field in dataclasses.fields(found))


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "facts").glob("*.json")), ids=lambda path: path.stem)
def test_what_a_recorded_machine_gets_fits_into_it(path):
    """Its profile's sizes, with the settings that its runtime chooses; a CPU's are in float32."""
    table = json.loads(path.read_text(encoding="utf-8"))
    expect = {"dtype": "float32", "compile": True, "attention": "blocks"} | table["expect"]
    profile = profiles.load(expect.pop("profile"))
    facts = Facts.from_dict(table["facts"] | expect)
    sizes = Sizes.of(profile, (shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8"))
    found = predict.predict(sizes, Machine.of(facts), profile.budget.train_seconds, profile.data.eval_bytes)
    assert 0 < found.train_memory_bytes.value < 0.95 * facts.memory_bytes
    assert 0 < found.scoring_memory_bytes.value < facts.memory_bytes


def test_xlas_plain_attention_keeps_every_score_of_every_layer():
    """What XLA asks for at compile time, in MB: docs/design/jax.md."""
    shape = {"DEPTH": 4, "ASPECT_RATIO": 64, "HEAD_DIM": 64, "WINDOW_PATTERN": "L", "TOTAL_BATCH_SIZE": 2048}
    for seq_len, asked in ((256, 571), (1024, 859), (2048, 1243)):
        sizes = sizes_of(shape | {"DEVICE_BATCH_SIZE": 2048 // seq_len}, seq_len, 4096)
        planned = memory.training_bytes(sizes, Layout(product_bytes=4, attention="xla", workspace_bytes=0)) / 2**20
        assert 0.87 < planned / asked <= 1
