"""One run through real child processes: what agent code may do wrong, and what the harness says of it.

The train.py texts here are small and use numpy; the null backend's runtime scores them.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from on_text import on_text
from waiting import wait_for

from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import registry
from autoresearch.run import experiment
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup

HEAD = """
import os, subprocess, sys, time
import numpy as np
import runtime
from autoresearch import measure

def build_model(spec):
    import types
    return Unigram(spec.vocab_size)

class Unigram:
    def __init__(self, vocab_size):
        self.counts = np.ones(vocab_size)

def save(path):
    with open(path, "wb") as file:
        np.save(file, model.counts)

"""
LOOP = """
if __name__ == "__main__":
    run = measure.start()
    model = build_model(run.spec)
    for step in run.steps(save):
        x, y = run.batch(4)
        np.add.at(model.counts, y.reshape(-1), 1)
        run.report(loss=5.0)
        time.sleep(0.002)
    run.describe(depth=1, num_params=len(model.counts), peak_memory_bytes=2**20)
"""
RUNTIME = """
import numpy as np

def load_weights(model, path):
    with open(path, "rb") as file:
        model.counts = np.load(file)
    return model

def logits(model, ids, out):
    out[:] = np.log(model.counts / model.counts.sum())
"""
MANIFEST = """
title = "test"
rank = 0
auto = false
train = "train.py"
requires = []
install = "nothing"
"""


@pytest.fixture(scope="session")
def setup(tmp_path_factory):
    """A backend of numpy and a small prepared corpus."""
    folder = tmp_path_factory.mktemp("experiment")
    backend_folder = folder / "backends" / "unigram"
    backend_folder.mkdir(parents=True)
    for name, text in {"backend.toml": MANIFEST, "runtime.py": RUNTIME, "train.py": HEAD + LOOP}.items():
        (backend_folder / name).write_text(text)
    corpus = folder / "corpus"
    corpus.mkdir()
    words = np.random.default_rng(0).choice(["one", "fish", "two", "red", "blue", "swims", "in", "the", "sea"], size=(400, 120))
    for index, line in enumerate(words):
        (corpus / f"{index}.txt").write_text(f"{index} " + " ".join(line))
    previous = os.environ.get("AUTORESEARCH_CACHE_DIR")
    os.environ["AUTORESEARCH_CACHE_DIR"] = str(folder / "cache")
    prepared = prepare(str(corpus), 300)
    backend = registry.scan(folder / "backends")["unigram"]
    yield Setup(backend, on_text(prepared, 32, 4000), train_seconds=0.3, startup_limit_seconds=30, sandbox=0)
    if previous is None:
        del os.environ["AUTORESEARCH_CACHE_DIR"]
    else:
        os.environ["AUTORESEARCH_CACHE_DIR"] = previous


def run(setup, text, folder, **changes):
    return execute(replace(setup, **changes), text, 1, folder)


def body(text):
    return HEAD + 'if __name__ == "__main__":\n    run = measure.start()\n    model = build_model(run.spec)\n' + text


def test_a_run_trains_for_the_time_and_is_scored(setup, tmp_path):
    seen = []
    result = execute(setup, HEAD + LOOP, 1, tmp_path, seen.append)
    assert result.ok and 0.5 < result.val_bpb < 8, result
    assert setup.train_seconds <= result.training_seconds + 0.1 and result.num_steps > 3
    assert result.total_tokens == result.num_steps * 4 * 32
    assert (result.depth, result.num_params, result.peak_memory_bytes, result.mfu_percent) == (1, 300, 2**20, None)
    documents = np.load(tmp_path / "documents.npy")  # bits and bytes of each document
    assert documents[0].sum() / documents[1].sum() == pytest.approx(result.val_bpb)
    assert {progress.phase for progress in seen} == {"startup", "training", "scoring"}
    assert not list(tmp_path.glob("logits-*")), "the slots are removed"


def test_absurd_facts_are_unknown(setup, tmp_path):
    text = LOOP.replace("run.describe(", "run.describe(flops_per_token=10**400, ")
    result = execute(setup, HEAD + text.replace("num_params=len(model.counts)", "num_params=float('nan')"), 1, tmp_path)
    assert result.ok and (result.num_params, result.mfu_percent) == (None, None), result


FAILURES = {
    "does not parse": ("crash", "SyntaxError", "def f(:\n"),
    "raises": ("crash", "ZeroDivisionError", HEAD + "1 / 0"),
    "exits": ("crash", "SystemExit", HEAD + "sys.exit(0)"),
    "ends early": ("crash", "ended before", body("    print('done')")),
    "dies": ("crash", "status 7", body("    os._exit(7)")),
    "memory": ("oom", "Unable to allocate", body("    np.ones((1 << 50,))")),
    "nan": ("diverged", "nan", HEAD + LOOP.replace("loss=5.0", "loss=float('nan')")),
    "batch before the clock": ("crash", "run.stand_in()", body("    run.batch(4)")),
    "breaks its loop": ("crash", "ended before", HEAD + LOOP.replace("time.sleep(0.002)", "break")),
    "no build_model": ("crash", "build_model", (HEAD + LOOP).replace("build_model", "other")),
    "nan logits": ("invalid", "NaN", HEAD + LOOP.replace("np.add.at(model.counts, y.reshape(-1), 1)", "model.counts[0] = -1e9")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_goes_wrong_is_named(setup, tmp_path, name):
    status, reason, text = FAILURES[name]
    result = run(setup, text, tmp_path)
    assert (result.status, result.val_bpb) == (status, None)
    assert reason in result.reason and "\n" not in result.reason


@pytest.mark.slow
def test_never_asking_for_data_is_a_timeout(setup, tmp_path):
    result = run(setup, body("    time.sleep(60)"), tmp_path, startup_limit_seconds=1.5)
    assert result.status == "timeout" and "run.steps()" in result.reason
    assert result.startup_seconds is None


@pytest.mark.slow
def test_overrunning_the_deadline_is_a_timeout_and_takes_its_children_along(setup, tmp_path, monkeypatch):
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    text = HEAD + LOOP.replace("time.sleep(0.002)", f"print('child', {child}.pid, flush=True); time.sleep(60)")
    monkeypatch.setattr(experiment, "GRACE_MOST_SECONDS", 0.5)  # time
    before = time.monotonic()
    result = run(setup, text, tmp_path)
    assert result.status == "timeout" and "checkpoint" in result.reason
    assert time.monotonic() - before < 30
    pid = int((tmp_path / "log.txt").read_text().split("child ")[1].split()[0])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_prints_go_to_the_log_and_are_no_messages(setup, tmp_path):
    forged = '    print(\'{"type": "saved", "steps": 1}\', flush=True)\n    os.write(1, b\'{"type": "saved"}\\n\')\n'
    result = run(setup, body(forged + "    raise KeyError('after')"), tmp_path)
    assert result.status == "crash" and "after" in result.reason
    assert (tmp_path / "log.txt").read_text().count('"saved"') == 2


def test_the_worker_has_no_keys_and_is_not_told_of_validation_text(setup, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-key")
    seen = "    import gc; print(os.environ, [o for o in gc.get_objects() if isinstance(o, dict) and 'python_path' in o])\n"
    run(setup, body(seen), tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "checkpoint" in log, "the job itself is seen"
    assert "secret-key" not in log and str(setup.task.prepared.val_folder) not in log


@pytest.mark.slow
def test_the_worker_ends_when_the_harness_is_killed(setup, tmp_path):
    text = HEAD + LOOP.replace("run = measure.start()", "run = measure.start(); print('pid', os.getpid(), flush=True)")
    (tmp_path / "train.txt").write_text(text)
    harness = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from autoresearch.data.prepare import Prepared; from autoresearch.hardware.devices import registry\n"
        "from autoresearch.run.experiment import execute; from autoresearch.run.setup import Setup\n"
        "from autoresearch.task import registry as tasks; from autoresearch.hardware.planner.profile_file import Data\n"
        "prepared, backends, folder = map(Path, sys.argv[1:])\n"
        "task = tasks.on_text(Prepared.load(prepared), Data('made up', 300, 32, 4000))\n"
        "setup = Setup(registry.scan(backends)['unigram'], task, 120, 30, 0)\n"
        "execute(setup, (folder / 'train.txt').read_text(), 1, folder / 'run')\n"
    )
    arguments = [setup.task.prepared.folder, setup.backend.folder.parent, tmp_path]
    process = subprocess.Popen([sys.executable, "-c", harness, *map(str, arguments)])
    log = tmp_path / "run" / "log.txt"
    try:
        worker = psutil.Process(wait_for(lambda: log.exists() and "pid " in log.read_text() and int(log.read_text().split()[1])))
        wait_for(lambda: (tmp_path / "run" / "curve.jsonl").exists())
    finally:
        process.kill()
        process.wait()
    worker.wait(timeout=20)
    assert not worker.is_running()


@pytest.mark.slow
def test_two_runs_with_one_seed_get_the_same_batches(setup, tmp_path):
    text = HEAD + LOOP.replace("np.add.at", "step == 0 and print(x.tolist(), flush=True); np.add.at")
    logs = []
    for folder in ("a", "b"):
        run(setup, text, tmp_path / folder)
        logs.append(Path(tmp_path / folder / "log.txt").read_text())
    assert logs[0] == logs[1] != ""
