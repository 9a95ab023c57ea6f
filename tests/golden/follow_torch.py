"""What child.py asks of PyTorch. Eager, the state is followed a second time with the attention and embedding that GPUs use."""

import sys

import runtime
import torch
import torch_runtime


def set_compile(is_on):
    if not is_on:
        runtime.compile = lambda function: function


def kernels(is_on):
    yield "own"
    if not is_on:
        runtime.attention, runtime.embedding = torch_runtime.attention, torch_runtime.embedding
        yield "generic"


def at_start(trainer, inputs, targets):
    inputs, targets = (torch.from_numpy(ids).long().to(runtime.device) for ids in (inputs, targets))
    with torch.inference_mode():
        logits = trainer.model(inputs).double().cpu()
    found = {"logits": logits, "token_loss": torch.nn.functional.cross_entropy(logits.mT, targets.cpu(), reduction="none")}
    for portion in zip(inputs.split(trainer.rows), targets.split(trainer.rows), strict=True):
        (trainer.loss(*portion) * runtime.loss_scale / trainer.passes).backward()
    parameters = trainer.model.named_parameters()
    found |= {f"gradients/{name}": (parameter.grad / runtime.loss_scale).cpu() for name, parameter in parameters}
    trainer.model.zero_grad()
    return found


def weights(model):
    return {name: value.cpu() for name, value in model.state_dict().items()}


def is_compiled():
    return "torch._dynamo.utils" in sys.modules and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
