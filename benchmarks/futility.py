"""How often `--stop-early` is wrong, and what it saves: on made-up curves whose schedules cross, and on recorded ones.

    python benchmarks/futility.py [--pairs 4000] [--out benchmarks/results/futility.json]

Made-up: loss = level + power law of the learning done + a share of the learning rate, which falls away as that is lowered.
Speed, warm-up, warm-down, learning rate and level are drawn, for the best and for the candidate alike, and each reported loss has
the noise of its batch. So a good candidate may lie above the best for most of its time. Recorded: every ordered pair of real
trainings of a small model (benchmarks/results/curves.json: other constants, on one core of a loaded machine, so their speeds
differ as well). A stop is false where the candidate would have ended no worse than the best. The rule is the loop's own
(autoresearch/run/futility.py).
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from autoresearch.run import futility

RESULTS = Path(__file__).parent / "results"
POINTS = 400  # reported losses of a training: 100 s at 4 a second
NOISE = (0.02, 0.3)  # nats, of one batch: log-uniform


def made_up(rng: np.random.Generator, noise: float) -> tuple[futility.Curve, float]:
    """A curve, and the loss without noise that it ends with."""
    progress = np.arange(1, POINTS + 1) / POINTS
    warm_up, warm_down, rate = rng.uniform(0, 0.1), rng.uniform(0.1, 1.0), 2 ** rng.uniform(-2, 2)
    schedule = np.clip(np.minimum(progress / max(warm_up, 1e-9), (1 - progress) / warm_down), 0, 1)
    speed = 2 ** rng.normal(0, 0.5)
    learnt = speed * np.cumsum(rate**0.5 * schedule) / POINTS
    loss = rng.normal(3.0, 0.05) + 2.5 * (1 + 60 * learnt) ** -0.4 + 0.1 * rate * schedule
    noisy = loss + noise * rng.standard_normal(POINTS)
    return list(zip(progress.tolist(), noisy.tolist(), strict=True)), float(loss[-1])


def stop_at(best: futility.Curve, candidate: futility.Curve) -> float | None:
    """The progress at which the rule ends the candidate; None when it does not."""
    watch = futility.Futility(best)
    return next((progress for progress, loss in candidate if watch.objection(progress, loss)), None)


def tally(pairs) -> dict:
    """pairs: (the best's curve, the candidate's curve, by how much the candidate ends worse)."""
    found = [(worse, stop_at(best, candidate)) for best, candidate, worse in pairs]
    good = [stop for worse, stop in found if worse <= 0]
    stops = [stop for _, stop in found if stop is not None]
    return {
        "pairs": len(found),
        "no_worse": len(good),
        "no_worse_stopped": sum(stop is not None for stop in good),
        "false_discard_percent": 100 * sum(stop is not None for stop in good) / len(good),
        "stopped_percent": 100 * len(stops) / len(found),
        "least_worse_of_the_stopped": min((worse for worse, stop in found if stop is not None), default=None),
        "time_saved_percent": 100 * sum(1 - stop for stop in stops) / len(found),
    }


def drawn(count: int, selected: bool):
    """Pairs; selected: the best is the best of 8, as late in a night."""
    rng = np.random.default_rng(20261125 + selected)
    for _ in range(count):
        noise = float(np.exp(rng.uniform(*np.log(NOISE))))
        bests = [made_up(rng, noise) for _ in range(8 if selected else 1)]
        best, best_end = min(bests, key=lambda one: one[1])
        curve, end = made_up(rng, noise)
        yield best, curve, end - best_end


def recorded():
    runs = json.loads((RESULTS / "curves.json").read_text(encoding="utf-8"))["runs"]
    curves = {name: [(seconds / run["train_seconds"], loss) for seconds, loss in run["curve"]] for name, run in runs.items()}
    for best, candidate in itertools.permutations(runs, 2):
        yield curves[best], curves[candidate], runs[candidate]["val_bpb"] - runs[best]["val_bpb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS / "futility.json")
    options = parser.parse_args()
    table = {
        "checkpoints": futility.CHECKPOINTS, "lag": futility.LAG, "margin": futility.MARGIN,
        "made up": tally(drawn(options.pairs, selected=False)),
        "made up, against the best of 8": tally(drawn(4 * options.pairs, selected=True)),
        "recorded": tally(recorded()),
    }  # fmt: skip
    for name, row in table.items():
        if isinstance(row, dict):
            print(name)
            for key, value in row.items():
                print(f"    {key.replace('_', ' '):<28} {value:.3f}" if isinstance(value, float) else f"    {key:<28} {value}")
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
