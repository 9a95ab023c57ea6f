"""A small network on rows of numbers. Constants first: the search moves those that have a range."""

import numpy as np
import runtime
import torch
from torch import nn

from autoresearch import measure

WIDTH = 64  # of a hidden layer [16..512 log]
DEPTH = 2  # hidden layers [1..6]
BATCH_SIZE = 128  # rows a step [16..4096 log]
LEARNING_RATE = 3e-3  # of AdamW, at its highest [1e-4..3e-2 log]
WEIGHT_DECAY = 0.0  # [0..0.3]
WARMDOWN_RATIO = 0.5  # of the time: the learning rate falls to 0 at the end [0..1]


class Model(nn.Module):
    def __init__(self, spec: measure.Spec):
        super().__init__()
        self.inputs = ("latitude", "day")
        self.scales = {name: getattr(spec, name) for name in (*self.inputs, "hours")}  # mean, deviation
        layers, width = [], len(self.inputs)
        for _ in range(DEPTH):
            layers += [nn.Linear(width, WIDTH), nn.GELU()]
            width = WIDTH
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def scaled(self, batch: dict[str, np.ndarray], name: str) -> torch.Tensor:  # [rows]
        mean, deviation = self.scales[name]
        return torch.from_numpy((batch[name] - mean) / (deviation or 1.0)).float().to(runtime.device)

    def forward(self, batch: dict[str, np.ndarray]) -> torch.Tensor:  # [rows], in deviations of the target
        return self.layers(torch.stack([self.scaled(batch, name) for name in self.inputs], dim=1))[:, 0]


def build_model(spec: measure.Spec) -> Model:
    return Model(spec).to(runtime.device)


@torch.no_grad()
def answer(model: Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The inputs by name, [rows] each -> float32 [rows, 1]."""
    mean, deviation = model.scales["hours"]
    return (model(inputs).float().cpu().numpy() * deviation + mean)[:, None]


class Trainer:
    def __init__(self, model: Model):
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)

    def step(self, batch: dict[str, np.ndarray], progress: float) -> float:
        """progress: the share of the time that is used. Returns the loss."""
        self.optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (1 - progress) / (WARMDOWN_RATIO or 1e-9))
        loss = nn.functional.mse_loss(self.model(batch), self.model.scaled(batch, "hours"))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def main() -> None:
    run = measure.start()
    Trainer(build_model(run.spec)).step(run.stand_in(BATCH_SIZE), 0.0)  # what is slow the first time, before the clock starts
    runtime.seed(run.seed)
    model = build_model(run.spec)
    trainer = Trainer(model)
    run.describe(depth=DEPTH, num_params=sum(one.numel() for one in model.parameters()))
    for _step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        run.report(loss=trainer.step(run.batch(BATCH_SIZE), run.progress))
    run.describe(peak_memory_bytes=runtime.peak_memory_bytes())


if __name__ == "__main__":
    main()
