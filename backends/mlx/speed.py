"""Pieces of a training step and of the machine for the stopwatch (autoresearch/hardware/stopwatch.py): MLX.

Each piece is a function that returns when the work is done. A step is forward + loss + backward + optimizer; the loss's own
gradients count as loss, so backward is `forward_backward` without `forward` and `loss`.
"""

from collections.abc import Callable

import mlx.core as mx
import runtime


def product(rows: int, inner: int, columns: int) -> Callable[[], None]:
    """[rows, inner] @ [inner, columns] in the compute dtype."""
    a, b = (mx.random.normal(shape).astype(runtime.dtype) for shape in ((rows, inner), (inner, columns)))
    mx.eval(a, b)
    return lambda: mx.eval(a @ b)


def copy(size_bytes: int) -> Callable[[], None]:
    """size_bytes read and as many written; MLX has no plain copy, and a negation is one."""
    source = mx.ones(size_bytes // 4)
    mx.eval(source)
    return lambda: mx.eval(-source)


def parts(train, trainer, batch: Callable) -> dict[str, Callable[[], Callable[[], None]]]:
    """Makers of the parts of one pass; optimizer: of a step. batch(rows) gives stand-in tokens."""
    model = trainer.model

    def forward():
        inputs, _ = map(mx.array, batch(trainer.rows))
        hidden = runtime.compile(model.hidden, inputs=model.state, outputs=model.state)
        return lambda: mx.eval(hidden(inputs))

    def loss():
        _, targets = map(mx.array, batch(trainer.rows))
        states = mx.random.normal((targets.size, model.lm_head.shape[1])).astype(runtime.dtype)
        value_and_grad = mx.value_and_grad(runtime.cross_entropy, argnums=(0, 1))
        return lambda: mx.eval(value_and_grad(states, model.lm_head, targets.flatten(), train.SOFTCAP))

    def forward_backward():
        inputs, targets = map(mx.array, batch(trainer.rows))
        return lambda: mx.eval(trainer.backward(inputs, targets))

    def optimizer():
        inputs, targets = map(mx.array, batch(trainer.rows))
        _, gradients = trainer.backward(inputs, targets)
        mx.eval(gradients)
        numbers = [mx.array(number) for number in (1.0, 0.95, 0.1)]  # learning-rate multiplier, momentum, decay

        def run() -> None:
            trainer.update(gradients, *numbers)
            mx.eval(trainer.state)

        return run

    return {"forward": forward, "loss": loss, "forward_backward": forward_backward, "optimizer": optimizer}
