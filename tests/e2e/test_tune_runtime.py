"""Choices of the runtime from a profile to real workers: in a backend that only waits, and in PyTorch's on the CPU."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from on_text import on_text

from autoresearch import choices, constants
from autoresearch.checks.conformance.subject import SEQ_LEN, TINY, VOCAB_SIZE, prepared_text
from autoresearch.errors import UsageError
from autoresearch.hardware import slots
from autoresearch.hardware.autotune import split, tune_runtime
from autoresearch.hardware.autotune.stopwatch import Stopwatch
from autoresearch.hardware.devices import detect, registry
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.planner import plan, profiles
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup

MANIFEST = 'title = "Waits"\nrank = 0\nauto = false\ntrain = "train.py"\n'
RUNTIME = """
import json, sys
from autoresearch import choices
compiles, why = choices.settle("compile", True, "its own", (True, False))
kind, kind_why = choices.settle("attention", "a", "its own", ("a", "b", "c"))
if kind == "c" and "--probe" not in sys.argv:
    raise MemoryError("no room for c")
def peak_memory_bytes():
    return 1000
if "--probe" in sys.argv:
    chosen = {"compile": compiles, "compile_reason": why, "attention": kind, "attention_reason": kind_why}
    offers = choices.left(compile=(True, False), attention=("a", "b", "c"))
    print(json.dumps({"ok": True, "device": "a clock", "memory_bytes": 5000, "choices": offers} | chosen))
"""
TRAIN = """
import time
import runtime
class Model:
    def flops_per_token(self, seq_len):
        return 1
def build_model(spec):
    return Model()
class Trainer:
    rows = passes = 1
    def __init__(self, model, seq_len):
        self.model = model
        self.seconds = (0.1 if runtime.compiles else 0.001) + (0.2 if runtime.kind == "b" else 0.0)
    def warm_up(self, batch):
        pass
    def step(self, batch, progress):
        time.sleep(self.seconds)
        return 0.0
"""


@pytest.fixture
def waits(tmp_path):
    for name, text in {"backend.toml": MANIFEST, "runtime.py": RUNTIME, "train.py": TRAIN}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return registry.read("waits", tmp_path)


def compare(backend, folder, left=lambda: 60.0, memory_bytes=5000):
    opened = []

    def watch(runtime):
        opened.append(runtime.copy())
        place, variables = folder / f"watch-{len(opened)}", choices.variables(runtime)
        return Stopwatch(backend, TRAIN, VOCAB_SIZE, SEQ_LEN, place, variables=variables)

    others = tune_runtime.alternatives(detect.probe(backend))
    chosen, changes = tune_runtime.compare(others, watch, left, memory_bytes)
    return chosen, {(one.name, one.value): one for one in changes}, opened


@pytest.mark.slow
def test_a_faster_choice_is_taken_and_the_others_are_compared_with_it(waits, tmp_path):
    chosen, changes, opened = compare(waits, tmp_path)
    assert chosen == {"compile": False}
    assert changes["compile", False].taken and changes["compile", False].ratio > 2
    assert not changes["attention", "b"].taken and changes["attention", "b"].ratio < 0.1  # 0.5 of what was left
    assert changes["attention", "c"].ratio is None and "oom" in changes["attention", "c"].reason
    assert opened == [{}, {"compile": False}, *({"compile": False, "attention": kind} for kind in "bc")]


@pytest.mark.slow
def test_what_time_and_memory_do_not_allow_is_said(waits, tmp_path):
    seconds = iter([60.0, 60.0, 60.0, *[0.0] * 9])  # before the first change, then its first two rounds: the budget ends there
    chosen, changes, _ = compare(waits, tmp_path / "time", lambda: next(seconds))
    assert chosen == {} and "the time ended after 2 of 10 rounds" in changes["compile", False].reason
    assert "not tried: the time was over" in changes["attention", "b"].reason
    chosen, changes, opened = compare(waits, tmp_path / "memory", memory_bytes=2000)
    assert chosen == {} and opened == [{}]
    assert all("two trainings at a time do not fit" in change.reason for change in changes.values())


# From the profile to the workers


def informed(backend, **runtime):
    made = plan.Plan(Choice(backend, detect.probe(backend), "", []), replace(profiles.load("cpu-small"), runtime=runtime), "", [])
    return plan.informed(made).choice.facts


def test_facts_are_those_under_the_profiles_choices(waits, monkeypatch):
    facts = informed(waits, compile=False)
    assert facts.compile is False and "[runtime]" in facts.compile_reason
    assert facts.choices == {"attention": ["a", "b", "c"]}, "what the profile settles is not tried"
    monkeypatch.setenv("AUTORESEARCH_COMPILE", "on")
    assert informed(waits, compile=False).compile is False, "the profile's goes before"
    with pytest.raises(UsageError, match=r"does not work here: AUTORESEARCH_ATTENTION is 'd'.*; set it .* to a or b or c, or"):
        informed(waits, attention="d")
    with pytest.raises(UsageError, match=r"\[runtime\] threads: the backend waits has no choice of it; remove it there"):
        informed(waits, threads=1)


@pytest.mark.slow
def test_a_profiles_choices_reach_the_training_and_the_scoring(tmp_path, monkeypatch):
    """Eager, one thread, SDPA: as the runtime in both processes says of itself."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    backend = registry.scan()["cpu"]
    variables = choices.variables({"compile": False, "threads": 1, "attention": "sdpa"})
    says = "\nimport torch\nprint('chosen', runtime.compile_on, torch.get_num_threads(), runtime.attention_kind, __name__)\n"
    text = constants.write(backend.train_py.read_text(encoding="utf-8"), TINY)
    head, main = text.split('\nif __name__ == "__main__":')
    setup = Setup(backend, on_text(prepared_text(), SEQ_LEN, 10_000), 1.0, 300.0, 0, variables=variables)
    result = execute(setup, f'{head}{says}\nif __name__ == "__main__":{main}', 1, tmp_path / "run")
    assert result.ok, result.reason
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "chosen False 1 sdpa __main__" in log and "chosen False 1 sdpa train" in log


@pytest.mark.slow
def test_more_threads_than_cores_and_a_wrong_dtype_are_status_2(tmp_path):
    def check(**variables):
        return subprocess.run(
            [sys.executable, "-m", "autoresearch.cli", "backends", "check", "cpu"],
            env=os.environ | {"AUTORESEARCH_CACHE_DIR": str(tmp_path)} | variables, capture_output=True, encoding="utf-8",
        )  # fmt: skip

    for variables, words in (
        ({"AUTORESEARCH_THREADS": "1000"}, "AUTORESEARCH_THREADS is '1000', and here is 1"),
        ({"AUTORESEARCH_DTYPE": "foo"}, "AUTORESEARCH_DTYPE is 'foo', and here is float32 or bfloat16 or float16 only"),
    ):
        done = check(**variables)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        *said, last = done.stderr.splitlines()
        assert last.startswith(f"error: {words}") and said == ["trying its contracts"]


@pytest.mark.slow
@pytest.mark.skipif(not slots.can_bind(), reason="this system binds nothing to cores")
def test_whether_sharing_the_cores_pays_is_measured_by_trainings_at_once(waits, monkeypatch):
    """Steps that only wait take no longer beside each other: three trainings make three times the tokens of one."""
    monkeypatch.setattr(split, "SECONDS", 1.0)
    made = plan.Plan(Choice(waits, detect.probe(waits), "", []), profiles.load("cpu-small"), "", [])
    core = frozenset([min(os.sched_getaffinity(0))])
    assert split.gain(made, TRAIN, [core] * 3) == pytest.approx(3, rel=0.25)
