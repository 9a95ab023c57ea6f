"""The least that a runtime.py is: a probe, a seed, weights to and from a file, logits."""

import json
import sys

import numpy as np

rng = np.random.default_rng(0)


def seed(number):
    global rng
    rng = np.random.default_rng(number)


def save_weights(model, path):
    with open(path, "wb") as file:  # an open file: np.savez would add .npz to a name
        np.savez(file, **model.weights)


def load_weights(model, path):
    with np.load(path, allow_pickle=False) as file:
        model.weights = {name: file[name] for name in model.weights}
    return model


def logits(model, ids, out):
    """ids int32 [B, T] -> out float [B, T, V]."""
    out[:] = model.hidden(ids) @ model.weights["out"].T


def probe():
    return {
        "ok": True, "device": "numpy", "count": 1, "memory_bytes": None, "capability": None, "cores": None, "matmul_tflops": None,
        "dtype": "float32", "dtype_reason": "numpy has no other that is fast",
        "compile": False, "compile_reason": "there is nothing to compile",
        "attention": "none", "attention_reason": "the model has none",
        "peak_flops": None, "peak_source": None, "versions": {"numpy": np.__version__},
    }  # fmt: skip


if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
