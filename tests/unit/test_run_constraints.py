"""What the owner allows a train.py to be, and that nothing passes because it is not known."""

import math
from dataclasses import replace

import pytest

from autoresearch.child import Worker
from autoresearch.errors import UsageError
from autoresearch.hardware.devices import registry
from autoresearch.hardware.now.energy import Meter
from autoresearch.measure.summary import RunResult
from autoresearch.run import constraints, quantities
from autoresearch.run.constraints import Constraints, Limit, parse
from autoresearch.run.setup import Setup
from autoresearch.study import events


def limited(*texts: str, **named: float) -> Constraints:
    return Constraints.from_dict(named).changed(texts)


def test_each_limit_is_said_with_both_numbers():
    limits = limited("latency_ms<=5", "num_steps>=100", "forgot_bpb<=1.25", max_params=100, max_memory_gb=1.5, min_tok_s=1000)
    said = {
        ("params", 320): "it has 320 parameters, and --max-params allows 100",
        ("train_memory_gb", 2.0): "it takes 2 GiB, and --max-memory-gb allows 1.5",
        ("tokens_per_second", 10.0): "it trains 10 tokens a second, and --min-tok-s asks for 1,000",
        ("latency_ms", 7.25): "one answer takes 7.25 ms, and the limit is latency_ms<=5",
        ("latency_ms", 5.000001): "one answer takes 5.000001 ms, and the limit is latency_ms<=5",
        ("num_steps", 12): "it makes 12 steps, and the limit is num_steps>=100",
        ("forgot_bpb", 1.3): "its forgot_bpb is 1.3, and the limit is forgot_bpb<=1.25",
    }
    for (quantity, value), words in said.items():
        assert limits.objection({quantity: value}) == words
    assert limits.objection({}) is None, "nothing is known yet"
    within = {"params": 100, "train_memory_gb": 1.0, "tokens_per_second": 1000.0, "latency_ms": 5, "num_steps": 100}
    assert limits.objection(within) is None


def test_what_nobody_knows_passes_no_limit():
    words = "it does not tell how much memory it took, and the limit is --max-memory-gb 1"
    assert limited(max_memory_gb=1).objection_before_scoring({}) == words
    assert limited(max_memory_gb=1).objection_before_scoring({}, knows_memory=False) is None
    assert limited("latency_ms<=5", max_params=1).objection_before_scoring({"latency_ms": 6.0}) is None, "judged by several runs"
    assert limited("joules<=5").objection_of_all({}) == "its joules could not be measured, and the limit is joules<=5"


def test_a_limit_on_what_nothing_here_measures_is_refused_at_the_start_with_what_there_is(monkeypatch, tmp_path):
    monkeypatch.setattr(constraints, "Meter", lambda: Meter(tmp_path))  # whose counters this user may not read
    mps, cpu = registry.scan()["mps"], registry.scan()["cpu"]
    with pytest.raises(UsageError, match=r"--max-memory-gb 8: the backend mps does not know how much memory.*leave it out"):
        constraints.check(["train_memory_gb<=8"], mps)
    constraints.check(["train_memory_gb<=8"], cpu)
    constraints.check(["train_memory_gb<=8"], replace(mps, peak_memory=True))
    constraints.check(["params<=8", "train_memory_gb=none"], mps)
    with pytest.raises(UsageError, match=r"measures 'latncy_ms'; did you mean latency_ms\?.* params, memory_gb"):
        constraints.check(["latncy_ms<=8"], cpu)
    with pytest.raises(UsageError, match=r"did you mean forgot_bpb\?.*, forgot_bpb"):
        constraints.check(["forgt_bpb=none"], cpu, own=["forgot_bpb"])
    constraints.check(["forgot_bpb<=1"], cpu, own=["forgot_bpb"])
    with pytest.raises(UsageError, match=r"measures 'latency_ms'.*limit another: train_seconds, startup_seconds"):
        constraints.check(["latency_ms<=8"], cpu, "command")
    with pytest.raises(UsageError, match="nothing that this user may read counts energy here"):
        constraints.check(["joules<=8"], cpu)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("latency_ms<=5", Limit("latency_ms", "<=", 5.0)),
        ("  latency_ms  ≤ 5e-1 ", Limit("latency_ms", "<=", 0.5)),
        ("num_steps=>100", Limit("num_steps", ">=", 100.0)),
        ("num_steps≥100", Limit("num_steps", ">=", 100.0)),
        ("forgot_bpb<=1.3 warn", Limit("forgot_bpb", "<=", 1.3, warns=True)),
        ("forgot_bpb<=1.3 discard", Limit("forgot_bpb", "<=", 1.3)),
        ("forgot_bpb<=-1.5", Limit("forgot_bpb", "<=", -1.5)),
        ("latency_ms=none", None),
        ("latency_ms<=None", None),
    ],
)
def test_how_a_limit_may_be_written(text, found):
    assert parse(text)[1] == found
    assert found is None or parse(str(found))[1] == found


