"""A network for tables, trained for a fixed time: constants, model, training. This file is what the agent edits.

Numbers are cut into pieces at their quantiles (arXiv 2203.05556), kinds are embedded, and one network answers, or several that
share their matrices (TabM, arXiv 2410.24210). Rows and the clock are the harness's.
Shape letters: B rows, N numbers, C kinds, P pieces, K networks, D width, O outputs.
"""

import math
from itertools import pairwise

import numpy as np
import runtime
import torch
import torch.nn.functional as F
from torch import nn

from autoresearch import measure

# ---------------------------------------------------------------------------------------------------------------------
# Constants. The bracket is what a search may choose from.

# Inputs
PIECES = 16  # that the range of a number is cut into; 0: the number as it is [0..64]
MOST_PIECES = 4096  # of all numbers together: with many columns each is cut into fewer [fixed]
CLIP = 4.0  # a number beyond that many quartile distances is squeezed [1..10 log]
KIND_WIDTH = 8  # of the embedding of a kind [2..32 log]
FIRST_ROWS = 8192  # that the quantiles are of [fixed]

# Shape
ENSEMBLE = 1  # networks that answer together [1..32 log]
DEPTH = 3  # hidden layers [1..5]
WIDTH = 256  # [32..1024 log]
DROPOUT = 0.2  # [0..0.5]

# Training
THREADS = 1  # of a CPU: with so little to do, more wait for each other, and the longer the busier the machine is [1, 2, 4, 8]
BATCH_SIZE = 256  # rows a step [64..8192 log]
LEARNING_RATE = 6e-3  # of AdamW [1e-4..2e-2 log]
WEIGHT_DECAY = 0.02  # of matrices [0..0.3]
BETA2 = 0.99  # memory of the mean squared gradient [0.9..0.999]
WARMUP_RATIO = 0.02  # of the time: the learning rate rises from 0 [0..0.2]
WARMDOWN_RATIO = 0.7  # of the time: it falls to 0 at the end [0..1]
LABEL_SMOOTHING = 0.0  # of classes [0..0.2]

# ---------------------------------------------------------------------------------------------------------------------
# Model


