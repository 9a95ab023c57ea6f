"""Exported weights in a Python that has their framework and what that needs, and no autoresearch."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import studies

from autoresearch.data.prepare import prepare
from autoresearch.hardware.planner import profile_file
from autoresearch.report import weights
from autoresearch.run import scoring
from autoresearch.study import terms, workspace

SIZES = {
    "DEPTH": 2, "ASPECT_RATIO": 32, "HEAD_DIM": 32, "GQA_RATIO": 2, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25,
    "DEVICE_BATCH_SIZE": 4, "TOTAL_BATCH_SIZE": 256, "PAIR_ROWS": 64,
}  # fmt: skip
LOGITS = """
import importlib.util, json, struct, sys
sys.path[:0] = sys.argv[1:3]
print(json.dumps([name for name in ("numpy", "autoresearch", "tiktoken") if importlib.util.find_spec(name)]))
import load
model, ids = load.load(), json.loads(sys.argv[3])
{ask}
open(sys.argv[4], "wb").write(struct.pack(f"<{len(numbers)}f", *numbers))
print(json.dumps([name for name in sys.modules if name in ("numpy", "autoresearch")]))
"""

# packages, how the model is asked, the study's [runtime], what of numpy and autoresearch comes with the packages
ASK = {
    "cpu": (
        ("torch", "safetensors"),
        "import torch\nwith torch.inference_mode():\n    numbers = model(torch.tensor(ids)).flatten().tolist()",
        {"compile": False, "threads": 2},
        [],
    ),
    "mlx": (("mlx", "mlx-cpu", "mlx-metal"), "import mlx.core as mx\nnumbers = model(mx.array(ids)).flatten().tolist()", {}, []),
    "jax": (("jax", "safetensors"), "import jax.numpy as jnp\nnumbers = model(jnp.array(ids)).flatten().tolist()", {}, ["numpy"]),
}


def only(folder: Path, *names: str) -> Path:
    """A folder with nothing but these installed distributions and what they require."""
    seen, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system or Python
            continue
        if distribution.name not in seen:
            seen.add(distribution.name)
            waiting += [re.split(r"[ ;<>=!~\[(]", line)[0] for line in distribution.requires or () if "extra ==" not in line]
            for top in {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (folder / top).exists():
                    (folder / top).symlink_to(Path(distribution.locate_file(top)))
    return folder


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("backend", ASK)
def test_load_py_gives_the_scorers_logits_bit_for_bit(backend, tmp_path, corpus, typed):
    packages, ask, runtime, others = ASK[backend]
    pytest.importorskip(packages[0])
    table = tomllib.loads(studies.PROFILE) | {"backends": [backend], "train": SIZES, "runtime": runtime}
    table["budget"] = {"train_seconds": 2, "startup_limit_seconds": 300}
    profile = profile_file.parse(table, "test", "PROFILE")
    choice = studies.detected(backend)
    prepared = prepare(str(corpus), profile.data.vocab_size)
    study = workspace.create(
        tmp_path / "study", tag="t", backend=choice.backend, facts=choice.facts, profile=profile, prepared=prepared,
        corpus=prepared.corpus, decide="strict",
    )  # fmt: skip
    setup = terms.setup(study, choice.backend, prepared, sandbox=0)
    assert studies.play(study, setup, [], experiments=0)[0].exit_status == 0
    target, found = tmp_path / "ein möd el", weights.find(study)
    status, out, complaint = typed("export", "--workspace", str(study.folder), "--output", str(target), "--json")
    assert status == 0, complaint
    assert "load.py" in json.loads(out)["files"]
    ids = np.random.default_rng(0).integers(setup.task.prepared.vocab_size, size=(1, setup.task.sizes.seq_len), dtype=np.int32)
    with weights.borrowed(found) as folder, scoring.answering(setup, folder) as asking:
        expected = asking.answer(ids).copy()
    assert expected.std() > 0
    clean = tmp_path / "clean"
    clean.mkdir()
    only(clean, *packages)
    words = (str(clean), str(target), json.dumps(ids.tolist()), str(tmp_path / "logits"))
    command = [sys.executable, "-I", "-S", "-c", LOGITS.replace("{ask}", ask), *words]
    answered = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.splitlines() == [json.dumps(others)] * 2  # neither to be had, nor left behind
    got = np.fromfile(tmp_path / "logits", "<f4").reshape(expected.shape)
    assert got.tobytes() == expected.tobytes()
