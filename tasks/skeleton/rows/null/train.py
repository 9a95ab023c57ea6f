"""The same in numpy, a straight line through sines: for tests, and for a machine without a framework."""

import numpy as np
import runtime

from autoresearch import measure

WAVES = 3  # sines of the day, and powers of the latitude [1..8]
BATCH_SIZE = 128  # rows a step [16..4096 log]
LEARNING_RATE = 0.05  # [0.005..0.2 log]
WARMDOWN_RATIO = 0.5  # of the time: the learning rate falls to 0 at the end [0..1]


class Model:
    def __init__(self, spec: measure.Spec):
        self.weights = np.zeros(len(self.features({"latitude": np.zeros(1), "day": np.zeros(1)})[0]), np.float32)
        self.weights[0] = spec.hours[0]

    def features(self, inputs: dict[str, np.ndarray]) -> np.ndarray:  # [rows, features]
        turn, far = 2 * np.pi * inputs["day"] / 365, inputs["latitude"] / 60
        parts = [np.ones_like(far)]
        for wave in range(1, WAVES + 1):
            for power in range(WAVES + 1):
                parts += [far**power * np.sin(wave * turn), far**power * np.cos(wave * turn)]
        return np.stack(parts, axis=1).astype(np.float32)


def build_model(spec: measure.Spec) -> Model:
    return Model(spec)


def answer(model: Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The inputs by name, [rows] each -> float32 [rows, 1]."""
    return (model.features(inputs) @ model.weights)[:, None]


def main() -> None:
    run = measure.start()
    model = build_model(run.spec)
    model.weights += np.random.default_rng(run.seed).normal(0, 0.1, len(model.weights)).astype(np.float32)
    run.describe(depth=1, num_params=len(model.weights))
    for _step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        batch = run.batch(BATCH_SIZE)
        features = model.features(batch)
        error = features @ model.weights - batch["hours"]
        rate = LEARNING_RATE * min(1.0, (1 - run.progress) / (WARMDOWN_RATIO or 1e-9))
        model.weights -= np.float32(rate) * features.T @ error / len(error)
        run.report(loss=float((error**2).mean()))


if __name__ == "__main__":
    main()