class Pieces(nn.Module):
    """Numbers as they are told to the network: [B, N] with NaN -> [B, N * (P + 2)].

    Of each number: how far it has come through each piece, from 0 to 1; its squeezed self; whether it is missing.
    """

    def __init__(self, numbers: int):
        super().__init__()
        self.pieces = min(PIECES, MOST_PIECES // max(1, numbers))
        self.width = numbers * (self.pieces + 2)
        self.register_buffer("edges", torch.linspace(-2, 2, self.pieces + 1).repeat(numbers, 1))  # [N, P + 1]

    def look(self, numbers: torch.Tensor) -> None:
        """Cut at the quantiles of these rows [B, N]."""
        if self.pieces and numbers.numel():
            edges = numbers.nanquantile(torch.linspace(0, 1, self.pieces + 1, device=numbers.device), dim=0).T
            self.edges.copy_(edges.nan_to_num(0.0))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        is_missing = numbers.isnan()
        numbers = numbers.nan_to_num(0.0)
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        through = ((numbers[:, :, None] - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        squeezed = numbers / (1 + (numbers / CLIP).square()).sqrt()
        parts = [through * ~is_missing[:, :, None], squeezed[:, :, None], is_missing[:, :, None]]
        return torch.cat(parts, dim=2).flatten(1)


class Linear(nn.Module):
    """K linear layers that share a matrix and differ in the scale of each input and output (BatchEnsemble, arXiv 2002.06715)."""

    def __init__(self, inputs: int, outputs: int, is_first: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) / math.sqrt(inputs))
        signs = torch.randint(2, (ENSEMBLE, inputs)) * 2.0 - 1  # what makes the networks differ, as in TabM
        self.scale_in = nn.Parameter(signs if is_first and ENSEMBLE > 1 else torch.ones(ENSEMBLE, inputs))
        self.scale_out = nn.Parameter(torch.ones(ENSEMBLE, outputs))
        self.bias = nn.Parameter(torch.zeros(ENSEMBLE, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, K or 1, inputs] -> [B, K, outputs]
        return F.linear(x * self.scale_in, self.weight) * self.scale_out + self.bias


class Model(nn.Module):
    def __init__(self, spec: measure.Spec):
        super().__init__()
        self.classes = spec.classes  # 0: a number
        self.numbers = Pieces(len(spec.number_names))
        self.kinds = nn.Embedding(max(1, sum(spec.cards)), KIND_WIDTH)
        nn.init.normal_(self.kinds.weight, std=0.5)
        first = torch.tensor([0, *spec.cards]).cumsum(0)[:-1]  # of each kind, its first row in the table
        self.register_buffer("first", first, persistent=False)
        widths = [self.numbers.width + KIND_WIDTH * len(spec.cards), *[WIDTH] * DEPTH]
        self.layers = nn.ModuleList(Linear(*pair, is_first=at == 0) for at, pair in enumerate(pairwise(widths)))
        self.head = nn.Parameter(torch.zeros(ENSEMBLE, WIDTH, spec.classes or 1))
        self.bias = nn.Parameter(torch.zeros(ENSEMBLE, spec.classes or 1))

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:  # [B, N], [B, C] -> [B, K, O]
        x = torch.cat([self.numbers(numbers), self.kinds(codes + self.first).flatten(1)], dim=1)[:, None]
        for layer in self.layers:
            x = F.dropout(F.gelu(layer(x)), DROPOUT, self.training)
        return torch.einsum("bkd,kdo->bko", x, self.head) + self.bias

    def loss(self, numbers: torch.Tensor, codes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean over rows and networks: each learns by itself, and only their answers are put together."""
        out, target = self(numbers, codes), target[:, None].expand(-1, ENSEMBLE)
        if self.classes:
            return F.cross_entropy(out.flatten(0, 1), target.flatten(), label_smoothing=LABEL_SMOOTHING)
        return F.mse_loss(out[:, :, 0], target)


def build_model(spec: measure.Spec) -> Model:
    torch.set_num_threads(min(THREADS, torch.get_num_threads()))
    return Model(spec).to(runtime.device)


@torch.inference_mode()
def answer(model: Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """numbers [B, N], codes [B, C] -> float32 [B, O]: log-probabilities of the classes, or one number."""
    out = model.eval()(*on_device(inputs, "numbers", "codes"))
    if model.classes:
        return (out.log_softmax(2).logsumexp(1) - math.log(ENSEMBLE)).cpu().numpy()
    return out.mean(1).cpu().numpy()


def on_device(batch: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    tensors = (torch.from_numpy(batch[name]) for name in names)
    return [(one if one.is_floating_point() else one.long()).to(runtime.device, non_blocking=True) for one in tensors]


# ---------------------------------------------------------------------------------------------------------------------
# Training


def rate(progress: float) -> float:
    """Of the learning rate, at a fraction of the time."""
    rise = min(1.0, progress / WARMUP_RATIO) if WARMUP_RATIO else 1.0
    left = min(1.0, (1 - progress) / WARMDOWN_RATIO) if WARMDOWN_RATIO else 1.0
    return rise * left


def make_optimizer(model: Model) -> torch.optim.Optimizer:
    matrices = [*(layer.weight for layer in model.layers), model.head]
    others = [parameter for parameter in model.parameters() if all(parameter is not one for one in matrices)]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, BETA2), fused=runtime.device.type in ("cpu", "cuda"))


class Trainer:
    def __init__(self, model: Model):
        self.model, self.optimizer = model.train(), make_optimizer(model)

    def step(self, batch: dict[str, np.ndarray], progress: float) -> torch.Tensor:
        """One step of the optimizer; the mean loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(progress)
        loss = self.model.loss(*on_device(batch, "numbers", "codes", "target"))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def warm_up(self, batch: dict[str, np.ndarray], steps: int = 3) -> None:
        """Whatever is slow the first time, before the clock; then all is as it was."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        for _ in range(steps):
            self.step(batch, progress=0.5)
        self.model.load_state_dict(before)
        self.optimizer = make_optimizer(self.model)
        runtime.synchronize()


def main() -> None:
    run = measure.start()
    runtime.seed(run.seed)
    model = build_model(run.spec)
    trainer = Trainer(model)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    print(f"{ENSEMBLE} networks of {DEPTH} x {WIDTH}, {num_params / 1e6:.2f} M parameters, on {runtime.device}")
    trainer.warm_up(run.stand_in(BATCH_SIZE))
    runtime.seed(run.seed)
    run.describe(depth=DEPTH, num_params=num_params, peak_memory_bytes=runtime.peak_memory_bytes())

    read = None
    for step in run.steps(save=lambda path: runtime.save_weights(model, path), ahead=runtime.steps_ahead):
        if step == 0:
            model.numbers.look(*on_device(run.batch(FIRST_ROWS), "numbers"))
        read_before, read = read, runtime.read_later(trainer.step(run.batch(BATCH_SIZE), run.progress))
        if read_before:  # the loss of the step before: the device has this one to do meanwhile
            run.report(loss=read_before())
    if read:
        run.report(loss=read())
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()
