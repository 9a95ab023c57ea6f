"""What every run of a study is made with, and what it says of itself while it lasts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch.hardware.devices.registry import Backend
from autoresearch.measure.run import described
from autoresearch.run.bounds import Bounds
from autoresearch.run.constraints import Constraints
from autoresearch.task.contract import Task


@dataclass(frozen=True)
class Setup:
    """What stays the same over all runs of a study."""

    backend: Backend
    task: Task
    train_seconds: float
    startup_limit_seconds: float
    sandbox: int  # the level of every worker's cell (sandbox/levels.py); there is no default, so that nobody forgets it
    peak_flops: float | None = None  # the device's data-sheet peak at the training dtype, FLOP/s
    constraints: Constraints = field(default_factory=Constraints)
    variables: dict[str, str] = field(default_factory=dict)  # of every worker's environment: the profile's [runtime]
    baseline: str | None = None  # the study's first train.py: what it has compiled, every run may read
    bounds: Bounds | None = None  # what scoring may take, once the baseline has shown it; None: nothing is bounded


@dataclass(frozen=True)
class Reference:
    """What a run is measured beside, where the task's scores are paired (paired.py)."""

    text: str
    level: float | None = None  # its score; None: what it is measured to be


@dataclass(frozen=True)
class Progress:
    phase: str  # startup, training, scoring, audit
    elapsed_seconds: float  # in this phase
    fraction: float | None = None  # of this phase, in [0, 1], and never less than before; None: its length is not known yet
    loss: float | None = None  # nats
    tokens_per_second: float | None = None
    detail: str = ""  # what of it: which data is scored


OnProgress = Callable[[Progress], None]


def job_for(setup: Setup, folder: Path) -> dict[str, Any]:
    """What every worker of a run is told; no data is in it, and not where its checkpoint lies."""
    return {
        "python_path": [str(path) for path in setup.backend.python_path],
        "train_py": str(folder / "train.py"),
        "spec": setup.task.spec(),
        "row": described(setup.task.row),
        "most": setup.task.most,
    }
