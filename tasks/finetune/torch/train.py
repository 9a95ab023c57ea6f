"""Fine-tuning for a fixed time, from the base's weights: constants, what is trained, training. This file is what the agent edits.

The model is the base's: spec.base_code is a module (of a study its train.py) whose build_model takes spec.base_spec, and whose
weights lie in spec.base_weights. The device's side is the backend's `runtime`; tokens and the clock are the harness's.
Shape letters: B rows, T tokens in a row, V vocabulary.
"""

import contextlib
import importlib.util
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import runtime
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from autoresearch import measure

# ---------------------------------------------------------------------------------------------------------------------
# Constants. The bracket is what a search may choose from.

# What is trained
METHOD = "full"  # all weights, or a low-rank change of the matrices (LoRA, arXiv 2106.09685) ["full", "lora"]
PARTS = "all"  # whose matrices ["attention", "mlp", "all"]
TRAIN_REST = 1  # of full: 1: embeddings, norms and the output layer as well [0, 1]
RANK = 16  # of a change [2..128 log]
CHANGE_SCALE = 2.0  # what a change is multiplied with [0.25..16 log]

# Batch and optimizer
TOTAL_BATCH_SIZE = 4096  # tokens an optimizer step; of pairs those of the whole row [512..65536 log]
OPTIMIZER = "muon"  # of the matrices, where they are trained whole; the rest is AdamW's ["muon", "adamw"]
MATRIX_LR = 0.01  # of Muon [0.0005..0.1 log]
RELATIVE_LR = 0.01  # of AdamW, in units of a weight's own root mean square when it starts [0.0003..0.1 log]
CHANGE_LR = 0.003  # of the changes, by AdamW [0.0001..0.05 log]
ADAM_BETA1 = 0.9  # memory of the mean gradient [0.6..0.95]
ADAM_BETA2 = 0.95  # memory of the mean squared gradient [0.9..0.999]
MUON_MOMENTUM = 0.95  # memory of Muon's gradient [0.8..0.98]
WEIGHT_DECAY = 0.0  # of the matrices, a step and unit of the learning rate [0..0.3]

# Schedule, over progress: the fraction of the time budget that is used
WARMUP_RATIO = 0.05  # learning rates rise from 0 [0..0.3]
WARMDOWN_RATIO = 0.5  # learning rates fall to 0 at the end [0.1..1]

# What is saved
BASE_SHARE = 0.0  # of the base's weights in what is saved: it forgets less (WiSE-FT, arXiv 2109.01903) [0..0.6]

LOGITS_AT_ONCE = 2**26  # of a forward pass; bounded by memory [fixed]
LEAST_RMS = 1e-3  # of a weight that starts at 0 [fixed]

# ---------------------------------------------------------------------------------------------------------------------
# Model


