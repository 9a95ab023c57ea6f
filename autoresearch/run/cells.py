"""The cells of a run's processes (sandbox/policy.py): what training, and what scoring and audit, may read and write.

WORK is a folder in the run's, new for each process and gone with it. Nothing else in the run's folder is writable but a scoring's
slots, so that neither train.py nor the checkpoint can be changed between training and scoring.

Neither gets a file of the data: training rows come over the line once the clock runs (measure/batches.py), held-out rows as well.
"""

from collections.abc import Iterable
from pathlib import Path

from autoresearch.run.setup import Setup
from autoresearch.sandbox import policy, workdir
from autoresearch.sandbox.policy import Cell

WORK = "work"
COMPILED_BYTES = 256 << 20  # of a file that any cell may write: a compiler's headers alone take more than 64 MB


def training(setup: Setup, folder: Path, train_py: str, file_bytes: int) -> Cell:
    """Reads the train.py in folder, whose text is train_py; its files grow to file_bytes at most, or what a compiler needs."""
    layers = _layers(setup, train_py)
    work = workdir.make(folder / WORK, layers)
    return _cell(setup, work, [folder / "train.py", *setup.task.reads(), *layers], file_bytes=max(COMPILED_BYTES, file_bytes))


def scoring(setup: Setup, folder: Path, train_py: str, slots: list[Path]) -> Cell:
    """Reads train.py, and the weights once they are lent; writes the slots."""
    layers = _layers(setup, train_py)
    work = workdir.make(folder / WORK, layers)
    file_bytes = max(COMPILED_BYTES, *(path.stat().st_size for path in slots))
    reads = [folder / "train.py", workdir.lent(work), *setup.task.scoring_reads(), *layers]
    return _cell(setup, work, reads, slots, file_bytes)


def _cell(setup: Setup, work: Path, reads: list[Path], writes: Iterable[Path] = (), file_bytes: int | None = None) -> Cell:
    reads = [*setup.backend.python_path, *reads]
    return policy.cell(setup.sandbox, work, reads, writes, setup.backend.sandbox, setup.task.hidden(), file_bytes)


def _layers(setup: Setup, train_py: str) -> list[Path]:
    """Of the compile cache: what the harness, the baseline's text and this text have compiled, in this order."""
    texts = [text for text in (setup.baseline, train_py) if text is not None]
    return [workdir.own_layer(setup.backend.name), *(workdir.layer(text) for text in texts)]
