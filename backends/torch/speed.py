"""Pieces of a training step and of the machine for the stopwatch (autoresearch/hardware/stopwatch.py): torch devices.

Each piece is a function that returns when the device has done the work. A step is forward + loss + backward + optimizer; the loss's
own gradients count as loss, so backward is `forward_backward` without `forward` and `loss`.
"""

from collections.abc import Callable

import runtime
import torch


def product(rows: int, inner: int, columns: int) -> Callable[[], None]:
    """[rows, inner] @ [inner, columns] in the compute dtype, into memory that is there already."""
    a, b = (torch.randn(shape, device=runtime.device).to(runtime.dtype) for shape in ((rows, inner), (inner, columns)))
    out = a @ b
    return lambda: _waited(torch.mm(a, b, out=out))


def copy(size_bytes: int) -> Callable[[], None]:
    """size_bytes read and as many written."""
    source = torch.ones(size_bytes // 4, device=runtime.device)
    target = torch.empty_like(source)
    return lambda: _waited(target.copy_(source))


def parts(train, trainer, batch: Callable) -> dict[str, Callable[[], Callable[[], None]]]:
    """Makers of the parts of one pass; optimizer: of a step. batch(rows) gives stand-in tokens."""
    model = trainer.model

    def tokens() -> list[torch.Tensor]:
        return [torch.from_numpy(part).to(runtime.device, torch.int64) for part in batch(trainer.rows)]

    def forward():
        inputs, _ = tokens()
        hidden = runtime.compile(model.hidden)
        return lambda: _waited(hidden(inputs))

    def loss():
        _, targets = tokens()
        loss = runtime.compile(runtime.cross_entropy)
        states = torch.randn(targets.numel(), model.lm_head.size(1), device=runtime.device).to(runtime.dtype).requires_grad_()
        return lambda: _waited(loss(states, model.lm_head, targets.flatten(), train.SOFTCAP).backward())

    def forward_backward():
        inputs, targets = tokens()

        def run() -> None:
            model.zero_grad()
            _waited(trainer.loss(inputs, targets).backward())

        return run

    def optimizer():
        forward_backward()()  # the gradients
        return lambda: _waited(trainer.optimizer.step(0.5))

    return {"forward": forward, "loss": loss, "forward_backward": forward_backward, "optimizer": optimizer}


def _waited(_result) -> None:
    runtime.synchronize()
