"""The real train.py on this machine's CPU, at a size that takes seconds: a score, and what it does not depend on."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from on_text import on_text

from autoresearch import constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import registry
from autoresearch.measure.bpb import ValidationText
from autoresearch.run.experiment import evaluate, execute
from autoresearch.run.setup import Setup
from autoresearch.sandbox import levels

# One layer, as wide as products are split over threads. What is trained and whose gradients are compared is one graph, so that the
# second test loads what the first has compiled.
SMALL = {"DEPTH": 1, "ASPECT_RATIO": 256, "HEAD_DIM": 128, "DEVICE_BATCH_SIZE": 8, "TOTAL_BATCH_SIZE": 4096, "WINDOW_PATTERN": "L"}
VOCAB_SIZE, SEQ_LEN = 320, 256

# Writes a checkpoint whose logits are far from uniform, and the logits of each validation row, in the model's own dtype.
DUMP = """
import json, runpy, sys
from pathlib import Path
job = json.loads(sys.argv[1])
sys.path[:0] = job["python_path"]
import numpy as np, runtime, torch
from autoresearch.measure import Spec
runtime.seed(3)
model = runpy.run_path(job["train_py"])["build_model"](Spec(job["vocab_size"], job["seq_len"]))
with torch.no_grad():
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter) * parameter.std().nan_to_num(1.0).clamp_min(0.5)
runtime.save_weights(model, Path(job["checkpoint"]))
with torch.inference_mode():
    logits = [model(torch.from_numpy(row[None]).long())[0].double().numpy() for row in np.load(job["rows"])]
np.save(job["logits"], np.stack(logits))
"""

# Prints how far what is compiled is from what is eager, relative to its size, for each dtype: each parameter's gradient, and a step
# of Muon on a tall matrix, which it transposes.
GRADIENTS = """
import json, runpy, sys
job = json.loads(sys.argv[1])
sys.path[:0] = job["python_path"]
import runtime, torch
from autoresearch.measure import Spec
train = runpy.run_path(job["train_py"])
torch.manual_seed(5)
tokens = torch.randint(job["vocab_size"], (8, job["seq_len"] + 1))

def awake_model():
    runtime.seed(3)
    model = train["build_model"](Spec(job["vocab_size"], job["seq_len"]))
    with torch.no_grad():
        for parameter in model.parameters():  # the outputs of all blocks are zero at the start: nothing would flow back
            parameter += 0.02 * torch.randn_like(parameter)
    return model

