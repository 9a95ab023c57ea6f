"""Runs lines of Python in a child process with MLX's runtime and a tiny train.py: two backends never share a process."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from autoresearch import constants
from autoresearch.paths import shipped

FOLDER = shipped("backends") / "mlx"
SOURCE = (FOLDER / "train.py").read_text(encoding="utf-8")
TINY = {
    "DEPTH": 3, "ASPECT_RATIO": 16, "HEAD_DIM": 16, "GATE_CHANNELS": 8, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25,
    "DEVICE_BATCH_SIZE": 2, "TOTAL_BATCH_SIZE": 96,
}  # fmt: skip
needs_mlx = pytest.mark.skipif(importlib.util.find_spec("mlx") is None, reason="mlx is not installed")

START = """
import json, sys, types
sys.path.insert(0, sys.argv[1])
import mlx.core as mx
import numpy as np
import runtime
from mlx import nn
from mlx.utils import tree_flatten, tree_map
train = types.ModuleType("train")
exec(compile(sys.stdin.read(), "train.py", "exec"), train.__dict__)
SPEC = types.SimpleNamespace(vocab_size=97, seq_len=24)
found = {}

def awake_model():
    "A model in which every path carries something: at the start the outputs of all blocks are zero."
    mx.random.seed(0)
    model = train.build_model(SPEC)
    model.update(tree_map(lambda weight: weight + 0.2 * mx.random.normal(weight.shape), model.parameters()))
    return model

def get_batch(rows, seed=1):
    tokens = np.random.default_rng(seed).integers(97, size=(rows, 25), dtype=np.int32)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])
"""


def run(lines: str, dtype: str = "float32", **values) -> dict:
    """What the lines put into `found`. values: constants of train.py beside those of TINY."""
    program = f"{START}\n{lines}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(FOLDER)], input=constants.write(SOURCE, TINY | values), text=True,
        encoding="utf-8", stdout=subprocess.PIPE, check=True, env=os.environ | {"AUTORESEARCH_DTYPE": dtype},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])
