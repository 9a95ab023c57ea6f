"""Timing a train.py piece by piece, in real child processes, at a size that takes moments."""

import importlib.util

import pytest

from autoresearch import constants
from autoresearch.checks.conformance.subject import SEQ_LEN, TINY, VOCAB_SIZE
from autoresearch.child import RunFailed
from autoresearch.hardware.autotune.stopwatch import LIMITS, PARTS, UNTIMED, Stopwatch, alternate
from autoresearch.hardware.devices import registry


def watch(name, folder, **values):
    backend = registry.scan()[name]
    train_py = constants.write(backend.train_py.read_text(encoding="utf-8"), TINY | values)
    eager = {"CXX": "no-compiler"}  # of what PyTorch would compile on a CPU: each piece for half a minute
    return Stopwatch(backend, train_py, VOCAB_SIZE, SEQ_LEN, folder, variables=eager)


def needing(package, *marks):
    absent = pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")
    return pytest.param(package, marks=[absent, *marks])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", needing("mlx", pytest.mark.thorough), needing("jax", pytest.mark.thorough)])
def test_pieces_of_a_step_are_timed(name, tmp_path):
    with watch(name, tmp_path / "one") as one:
        assert set(one.offers) == {*LIMITS, *PARTS}
        assert (one.started.rows, one.started.passes) == (4, 2) and one.tokens_per_step == 4 * 2 * SEQ_LEN
        assert one.started.flops_per_token > 0 < one.started.warm_up_seconds < one.started.process_seconds
        pieces = ["step", "loader", *PARTS, "product 64x64x64", "product 1024x1024x1024", "copy 1048576", "copy 268435456"]
        seconds = alternate({piece: lambda piece=piece: one.seconds(piece) for piece in pieces}, rounds=5)
        assert all(value > 0 for value in seconds.values())
        # Work that differs by factors of 256 and more: a piece that does nothing, or is not waited for, takes no longer.
        assert seconds["product 1024x1024x1024"] > seconds["product 64x64x64"]
        assert seconds["copy 268435456"] > seconds["copy 1048576"]
        assert one.peak_memory_bytes() > 1 << 20


def test_what_is_not_a_training_is_a_failure_with_a_reason(tmp_path):
    backend = registry.scan()["null"]
    with pytest.raises(RunFailed, match="Trainer") as failure:
        Stopwatch(backend, backend.train_py.read_text(encoding="utf-8"), VOCAB_SIZE, SEQ_LEN, tmp_path)
    assert failure.value.kind == UNTIMED
