"""Daylight: numbers in, a number out; the score is the root mean square error in hours.

Put your own data in place of `made_up` and `read`, and your own measure in place of `losses`: lower is better.
"""

from pathlib import Path

import numpy as np

from autoresearch import task
from autoresearch.errors import UsageError

ROW = np.dtype([("latitude", "f4"), ("day", "f4"), ("hours", "f4")])
SPLITS = {"train": 0.7, "val": 0.1, "test": 0.1, "slice": 0.1}  # shares of the rows
LEAST = 100  # rows in a split: with fewer, luck decides


class Task(task.Task):
    TARGETS = ("hours",)  # fields of a row that a model is never told; the others are its inputs

    @classmethod
    def prepare(cls, source, options, folder, on_progress):
        rows = made_up() if source.name == "made-up" else read(Path(source.name))
        rows = np.unique(rows)  # no row in two splits
        rows = np.random.default_rng(0).permutation(rows)
        cuts = (np.cumsum(list(SPLITS.values()))[:-1] * len(rows)).astype(int)
        parts = dict(zip(SPLITS, np.split(rows, cuts), strict=True))
        for split, part in parts.items():
            if len(part) < LEAST:
                raise UsageError(f"{source.name}: {len(part)} rows for {split}, at least {LEAST} are wanted; bring more data")
            np.save(folder / f"{split}.npy", part)
        return {name: [float(parts["train"][name].mean()), float(parts["train"][name].std())] for name in ROW.names}

    def spec(self):
        return self.facts  # of each field its mean and deviation, of the training rows alone

    @property
    def answer(self):
        return (1,)

    def losses(self, answers, targets):
        if not np.isfinite(answers).all():
            raise task.InvalidAnswer("the model gave an answer that is no finite number")
        return (answers - targets[:, None]) ** 2

    def value(self, ratio):
        return float(np.sqrt(ratio))

    def perfect(self, targets):
        return targets[:, None]


def read(path):
    """A CSV file with a heading."""
    try:
        table = np.genfromtxt(path, delimiter=",", names=True, dtype="f4")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}; give a CSV file of numbers with a heading") from error
    missing = [name for name in ROW.names if name not in (table.dtype.names or ())]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]}; name its columns {', '.join(ROW.names)}")
    rows = np.empty(table.size, ROW)
    for name in ROW.names:
        rows[name] = table[name]
        if not np.isfinite(rows[name]).all():
            raise UsageError(f"{path}: a value of {name} is no number; mend or remove that row")
    return rows


def made_up(count=6000):
    """The astronomer's formula, and a quarter of an hour of noise."""
    rng, rows = np.random.default_rng(0), np.empty(count, ROW)
    rows["latitude"], rows["day"] = rng.uniform(-60, 60, count), rng.integers(1, 366, count)
    tilt = np.radians(-23.44) * np.cos(2 * np.pi * (rows["day"] + 10) / 365)
    rows["hours"] = 24 / np.pi * np.arccos(-np.tan(np.radians(rows["latitude"])) * np.tan(tilt)) + rng.normal(0, 0.25, count)
    return rows