def gradients(loss):
    model.zero_grad()
    loss(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

def muon_step(update, gradient):
    weight = model.mlp[0].up.detach()[None]
    numbers = [torch.tensor(number) for number in (0.9, 0.1, 0.1)]
    with torch.no_grad():
        after, *_ = update(weight, gradient, torch.zeros_like(weight), torch.zeros(1, 1, weight.size(2)), *numbers)
    return {"muon": after - weight}

found = {}
for runtime.dtype in (torch.float32, torch.bfloat16):
    model = awake_model()
    eager, compiled = gradients(model.loss), gradients(runtime.compile(model.loss))
    compiled |= muon_step(runtime.compile(train["muon_update"]), eager["mlp.0.up"][None])
    eager |= muon_step(train["muon_update"], eager["mlp.0.up"][None])
    found[str(runtime.dtype)] = {name: float((compiled[name] - eager[name]).norm() / eager[name].norm()) for name in eager}
    torch._dynamo.reset()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def setup(tmp_path_factory, module_cache):
    corpus = tmp_path_factory.mktemp("corpus")
    words = np.random.default_rng(0).choice(["one", "fish", "two", "red", "blue", "swims", "in", "the", "sea"], size=(300, 200))
    for index, line in enumerate(words):
        (corpus / f"{index}.txt").write_text(f"{index} " + " ".join(line))
    prepared = prepare(str(corpus), VOCAB_SIZE)
    return Setup(registry.scan()["cpu"], on_text(prepared, 64, 8000), train_seconds=2, startup_limit_seconds=300, sandbox=0)


@pytest.fixture(scope="module")
def module_cache(compile_cache):
    """With its folder `compile` where the other tests' compiled kernels are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(compile_cache.parent))
        yield


@pytest.fixture(scope="module")
def text(setup):
    return constants.write(setup.backend.train_py.read_text(encoding="utf-8"), SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("is_compiled", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_the_real_train_py_is_trained_and_scored(is_compiled, setup, text, tmp_path, compile_cache, monkeypatch):
    """As `run` does it: in the best cell that there is, with g++ and its processes. What was compiled is there for the next run."""
    if not is_compiled:
        monkeypatch.setenv("AUTORESEARCH_COMPILE", "off")
    setup = replace(setup, task=on_text(setup.task.prepared, SEQ_LEN, 8000), sandbox=levels.reach().level)
    result = execute(setup, text, 1, tmp_path / "first")
    assert result.ok, (result, (tmp_path / "first" / "log.txt").read_text())
    assert result.num_steps >= 1 and result.depth == 1 and result.peak_memory_bytes > 2**20
    uniform = math.log2(VOCAB_SIZE) / setup.task.prepared.mean_token_bytes
    assert 0 < result.val_bpb < 1.1 * uniform, "not worse than knowing nothing, however few steps the machine made"
    if not is_compiled:
        return

    copy = tmp_path / "cache" / "compile"  # which no other test adds to meanwhile
    shutil.copytree(compile_cache, copy)
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(copy.parent))
    compiled = set(copy.rglob("*.so"))
    assert compiled or not shutil.which("g++")
    assert execute(setup, text, 2, tmp_path / "second").ok
    assert set(copy.rglob("*.so")) == compiled


@pytest.mark.slow
def test_the_score_is_that_of_a_slow_scorer_at_any_batch_size(setup, text, tmp_path):
    prepared = setup.task.prepared
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    validation = ValidationText.load(prepared.val_folder, token_bytes, prepared.dtype, setup.task.sizes.eval_bytes)
    inputs, targets = validation.rows(setup.task.sizes.seq_len)
    np.save(tmp_path / "rows.npy", inputs)
    files = {"train_py": "train.py", "rows": "rows.npy", "logits": "logits.npy", "checkpoint": "checkpoint"}
    job = {name: str(tmp_path / file) for name, file in files.items()}
    job |= {"python_path": [str(path) for path in setup.backend.python_path]}
    job |= {"vocab_size": prepared.vocab_size, "seq_len": setup.task.sizes.seq_len}
    subprocess.run([sys.executable, "-c", DUMP, json.dumps(job)], check=True)

    slow = slow_bpb(np.load(tmp_path / "logits.npy"), targets, token_bytes, validation.total_bytes)
    scores = [evaluate(setup, tmp_path, rows=rows).value for rows in (1, 5, 64)]
    assert max(scores) - min(scores) < 1e-4
    assert scores[0] == pytest.approx(slow, abs=3e-4), "float16 logits and another batch shape in bfloat16"
    other = replace(setup, task=on_text(prepared, 32, 8000))
    assert evaluate(other, tmp_path).value != pytest.approx(scores[0], abs=1e-3), "less context is another score"


@pytest.mark.slow
@pytest.mark.thorough
def test_compiled_gradients_are_the_eager_ones(setup, text, compile_cache, tmp_path):
    """At widths where products are split over threads: there, compiled transposed copies once came out as garbage.

    bfloat16 is compiled here alone: eager, it follows the golden state.
    """
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    job = {"train_py": str(tmp_path / "train.py"), "python_path": [str(path) for path in setup.backend.python_path]}
    job |= {"vocab_size": VOCAB_SIZE, "seq_len": SEQ_LEN}
    variables = os.environ | {"AUTORESEARCH_COMPILE_CACHE": str(compile_cache)}
    command = [sys.executable, "-c", GRADIENTS, json.dumps(job)]
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["torch.float32"]) == len(found["torch.bfloat16"]) > 11
    # In bfloat16 a scalar's gradient is a sum that nearly cancels: 0.13 off was seen. Garbage is off by its own size.
    for dtype, limit in (("torch.float32", 1e-3), ("torch.bfloat16", 0.3)):
        assert all(difference < limit for difference in found[dtype].values()), found


def slow_bpb(logits, targets, token_bytes, total_bytes):
    """Float64, one position after the other."""
    nats = 0.0
    for row, goals in zip(logits, targets, strict=True):
        for values, goal in zip(row, goals, strict=True):
            if goal >= 0 and token_bytes[goal] > 0:
                top = values.max()
                nats += math.log(sum(math.exp(value - top) for value in values)) + top - values[goal]
    return nats / math.log(2) / total_bytes
