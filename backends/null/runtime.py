"""The null backend's runtime: numpy only. Its model is a table of token frequencies; nothing is trained.

Each seed and text get the same result on every machine (to rounding), however fast it is.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

# Bytes a token, measured (stdlib of Python 3.11, 512 tokens): turns bits per byte into bits per token.
BYTES_PER_TOKEN = 2.1
RESERVE_BPB = 0.05  # room below the landscape's optimum, so that lucky noise can show too
FLOAT16_FLOOR = -40.0  # nats; far below any token's log-probability here


class Table:
    """Logits that don't depend on the position: the log of (sharpness x frequency + (1 - sharpness) x uniform)."""

    def __init__(self, vocab_size: int):
        self.logits = np.zeros(vocab_size, np.float32)  # [V]

    def __call__(self, ids: np.ndarray) -> np.ndarray:  # [B, T] -> [B, T, V]
        return np.broadcast_to(self.logits, (*ids.shape, len(self.logits)))


def frequencies(batches: Iterable[np.ndarray], vocab_size: int) -> np.ndarray:
    """Smoothed shares of each token, float64 [V]: every token is counted half a time more than it was seen."""
    counts = 0.5 + sum(np.bincount(tokens.ravel(), minlength=vocab_size) for tokens in batches)
    return counts / counts.sum()


def loss_nats(frequency: np.ndarray, sharpness: float) -> float:
    """Cross-entropy of the interpolated table under the frequencies it was made of."""
    return float(-frequency @ np.log(_mix(frequency, sharpness)))


def sharpness_for(frequency: np.ndarray, excess_bpb: float) -> float:
    """The sharpness in [0, 1] whose loss is excess_bpb (+ RESERVE_BPB) above the sharpest; loss falls as sharpness grows."""
    target = loss_nats(frequency, 1.0) + (excess_bpb + RESERVE_BPB) * BYTES_PER_TOKEN * np.log(2)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if loss_nats(frequency, middle) < target else (middle, high)
    return (low + high) / 2


def set_table(model: Table, frequency: np.ndarray, sharpness: float) -> None:
    """The largest logit is 0: float16 is finest there, and frequent tokens decide the score."""
    logits = np.log(_mix(frequency, sharpness))
    model.logits = np.maximum(logits - logits.max(), FLOAT16_FLOOR).astype(np.float32)


def _mix(frequency: np.ndarray, sharpness: float) -> np.ndarray:
    return sharpness * frequency + (1 - sharpness) / len(frequency)


# What the score worker calls, as in every runtime.py.


def save_weights(model: Any, path: Path) -> None:
    """The model's arrays: a task's train.py has a model of its own."""
    save_file({name: value for name, value in vars(model).items() if isinstance(value, np.ndarray)}, path)


def load_weights(model: Any, path: Path) -> Any:
    vars(model).update(load_file(path))
    return model


def logits(model: Table, ids: np.ndarray, out: np.ndarray) -> None:
    """ids int32 [B, T] -> out [B, T, V] of any float type."""
    out[:] = model(ids)


def probe() -> dict:
    try:
        played = {one["index"]: one["name"] for one in json.loads(os.environ.get("AUTORESEARCH_NULL_DEVICES") or "[]")}
    except (ValueError, TypeError, KeyError):
        return {"ok": False, "reason": "AUTORESEARCH_NULL_DEVICES is no JSON list of devices", "cure": "mend it, or unset it"}
    taken = os.environ.get("AUTORESEARCH_NULL_DEVICE") or "0"
    taken = int(taken) if taken.isdecimal() else taken
    if played and taken not in played:
        return {"ok": False, "reason": f"it plays no device {taken}", "cure": "set AUTORESEARCH_NULL_DEVICE to one of its devices"}
    unknown = dict.fromkeys(["memory_bytes", "capability", "cores", "matmul_tflops", "peak_flops", "peak_source"])
    return unknown | {
        "ok": True, "device": played.get(taken, "simulated"), "count": 1,
        "dtype": "float32", "dtype_reason": "a table of frequencies needs no more", "compile": False,
        "compile_reason": "there is nothing to compile", "attention": "none", "attention_reason": "there is none",
        "versions": {"numpy": np.__version__},
    }  # fmt: skip


if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
