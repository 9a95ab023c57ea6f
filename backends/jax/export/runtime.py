"""What train.py asks of JAX, for answering only: the names of autoresearch's own runtime that a forward pass needs."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
NORM_EPS = 2.0**-23  # of float32
dtype = jnp.dtype(CONFIG["dtype"])
loss_scale = 1.0
jax.config.update("jax_default_matmul_precision", "highest" if dtype == jnp.float32 else "default")


def norm(x: jax.Array) -> jax.Array:
    """x / root mean square of its last dimension, computed in float32, in x's dtype."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + NORM_EPS)).astype(x.dtype)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, window: int) -> jax.Array:
    """Causal attention: a token sees itself and the `window` tokens before it.

    q [B, T, H, D]; k and v [B, T, G, D] with H a multiple of G; returns [B, T, H, D].
    """
    is_full = window >= q.shape[1] - 1
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=None if is_full else (window, 0))


def load_weights(model, path: Path):
    """The model with the weights of the file. A weight of several names is in it once."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        twins = json.loads((file.metadata() or {}).get("twins", "{}"))
    found |= {name: found[twin] for name, twin in twins.items()}
    model.weights = {name: jnp.array(weight) for name, weight in found.items()}
    return model


def __getattr__(name: str):
    raise AttributeError(f"no {name} here: this runtime answers and does not train, which takes autoresearch's own")
