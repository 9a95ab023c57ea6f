"""A line in numpy: logistic or least squares regression, for tests, and to see a night of this task without a framework."""

import numpy as np
import runtime

from autoresearch import measure

CLIP = 4.0  # a number beyond that many quartile distances is squeezed [1..10 log]
BATCH_SIZE = 256  # rows a step [32..2048 log]
LEARNING_RATE = 0.02  # of Adam, at its highest [0.001..0.3 log]
WEIGHT_DECAY = 1e-4  # [1e-6..0.1 log]
WARMDOWN_RATIO = 0.5  # of the time: the learning rate falls to 0 at the end [0..1]


class Model:
    def __init__(self, spec: measure.Spec):
        self.is_classes = spec.classes > 0
        self.first = np.cumsum([0, *spec.cards])[:-1]  # of each kind, its first weight
        numbers = 2 * len(spec.number_names)
        self.kinds = np.zeros((sum(spec.cards), spec.classes or 1), np.float32)
        self.weights = np.zeros((numbers + 1, spec.classes or 1), np.float32)

    def numbers(self, inputs: dict[str, np.ndarray]) -> np.ndarray:  # [B, 2 N + 1]
        is_missing = np.isnan(inputs["numbers"])
        values = np.nan_to_num(inputs["numbers"])
        squeezed = values / np.sqrt(1 + np.square(values / CLIP))
        return np.concatenate([squeezed, is_missing, np.ones((len(values), 1))], axis=1).astype(np.float32)

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:  # [B, O]
        return self.numbers(inputs) @ self.weights + self.kinds[inputs["codes"] + self.first].sum(axis=1)

    def gradients(self, batch: dict[str, np.ndarray]) -> tuple[float, np.ndarray, np.ndarray]:
        """(loss, gradients of weights and kinds)."""
        out, target, rows = self(batch), batch["target"], np.arange(len(batch["target"]))
        if self.is_classes:
            out -= out.max(axis=1, keepdims=True)
            shares = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
            loss = -np.log(np.maximum(shares[rows, target], 1e-30)).mean()
            shares[rows, target] -= 1
        else:
            shares = out - target[:, None]
            loss = np.square(shares).mean()
        shares /= len(rows)
        kinds = np.zeros_like(self.kinds)
        np.add.at(kinds, batch["codes"] + self.first, shares[:, None])
        return float(loss), self.numbers(batch).T @ shares, kinds


def build_model(spec: measure.Spec) -> Model:
    return Model(spec)


def answer(model: Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """numbers [B, N], codes [B, C] -> float32 [B, O]: logits, or one number."""
    return model(inputs)


def main() -> None:
    run = measure.start()
    model = build_model(run.spec)
    tables = (model.weights, model.kinds)
    run.describe(num_params=sum(table.size for table in tables))
    means = [np.zeros_like(table) for table in tables]
    squares = [np.zeros_like(table) for table in tables]
    for step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        loss, *gradients = model.gradients(run.batch(BATCH_SIZE))
        rate = LEARNING_RATE * min(1.0, (1 - run.progress) / (WARMDOWN_RATIO or 1e-9))
        for table, gradient, mean, square in zip(tables, gradients, means, squares, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.01 * (np.square(gradient) - square)
            change = mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-8)
            table -= np.float32(rate) * (change + WEIGHT_DECAY * table)
        run.report(loss=loss)


if __name__ == "__main__":
    main()
