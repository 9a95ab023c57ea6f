"""Runs lines of Python in a child process with a backend's runtime and a tiny train.py: two backends never share a process."""

import json
import os
import subprocess
import sys

from autoresearch import constants
from autoresearch.hardware.devices import registry

TINY = {
    "DEPTH": 3, "ASPECT_RATIO": 16, "HEAD_DIM": 16, "GATE_CHANNELS": 8, "WINDOW_PATTERN": "SL", "SHORT_WINDOW": 0.25,
    "DEVICE_BATCH_SIZE": 2, "TOTAL_BATCH_SIZE": 96,
}  # fmt: skip

START = """
import json, sys, types
sys.path[:0] = sys.argv[1:]
import numpy as np
import runtime
train = types.ModuleType("train")
exec(compile(sys.stdin.read(), "train.py", "exec"), train.__dict__)
SPEC = types.SimpleNamespace(vocab_size=97, seq_len=24)
found = {}

def get_batch(rows, seed=1):
    tokens = np.random.default_rng(seed).integers(97, size=(rows, 25), dtype=np.int32)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])
"""


def run(backend: str, lines: str, dtype: str = "float32", **values) -> dict:
    """What the lines put into `found`. values: constants of train.py beside those of TINY."""
    backend = registry.scan()[backend]
    source = constants.write(backend.train_py.read_text(encoding="utf-8"), TINY | values)
    program = f"{START}\n{lines}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-B", "-c", program, *map(str, backend.python_path)], input=source, text=True,
        encoding="utf-8", stdout=subprocess.PIPE, check=True, env=os.environ | {"AUTORESEARCH_DTYPE": dtype},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])