def build_model(spec):
    """The base's model, with fresh weights, on the device. forward: token ids int64 [B, T] -> logits float32 [B, T, V]."""
    found = importlib.util.spec_from_file_location("base_model", spec.base_code)
    module = sys.modules["base_model"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.build_model(SimpleNamespace(**spec.base_spec))


def is_matrix(name: str, weight) -> bool:
    """Of attention or of an MLP, by its name, and in the parts that are trained."""
    part = "attention" if "att" in name else "mlp" if "mlp" in name else ""
    return weight.ndim == 2 and bool(part) and PARTS in ("all", part)


class Change(nn.Module):
    """What is added to a matrix: nothing at the start."""

    def __init__(self, weight):
        super().__init__()
        rank = min(RANK, *weight.shape)
        self.down = nn.Parameter(torch.randn(rank, weight.size(1), device=weight.device) / math.sqrt(weight.size(1)))
        self.up = nn.Parameter(torch.zeros(weight.size(0), rank, device=weight.device))

    def forward(self):
        return CHANGE_SCALE * (self.up @ self.down)


class Tuned:
    """The base's model, and what is trained of it."""

    def __init__(self, model: nn.Module):
        self.model = model
        named = dict(model.named_parameters())
        self.matrices = {name: weight for name, weight in named.items() if is_matrix(name, weight)}
        rest = {name: weight for name, weight in named.items() if name not in self.matrices and TRAIN_REST}
        self.whole = {**self.matrices, **rest} if METHOD == "full" else {}
        self.changes = {name: Change(weight) for name, weight in self.matrices.items()} if METHOD == "lora" else {}
        for name, weight in named.items():
            weight.requires_grad_(name in self.whole)
        self.start = {name: weight.detach().clone() for name, weight in self.whole.items()} if BASE_SHARE else {}

    def logits(self, ids):
        if not self.changes:
            return self.model(ids)
        return functional_call(self.model, {name: self.matrices[name] + change() for name, change in self.changes.items()}, (ids,))

    def loss(self, ids, targets):
        """Mean cross-entropy in nats of the targets int64 [B, T] that are not -1."""
        return F.cross_entropy(self.logits(ids).flatten(0, 1), targets.flatten(), ignore_index=-1)

    def trained(self) -> list[nn.Parameter]:
        return [*self.whole.values(), *(weight for change in self.changes.values() for weight in change.parameters())]

    @contextlib.contextmanager
    def merged(self):
        """The model with the weights that are to be saved: changes added, the base's share taken back."""
        kept = {name: weight.data for name, weight in self.model.named_parameters()}
        with torch.no_grad():
            for name, change in self.changes.items():
                self.matrices[name].data = kept[name] + (1 - BASE_SHARE) * change()
            for name, start in self.start.items():
                self.whole[name].data = torch.lerp(kept[name], start, BASE_SHARE)
        yield self.model
        for name, weight in self.model.named_parameters():
            weight.data = kept[name]


# ---------------------------------------------------------------------------------------------------------------------
# Training


def optimizers(tuned: Tuned) -> list[torch.optim.Optimizer]:
    muon = list(tuned.matrices.values()) if METHOD == "full" and OPTIMIZER == "muon" else []
    by_adam = [(name, weight) for name, weight in tuned.whole.items() if not (muon and name in tuned.matrices)]
    groups = [
        {
            "params": [weight],
            "lr": RELATIVE_LR * max(float(weight.detach().square().mean().sqrt()), LEAST_RMS),
            "weight_decay": WEIGHT_DECAY if name in tuned.matrices else 0.0,
        }
        for name, weight in by_adam
    ]
    groups += [{"params": list(change.parameters()), "lr": CHANGE_LR} for change in tuned.changes.values()]
    made = [torch.optim.AdamW(groups, betas=(ADAM_BETA1, ADAM_BETA2), weight_decay=0.0)] if groups else []
    if muon:
        made.append(torch.optim.Muon(muon, lr=MATRIX_LR, momentum=MUON_MOMENTUM, weight_decay=WEIGHT_DECAY))
    return made


def lr_multiplier(progress: float) -> float:
    if progress < WARMUP_RATIO:
        return max(progress, 1e-3) / WARMUP_RATIO
    return min(1.0, (1 - progress) / WARMDOWN_RATIO)


class Trainer:
    """What is trained, its optimizers, and one step of both. In float16 the loss is scaled (arXiv 1710.03740)."""

    def __init__(self, tuned: Tuned, seq_len: int, vocab_size: int):
        rows = max(1, TOTAL_BATCH_SIZE // seq_len)
        self.rows = max(1, min(rows, LOGITS_AT_ONCE // (seq_len * vocab_size)))
        self.passes = max(1, round(rows / self.rows))  # gradient accumulation
        self.trained, self.loss, self.optimizers = tuned.trained(), runtime.compile(tuned.loss), optimizers(tuned)
        self.full_lr = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        scale = runtime.loss_scale
        self.scaler = torch.amp.GradScaler(runtime.device.type, init_scale=scale, growth_interval=200, enabled=scale != 1)

    def gradients(self, get_batch) -> torch.Tensor:
        """Of one step, added up; returns the mean loss in nats, on the device."""
        total = torch.zeros((), device=runtime.device)
        for _ in range(self.passes):
            inputs, targets = map(runtime.to_device, arrays(get_batch(self.rows)))
            loss = self.loss(inputs, targets) / self.passes
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def step(self, get_batch, progress: float) -> torch.Tensor:
        loss = self.gradients(get_batch)
        for optimizer, rates in zip(self.optimizers, self.full_lr, strict=True):
            for group, lr in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = lr * lr_multiplier(progress)
            self.scaler.step(optimizer)
        self.scaler.update()
        self.forget()
        return loss

    def forget(self) -> None:
        for weight in self.trained:
            weight.grad = None


def arrays(batch):
    """(inputs, targets), int32 [B, T] each. Of pairs a batch is a dict of them, with targets of -1 in the question."""
    return batch.values() if isinstance(batch, dict) else batch


def main() -> None:
    run = measure.start()
    runtime.seed(run.seed)
    model = runtime.load_weights(build_model(run.spec), Path(run.spec.base_weights)).train()
    tuned = Tuned(model)
    trainer = Trainer(tuned, run.spec.seq_len, run.spec.vocab_size)
    count = sum(weight.numel() for weight in trainer.trained)
    num_params = sum(weight.numel() for weight in model.parameters())
    print(f"{METHOD}: {count / 1e6:.2f} of {num_params / 1e6:.2f} M parameters are trained, {runtime.dtype} on {runtime.device}")
    for _ in range(2):  # compiles
        trainer.gradients(run.stand_in)
        trainer.forget()
    runtime.seed(run.seed)
    run.describe(num_params=num_params, peak_memory_bytes=runtime.peak_memory_bytes())

    def save(path: Path) -> None:
        with tuned.merged() as merged:
            runtime.save_weights(merged, path)

    read = None
    for _step in run.steps(save=save, ahead=runtime.steps_ahead):
        read_before, read = read, runtime.read_later(trainer.step(run.batch, run.progress))
        if read_before:  # the loss of the step before: the device has this one to do meanwhile
            run.report(loss=read_before())
    if read:
        run.report(loss=read())
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()
