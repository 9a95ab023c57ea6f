"""What child.py asks of MLX."""

import mlx.core as mx
import runtime
from mlx import nn
from mlx.utils import tree_flatten


def set_compile(is_on):
    runtime.compile_on = is_on


def kernels(is_on):
    yield "own"


def at_start(trainer, inputs, targets):
    model, inputs, targets = trainer.model, mx.array(inputs), mx.array(targets)
    logits = model(inputs)
    _, gradients = nn.value_and_grad(model, lambda: runtime.loss_scale * model.loss(inputs, targets))()
    found = {f"gradients/{name}": value / runtime.loss_scale for name, value in tree_flatten(gradients)}
    return found | {"logits": logits, "token_loss": nn.losses.cross_entropy(logits, targets)}


def weights(model):
    return model.weights()


def is_compiled():
    return runtime.compile_on