@pytest.mark.parametrize(
    "text",
    ["", "latency_ms", "latency_ms<=", "<=5", "latency_ms<5", "latency_ms=5", "latency_ms<=nan", "latency_ms<=inf",
     "latency_ms<=1e400", "latency_ms<=5ms", "latency_ms<=5 maybe", "latency_ms==5", "a b<=5"],
)  # fmt: skip
def test_how_it_may_not(text):
    with pytest.raises(UsageError, match="it is written `latency_ms<=5`"):
        parse(text)


@pytest.mark.parametrize(
    "table", [{"max_parms": 1}, {"max_params": 0}, {"max_params": "x"}, {"max_params": True}, {"limits": [1]}, {"limits": "x<=1"}]
)
def test_what_study_toml_may_hold(table):
    with pytest.raises(UsageError, match="the constraint "):
        Constraints.from_dict(table)
    assert Constraints.from_dict({"max_params": 3}) == Constraints((Limit("params", "<=", 3),))


def test_limits_change_one_by_one_and_are_stored_as_they_always_were():
    limits = limited("latency_ms<=5", "latency_ms>=1", "params<=100")
    assert limits.to_dict() == {"max_params": 100.0, "limits": ["latency_ms<=5", "latency_ms>=1"]}
    assert limits.changed(["latency_ms<=4"]).to_dict()["limits"] == ["latency_ms<=4", "latency_ms>=1"]
    assert limits.changed(["latency_ms=none"]).to_dict() == {"max_params": 100.0}
    assert limited(max_params=5.5, min_tok_s=2.0).to_dict() == {"max_params": 5.5, "min_tok_s": 2.0}
    for one in (limits, limited(max_memory_gb=0.1 + 0.2), limited("latency_ms<=0.30000000000000004"), Constraints()):
        assert Constraints.from_dict(one.to_dict()) == one
        assert events.Limits.of(one).constraints() == one
    old = {"max_params": 3.0, "max_memory_gb": None, "min_tok_s": None}
    assert events.fields(events.Limits.of(limited(max_params=3.0))) == old, "the ledger's line has no further field"


def test_none_on_the_command_line_is_no_limit():
    asked = constraints.asked({"max_params": 5.0, "max_memory_gb": math.inf, "min_tok_s": None, "limit": ("latency_ms<=5",)})
    assert limited(max_memory_gb=3).changed(asked) == limited("latency_ms<=5", max_params=5.0)


def test_what_is_beyond_a_wish_is_said_and_no_objection():
    wished = limited("latency_ms<=5 warn")
    assert wished.objection_of_all({"latency_ms": 6.0}) is None and wished.objection_of_all({}) is None
    assert wished.warnings({"latency_ms": 6.0}) == ["one answer takes 6 ms, and the limit is latency_ms<=5 warn"]


def test_what_was_measured_is_read_from_old_results_too():
    costs = {"rows": 10, "loading": [0, 0], "all_rows": [2.0, 0], "batch": [0, 0]}
    old = RunResult("ok", 1, num_params=7, total_tokens=90, training_seconds=3.0, checkpoint_bytes=2**20, costs=costs)
    known = {"answers_per_second": 5.0, "checkpoint_mb": 1.0, "params": 7.0, "train_seconds": 3.0, "tokens_per_second": 30.0}
    assert quantities.of(old) == known
    new = replace(old, measured={"params": 8.0, "latency_ms": 2.0})
    assert quantities.of(new, joules=4.0) == known | {"params": 8.0, "latency_ms": 2.0, "joules": 4.0}


def test_no_worker_and_no_run_is_made_without_saying_in_which_cell(tmp_path):
    with pytest.raises(TypeError, match="cell"):
        Worker({}, tmp_path, None)
    with pytest.raises(TypeError, match="sandbox"):
        Setup(backend=None, task=None, train_seconds=1, startup_limit_seconds=1)


def test_the_spread_of_what_takes_longer_is_larger_and_of_a_difference_it_is_not():
    groups = [[1.0, 1.1, 0.9], [2.0]]
    assert quantities.spread("latency_ms", 1.0, groups) == pytest.approx(0.1)
    assert quantities.spread("latency_ms", 5.0, groups) == pytest.approx(0.5)
    assert quantities.spread("forgot_bpb", 5.0, [[-0.1, 0.1]]) == pytest.approx(0.2**0.5 / 10**0.5)
    assert quantities.spread("latency_ms", 5.0, [[1.0], []]) is None
