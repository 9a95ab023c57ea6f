"""What train.py asks of MLX, for answering only: the names of autoresearch's own runtime that a forward pass needs."""

import json
from pathlib import Path

import mlx.core as mx

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
NORM_EPS = 2.0**-23  # of float32
dtype = getattr(mx, CONFIG["dtype"])
loss_scale = 1.0


def norm(x: mx.array) -> mx.array:
    """x / root mean square of its last dimension, in x's dtype."""
    return mx.fast.rms_norm(x, None, NORM_EPS)


def attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, H, T, D]; k and v [B, G, T, D] with H a multiple of G; returns [B, H, T, D].
    """
    seq_len = q.shape[2]
    mask = "causal" if window >= seq_len - 1 else band(seq_len, window)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[3] ** -0.5, mask=mask)


def band(seq_len: int, window: int) -> mx.array:
    """bool [T, T]: row sees column when 0 <= row - column <= window."""
    row = mx.arange(seq_len)[:, None]
    distance = row - row.T
    return (distance >= 0) & (distance <= window)


def compile(function, inputs=None, outputs=None):
    return function


def materialise(model) -> None:
    mx.eval(model.parameters())


def load_weights(model, path: Path):
    """The model with the weights of the file. An array of several names is in it once."""
    weights, metadata = mx.load(str(path), format="safetensors", return_metadata=True)
    weights |= {name: weights[twin] for name, twin in json.loads(metadata.get("twins", "{}")).items()}
    model.load_weights(list(weights.items()))
    mx.eval(model.parameters())
    return model.eval()


def __getattr__(name: str):
    raise AttributeError(f"no {name} here: this runtime answers and does not train, which takes autoresearch's own")
