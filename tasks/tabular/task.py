"""Tables: predict one column of a file from the others.

Classes: the answer to a row is a logit for each class; the score is the log loss in nats. A number: the answer is one number, in
standard deviations of the training rows from their mean; the score is the root of the mean squared error, relative to that of
answering the training mean throughout (rel_rmse: 1 is no better than that).

A row has `numbers` float32 [N] (scaled, NaN where missing), `codes` int32 [C] and `target`. Columns, codes, scales and classes are
those of the training rows (making.py). docs/design/tabular.md has the choices with their figures.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from autoresearch import task
from autoresearch.data.progress import OnProgress
from autoresearch.measure.bpb import target_bits
from autoresearch.metric import Metric

_INPUTS = {"numbers": "numbers", "codes": "kinds"}
NAMES_TOLD = 200


class Task(task.Task):
    TARGETS = ("target",)

    @classmethod
    def prepare(cls, source: task.Source, options: Mapping[str, Any], folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        from . import making  # it takes pyarrow

        return making.prepare(Path(source.name), options, folder, on_progress)

    @property
    def metric(self) -> Metric:
        metric = self.table.metric
        return metric if self.facts["classes"] else replace(metric, name="rel_rmse", unit="of predicting the mean")

    def spec(self) -> dict[str, Any]:
        """number_names and code_names have a name for each column of `numbers` and `codes`, cards how many codes each of these
        has; classes: how many, or 0 for a number; rows: that training has.
        """
        facts = self.facts
        return {
            "number_names": facts["numbers"], "code_names": facts["codes"], "cards": facts["cards"],
            "classes": len(facts["classes"]), "rows": facts["rows"]["train"],
        }  # fmt: skip

    @property
    def answer(self) -> tuple[int, ...]:
        return (len(self.facts["classes"]) or 1,)

    @property
    def most(self) -> dict[str, int]:
        return {"codes": min(self.facts["cards"], default=1), "target": len(self.facts["classes"]) or 1}

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """float32 [n, 1]: nats, or squared errors in variances of the training rows."""
        if answers.shape != (len(targets), *self.answer):
            raise task.InvalidAnswer(f"answers of the shape {answers.shape} to {len(targets)} questions")
        if self.facts["classes"]:
            return (target_bits(answers, targets) * np.float32(np.log(2)))[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(answers - targets[:, None])
        if not np.isfinite(squares).all():
            raise task.InvalidAnswer("the model gave numbers that are NaN, infinite or absurd")
        return squares

    def units(self, split: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of squared errors: in units of what the training mean leaves on the split's own rows."""
        unit = self.array(f"{split}_units")
        sums = np.bincount(unit, weights=losses[:, 0])
        if not self.facts["classes"]:
            sums = sums / np.square(self.array(split)["target"], dtype=np.float64).mean()
        return sums, np.bincount(unit)

    def value(self, ratio: float) -> float:
        return float(ratio if self.facts["classes"] else np.sqrt(ratio))

    def perfect(self, targets: np.ndarray) -> np.ndarray:
        classes = len(self.facts["classes"])
        best = 50 * np.eye(classes)[targets] if classes else targets[:, None]
        return best.astype(np.float32)

    def instructions(self, program: str) -> str:
        facts, classes = self.facts, self.facts["classes"]
        inputs = [f"{len(facts[key])} {word}: {_told(facts[key])}." for key, word in _INPUTS.items() if facts[key]]
        return Template(program).safe_substitute(
            metric=self.metric.name, target=facts["target"], rows=f"{facts['rows']['train']:,}",
            what=f"one of {len(classes)} classes" if classes else "a number",
            inputs=" ".join(inputs),
            answer="a logit for each class" if classes else "one number, in the units of `target`",
        )  # fmt: skip

    def summary(self) -> str:
        facts = self.facts
        what = f"{len(facts['classes'])} classes" if facts["classes"] else "a number"
        inputs = " and ".join(f"{len(facts[key])} {word}" for key, word in _INPUTS.items() if facts[key])
        return f"{facts['target']} ({what}) from {inputs}; split by {facts['split']}; {super().summary()}"


def _told(names: list[str]) -> str:
    return ", ".join(names[:NAMES_TOLD]) + (f" and {len(names) - NAMES_TOLD:,} others" if len(names) > NAMES_TOLD else "")
