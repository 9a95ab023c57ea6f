"""What child.py asks of JAX, in which every step is compiled."""

import jax
import numpy as np
import runtime


def set_compile(is_on):
    assert is_on


def kernels(is_on):
    yield "own"


def at_start(trainer, inputs, targets):
    model = trainer.model
    logits = jax.jit(model)(inputs)
    chosen = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), targets[..., None], -1)[..., 0]
    gradients = jax.jit(jax.grad(lambda weights: runtime.loss_scale * model.loss(weights, inputs, targets)))(model.weights)
    found = {f"gradients/{name}": value / runtime.loss_scale for name, value in gradients.items()}
    return found | {"logits": logits, "token_loss": -chosen}


def weights(model):
    return model.weights


def is_compiled():
    return True
