"""Honest models of tables that are no network, each a whole train.py in numpy: what they learned are arrays of the model."""

HEAD = """
import numpy as np
import runtime
from autoresearch import measure

def told(inputs):
    numbers = np.nan_to_num(inputs["numbers"])
    return np.concatenate([numbers, inputs["codes"]], axis=1).astype(np.float32)

def collect(run):
    # all rows, once, in the first step
    batch = run.batch(run.spec.rows)
    return told(batch), np.eye(run.spec.classes)[batch["target"]]

def main():
    run = measure.start()
    model = build_model(run.spec)
    run.describe(num_params=1)
    for step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        if step == 0:
            model.learn(*collect(run), np.random.default_rng(run.seed))
        run.report(loss=0.5)

def build_model(spec):
    return Model(spec)

def answer(model, inputs):
    return np.log(np.clip(model.shares(told(inputs)), 1e-6, None)).astype(np.float32)
"""
TAIL = """
if __name__ == "__main__":
    main()
"""

# Knows nothing but how frequent each class is.
PRIOR = """
class Model:
    def __init__(self, spec):
        self.share = np.zeros(spec.classes)

    def learn(self, rows, classes, rng):
        self.share = classes.mean(axis=0)

    def shares(self, rows):
        return np.tile(self.share, (len(rows), 1))
"""

# Votes of some hundred trees of two levels on random pairs of columns.
STUMPS = """
class Model:
    def __init__(self, spec):
        self.columns, self.cuts, self.leaves = np.zeros((400, 2), int), np.zeros((400, 2)), np.zeros((400, 4, spec.classes))

    def leaf(self, rows, at):
        above = rows[:, self.columns[at]] > self.cuts[at]
        return above[:, 0] * 2 + above[:, 1]

    def learn(self, rows, classes, rng):
        for at in range(len(self.columns)):
            self.columns[at] = rng.choice(rows.shape[1], 2, replace=False)
            self.cuts[at] = [rng.choice(rows[:, column]) for column in self.columns[at]]
            leaf = self.leaf(rows, at)
            for place in range(4):
                self.leaves[at, place] = (classes[leaf == place].sum(axis=0) + 1) / ((leaf == place).sum() + 2)

    def shares(self, rows):
        return sum(self.leaves[at][self.leaf(rows, at)] for at in range(len(self.columns))) / len(self.columns)
"""

# Holds every training row; float32 distances by a product, which rounds differently with the number of rows.
NEIGHBOURS = """
class Model:
    def __init__(self, spec):
        self.rows, self.classes = np.zeros((spec.rows, len(spec.number_names) + len(spec.cards)), np.float32), np.zeros(0)

    def learn(self, rows, classes, rng):
        self.rows, self.classes = rows, classes

    def shares(self, rows):
        near = np.square(rows).sum(1)[:, None] - 2 * rows @ self.rows.T + np.square(self.rows).sum(1)
        weight = np.exp(-np.maximum(near, 0) / 0.08)
        return (weight @ self.classes + 0.5) / (weight.sum(axis=1, keepdims=True) + 0.5 * self.classes.shape[1])
"""

# Least squares on random waves (random kitchen sinks), solved in one step.
WAVES = """
class Model:
    def __init__(self, spec):
        self.waves, self.turns, self.weights = np.zeros((1, 1)), np.zeros(1), np.zeros((1, spec.classes))

    def seen(self, rows):
        return np.cos(rows.astype(np.float64) @ self.waves + self.turns)

    def learn(self, rows, classes, rng):
        self.waves, self.turns = rng.normal(0, 1.5, (rows.shape[1], 300)), rng.uniform(0, 2 * np.pi, 300)
        seen = self.seen(rows)
        self.weights = np.linalg.solve(seen.T @ seen + 5 * np.eye(300), seen.T @ classes)

    def shares(self, rows):
        return np.clip(self.seen(rows) @ self.weights, 0.02, 0.98)
"""

# Answers only in steps of a hundredth.
COARSE = WAVES.replace("self.seen(rows) @ self.weights", "np.round(self.seen(rows) @ self.weights, 2)")

# Not honest, or no answer.
NOT_A_NUMBER = PRIOR.replace("return np.tile(self.share, (len(rows), 1))", "return np.full((len(rows), len(self.share)), np.nan)")
BY_ITS_BATCH = WAVES.replace("self.seen(rows) @ self.weights", "self.seen(rows - 0.2 * rows.mean(axis=0)) @ self.weights")


def train_py(lines: str) -> str:
    return HEAD + lines + TAIL
