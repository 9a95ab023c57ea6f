"""A model of two tokens' context in numpy, by plain gradient descent: the least that a train.py is."""

import numpy as np
import runtime

from autoresearch import measure

DEPTH = 1  # layers [fixed]
ASPECT_RATIO = 16  # model width per layer [8, 16, 32]
LEARNING_RATE = 3.0  # [0.1..10 log]
ROWS = 8  # in a step [fixed]


class Model:
    def __init__(self, vocab_size):
        shape = (vocab_size, DEPTH * ASPECT_RATIO)
        scale = np.float32(0.3)
        self.weights = {name: scale * runtime.rng.standard_normal(shape, np.float32) for name in ("here", "before", "out")}

    def hidden(self, ids):  # int [B, T] -> [B, T, C]
        return self.weights["here"][ids] + self.weights["before"][previous(ids)]

    def step(self, ids, targets):
        """One step of gradient descent; the mean loss in nats before it."""
        hidden, out = self.hidden(ids), self.weights["out"]
        logits = hidden @ out.T
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        at_target = np.take_along_axis(shares, targets[..., None], axis=-1)
        slope = shares.copy()  # of the loss for the logits, [B, T, V]
        np.put_along_axis(slope, targets[..., None], at_target - 1, axis=-1)
        slope *= LEARNING_RATE / targets.size
        slope_hidden = slope @ out
        self.weights["out"] = out - np.einsum("btv,btc->vc", slope, hidden)
        np.subtract.at(self.weights["here"], ids, slope_hidden)
        np.subtract.at(self.weights["before"], previous(ids), slope_hidden)
        return float(-np.log(at_target).mean())


def previous(ids):
    """The token before each; the first has itself."""
    return np.concatenate([ids[:, :1], ids[:, :-1]], axis=1)


def build_model(spec):
    return Model(spec.vocab_size)


def main():
    run = measure.start()
    runtime.seed(run.seed)
    model = build_model(run.spec)
    before = {name: value.copy() for name, value in model.weights.items()}
    model.step(*run.stand_in(ROWS))  # where a framework would compile
    model.weights = before
    run.describe(depth=DEPTH, num_params=sum(value.size for value in before.values()))
    for _step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        run.report(model.step(*run.batch(ROWS)))


if __name__ == "__main__":
    main()
