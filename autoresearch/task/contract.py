"""What a task.py is: a class `Task` made from the one here. It runs on the harness's side, with numpy alone.

    prepare     data -> a folder of arrays, split into train, val, test and slice; written once, cached, checksummed
    spec        what build_model is told: sizes and kinds, never data
    feed        training rows, one batch at a time, once the clock runs
    questions   of a split: inputs, which a fresh process answers from the saved weights, and targets, which never leave the harness
    losses      answers and targets -> losses; lower is better, whatever the metric's direction
    units       losses -> what is drawn independently (rows, documents), so that a score has an interval and two can be paired

A task that keeps one structured array a split in `<split>.npy`, with its targets' names in TARGETS, writes `prepare`, `spec`,
`answer` and `losses`; the rest is here. `val` decides; `slice` is what a would-be keep has to gain on too; `test` no decision sees.

train.py, in `<task>/<framework>/train.py`, has `build_model(spec)`, trains in `for step in run.steps(save)` with `run.batch(rows)`
(a dict of arrays by name), and answers questions in `answer(model, inputs)`: the inputs by name -> float32 [rows, *answer]. The
backend's module `runtime` gives it device, dtype, seed, save_weights and load_weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from autoresearch import constants
from autoresearch.data.progress import OnProgress
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.measure.batches import RecordFeed
from autoresearch.measure.bpb import InvalidLogits as InvalidAnswer
from autoresearch.metric import Metric
from autoresearch.task import prepared as arrays
from autoresearch.task.commands import Commands
from autoresearch.task.table import Prepared, Source, Table

__all__ = ["SPLITS", "Feed", "InvalidAnswer", "Questions", "Task"]

SPLITS = ("val", "test", "slice")  # that are asked; `train` is fed


class Feed(Protocol):
    """Hands out training rows; how many is the harness's own count."""

    @property
    def tokens(self) -> int: ...  # that were used: tokens of text, or rows
    def prepare(self) -> None: ...  # before the clock
    def answer(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]: ...  # ValueError for what can't be had


@dataclass(frozen=True)
class Questions:
    inputs: np.ndarray  # [n] structured, or int32 [n, T] where the task is causal
    targets: np.ndarray  # [n, ...]; where the task is causal int32 [n, T], and -1 is not scored

    def __len__(self) -> int:
        return len(self.inputs)


