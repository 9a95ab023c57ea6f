"""Pieces of a training step and of the machine for the stopwatch (autoresearch/hardware/stopwatch.py): JAX.

Each piece is a function that returns when the work is done. A step is forward + loss + backward + optimizer; the loss's own
gradients count as loss, so backward is `forward_backward` without `forward` and `loss`. In a training XLA compiles all of them as
one, so that they may take less than their sum.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import runtime


def product(rows: int, inner: int, columns: int) -> Callable[[], None]:
    """[rows, inner] @ [inner, columns] in the compute dtype."""
    a, b = (jnp.ones(shape, runtime.dtype) for shape in ((rows, inner), (inner, columns)))
    return _waited(jnp.matmul, lambda: (a, b))


def copy(size_bytes: int) -> Callable[[], None]:
    """size_bytes read and as many written."""
    source = jnp.ones(size_bytes // 4, jnp.float32)
    return _waited(jnp.negative, lambda: (source,))


def parts(train, trainer, batch: Callable) -> dict[str, Callable[[], Callable[[], None]]]:
    """Makers of the parts of one pass; optimizer: of a step. batch(rows) gives stand-in tokens."""
    model = trainer.model

    def forward():
        ids, _ = batch(trainer.rows)
        return _waited(model.hidden, lambda: (model.weights, ids))

    def loss():
        targets = batch(trainer.rows)[1].reshape(-1)
        states = jnp.ones((targets.size, model.weights["lm_head"].shape[1]), runtime.dtype)
        value_and_grad = jax.value_and_grad(lambda x, weight: runtime.cross_entropy(x, weight, targets, train.SOFTCAP), (0, 1))
        return _waited(value_and_grad, lambda: (states, model.weights["lm_head"]))

    def forward_backward():
        tokens = batch(trainer.rows)
        return _waited(jax.value_and_grad(model.loss), lambda: (model.weights, *tokens))

    def optimizer():
        numbers = (1.0, 0.95, 0.1)  # learning-rate multiplier, momentum, decay
        return _waited(train.update, lambda: (model.weights, model.weights, trainer.state, *numbers))  # weights for gradients

    return {"forward": forward, "loss": loss, "forward_backward": forward_backward, "optimizer": optimizer}


def _waited(function: Callable, arguments: Callable[[], tuple]) -> Callable[[], None]:
    """arguments are taken anew at each call: a step gives the memory of the weights before it away."""
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments()))
