"""What every run of a study is made with, and what it says of itself while it lasts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch.data.prepare import Prepared
from autoresearch.hardware.devices.registry import Backend
from autoresearch.run.bounds import Bounds
from autoresearch.run.constraints import Constraints


@dataclass(frozen=True)
class Setup:
    """What stays the same over all runs of a study."""

    backend: Backend
    prepared: Prepared
    seq_len: int
    eval_bytes: int
    train_seconds: float
    startup_limit_seconds: float
    sandbox: int  # the level of every worker's cell (sandbox/levels.py); there is no default, so that nobody forgets it
    peak_flops: float | None = None  # the device's data-sheet peak at the training dtype, FLOP/s
    constraints: Constraints = field(default_factory=Constraints)
    variables: dict[str, str] = field(default_factory=dict)  # of every worker's environment: the profile's [runtime]
    baseline: str | None = None  # the study's first train.py: what it has compiled, every run may read
    bounds: Bounds | None = None  # what scoring may take, once the baseline has shown it; None: nothing is bounded


@dataclass(frozen=True)
class Progress:
    phase: str  # startup, training, scoring, audit
    elapsed_seconds: float  # in this phase
    fraction: float | None = None  # of this phase, in [0, 1]
    loss: float | None = None  # nats
    tokens_per_second: float | None = None


OnProgress = Callable[[Progress], None]


def job_for(setup: Setup, folder: Path) -> dict[str, Any]:
    """What every worker of a run is told; no text is in it, and not where its checkpoint lies."""
    return {
        "python_path": [str(path) for path in setup.backend.python_path],
        "train_py": str(folder / "train.py"),
        "vocab_size": setup.prepared.vocab_size,
        "seq_len": setup.seq_len,
    }
