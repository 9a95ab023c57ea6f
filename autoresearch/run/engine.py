"""What makes a run, a training with its score or commands, as the task's table says: the one place that asks."""

from pathlib import Path
from typing import Any, Protocol

from autoresearch.measure.summary import RunResult
from autoresearch.run import command, experiment
from autoresearch.run.experiment import Monitor
from autoresearch.run.futility import Futility
from autoresearch.run.setup import OnProgress, Reference, Setup


class Engine(Protocol):
    """As experiment.py has them: `warm_up` gives what `execute` of the same text, seed and folder takes."""

    def warm_up(self, setup: Setup, text: str, seed: int, folder: Path, on_progress: OnProgress = ..., /) -> Any: ...
    def execute(
        self, setup: Setup, text: str, seed: int, folder: Path, on_progress: OnProgress = ..., warm: Any = ...,
        monitor: Monitor | None = ..., futility: Futility | None = ..., reference: Reference | None = ..., /,
    ) -> RunResult: ...  # fmt: skip


def of(setup: Setup) -> Engine:
    return command if setup.task.table.is_paired else experiment