class Task:
    """One study's task: its prepared data and its options."""

    TARGETS: ClassVar[tuple[str, ...]] = ()  # fields of the arrays that a model is never told

    def __init__(self, table: Table, prepared: Prepared, options: Mapping[str, Any], sizes: Data | None = None):
        self.table, self.prepared, self.options, self.sizes = table, prepared, dict(options), sizes
        self._arrays: dict[str, np.ndarray] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and vars(self) | {"_arrays": None} == vars(other) | {"_arrays": None}

    def __hash__(self) -> int:
        return hash((self.table.name, self.prepared.key))

    # Before there is a study

    @classmethod
    def source(cls, table: Table, corpus: str, options: Mapping[str, Any], sizes: Data | None) -> Source:
        """What --corpus means; "auto" where none was given. Raises UsageError."""
        return arrays.source(table, corpus)

    @classmethod
    def prepare(cls, source: Source, options: Mapping[str, Any], folder: Path, on_progress: OnProgress) -> dict[str, Any]:
        """Write `<split>.npy` into folder; returns facts that JSON can hold ("warnings": lines for the user). Raises UsageError
        for data that is no good, in one line that ends in what to do. The same source and options give the same bytes.
        """
        raise NotImplementedError

    @classmethod
    def prepared_from(
        cls, table: Table, source: Source, options: Mapping[str, Any], sizes: Data | None, on_progress: OnProgress
    ) -> Prepared:
        """From the cache, or prepared now."""
        return arrays.made(cls, table, source, options, on_progress)

    @classmethod
    def prepared_again(cls, key: str) -> Prepared:
        """From the cache. StoredStateError when it is gone or damaged."""
        return arrays.load(key)

    # What a model is told, fed and asked

    @property
    def facts(self) -> dict[str, Any]:
        """What `prepare` returned."""
        facts: dict[str, Any] = getattr(self.prepared, "facts", {})
        return facts

    @property
    def metric(self) -> Metric:
        return self.table.metric

    @property
    def is_causal(self) -> bool:
        return self.table.audit == "causal"

    def spec(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def answer(self) -> tuple[int, ...]:
        """The shape of the answer to one question, float32."""
        raise NotImplementedError

    @property
    def row(self) -> np.dtype[Any]:
        """Of a training row: a structured type."""
        return self.array("train").dtype

    @property
    def most(self) -> dict[str, int]:
        """For stand-in rows: of each whole-numbered field, the number that all its values lie below."""
        return dict.fromkeys(self.row.names or (), 2)

    def feed(self, seed: int) -> Feed:
        """Each row once an epoch, in an order that depends on the seed alone."""
        return RecordFeed(self.array("train"), seed)

    def questions(self, split: str) -> Questions | None:
        """None where the data spares no such split."""
        rows = self.array(split)
        if not len(rows):
            return None
        inputs = [name for name in rows.dtype.names or () if name not in self.TARGETS]
        asked = np.empty(len(rows), np.dtype([(name, rows.dtype[name]) for name in inputs]))
        for name in inputs:
            asked[name] = rows[name]
        targets = rows[self.TARGETS[0]] if len(self.TARGETS) == 1 else rows[list(self.TARGETS)]
        return Questions(asked, targets)

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """answers float32 [n, *answer] (also infinity; NaN is refused before, but where the task is causal), targets [n, ...]
        -> float32 [n, k], of the order of 1.

        InvalidAnswer for what is none. Where the task is causal the first T columns are the bits of each target,
        and a target of -1 costs 0. answers may be overwritten.
        """
        raise NotImplementedError

    def units(self, split: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(sums float64 [u], weights [u]): what may be drawn independently. The score is value(sums.sum() / weights.sum())."""
        return losses.sum(axis=1, dtype=np.float64), np.ones(len(losses), np.int64)

    def value(self, ratio: float) -> float:
        """The score of a mean loss; it rises with it."""
        return ratio

    def perfect(self, targets: np.ndarray) -> np.ndarray | None:
        """The best answers that there are, float32 [n, *answer], where it knows them: `tasks check` tries the losses with them."""
        return None

    @classmethod
    def guards(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """Quantities of the task's own, by name -> the split whose questions the score process is asked for each: the ratio of its
        `units`. Less is better. Limits on them, and on others, stand in task.toml and on the command line (docs/limits.md).
        """
        return {}

    def instructions(self, program: str) -> str:
        """program.md for a new study. program: the task's own."""
        return program

    # Where a command scores

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of the files that are edited; none: a train.py."""
        return ()

    @property
    def commands(self) -> Commands:
        raise NotImplementedError

    # What its processes see

    def first_text(self, train_py: Path, values: Mapping[str, object]) -> str:
        """What a study begins with. train_py: the backend's; values: of its constants."""
        return self.written(train_py, values)

    @staticmethod
    def written(train_py: Path, values: Mapping[str, object]) -> str:
        return constants.write(train_py.read_text(encoding="utf-8"), values)

    def reads(self) -> list[Path]:
        """Files that a training and a scoring may read: what they start from, never data."""
        return []

    def scoring_reads(self) -> list[Path]:
        """Those of a scoring. Weights beside the checkpoint would be parameters that nobody counts."""
        return self.reads()

    def hidden(self) -> list[Path]:
        """Where the data lies: no cell may see it."""
        place = Path(self.prepared.corpus)
        return [self.prepared.folder, *([place] if place.is_absolute() else [])]

    def words(self, split: str) -> str:
        """What a person calls it."""
        return f"{'validation' if split == 'val' else split} {'text' if self.is_causal else 'rows'}"

    def summary(self) -> str:
        """How much data there is, in one line."""
        sizes = {split: len(self.array(split)) for split in ("train", *SPLITS)}
        return ", ".join(f"{size:,} rows for {_WORDS[split]}" for split, size in sizes.items() if size)

    def array(self, split: str) -> np.ndarray:
        """`<split>.npy`, mapped."""
        if split not in self._arrays:
            self._arrays[split] = np.load(self.prepared.folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        return self._arrays[split]

    def splits(self) -> Iterator[tuple[str, Questions]]:
        """Those that there are."""
        for split in SPLITS:
            if (questions := self.questions(split)) is not None:
                yield split, questions


_WORDS = {"train": "training", "val": "validation", "test": "test", "slice": "the audit slice"}
