"""What the owner allows a train.py to be, and that nothing passes because it is not known."""

import math
from dataclasses import replace

import pytest

from autoresearch.child import Worker
from autoresearch.errors import UsageError
from autoresearch.hardware.devices import registry
from autoresearch.run.constraints import Constraints
from autoresearch.run.setup import Setup


def test_each_limit_is_said_with_both_numbers():
    limits = Constraints(max_params=100, max_memory_gb=1.5, min_tok_s=1000)
    assert limits.objection() is None, "nothing is known yet"
    assert limits.objection(num_params=320) == "it has 320 parameters, and --max-params allows 100"
    assert limits.objection(peak_memory_bytes=2 << 30) == "it takes 2.00 GiB, and --max-memory-gb allows 1.5"
    assert limits.objection(tokens_per_second=10.0) == "it trains 10 tokens a second, and --min-tok-s asks for 1,000"
    assert limits.objection(100, 1 << 30, 1000.0) is None


def test_a_memory_that_nobody_knows_passes_no_limit():
    words = "it does not tell how much memory it took, and --max-memory-gb allows 1"
    assert Constraints(max_memory_gb=1).objection_at_the_end(1, None, 1.0) == words
    assert Constraints(max_params=1).objection_at_the_end(1, None, 1.0) is None


def test_a_limit_on_what_the_backend_does_not_know_is_refused_at_the_start():
    mps, cpu = registry.scan()["mps"], registry.scan()["cpu"]
    with pytest.raises(UsageError, match=r"--max-memory-gb 8: the backend mps does not know how much memory.*leave it out"):
        Constraints(max_memory_gb=8).check_known(mps)
    Constraints(max_memory_gb=8).check_known(cpu)
    Constraints(max_params=8).check_known(mps)
    Constraints(max_memory_gb=8).check_known(replace(mps, peak_memory=True))


@pytest.mark.parametrize("table", [{"max_parms": 1}, {"max_params": 0}, {"max_params": "x"}, {"max_params": True}])
def test_what_study_toml_may_hold(table):
    with pytest.raises(UsageError, match="the constraint "):
        Constraints.from_dict(table)
    assert Constraints.from_dict({"max_params": 3}) == Constraints(max_params=3)


def test_no_worker_and_no_run_is_made_without_saying_in_which_cell(tmp_path):
    with pytest.raises(TypeError, match="cell"):
        Worker({}, tmp_path, None)
    with pytest.raises(TypeError, match="sandbox"):
        Setup(backend=None, prepared=None, seq_len=1, eval_bytes=1, train_seconds=1, startup_limit_seconds=1)


def test_none_on_the_command_line_is_no_limit():
    asked = {"max_params": 5.0, "max_memory_gb": math.inf, "min_tok_s": None}
    assert Constraints.asked(asked) == Constraints(max_params=5.0)
