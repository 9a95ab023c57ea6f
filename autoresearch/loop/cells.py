"""The cells of a run's processes (sandbox/policy.py): what training, and what scoring and audit, may read and write.

WORK is a folder in the run's, new for each process and gone with it. Nothing else in the run's folder is writable but a scoring's
slots, so that neither train.py nor the checkpoint can be changed between training and scoring.
"""

from pathlib import Path

from autoresearch.loop.setup import Setup
from autoresearch.sandbox import policy, room
from autoresearch.sandbox.policy import Cell

WORK = "work"


def training(setup: Setup, folder: Path) -> Cell:
    """Reads the train.py in folder, and the tokens once they are lent."""
    work = room.make(folder / WORK)
    reads = [*_shared(setup), folder / "train.py", room.lent(work)]
    return policy.cell(setup.sandbox, work, reads, needs=setup.backend.sandbox)


def scoring(setup: Setup, folder: Path, slots: list[Path]) -> Cell:
    """Reads train.py and checkpoint, writes the slots."""
    work = room.make(folder / WORK)
    reads = [*_shared(setup), folder / "train.py", folder / "checkpoint"]
    return policy.cell(setup.sandbox, work, reads, slots, setup.backend.sandbox)


def _shared(setup: Setup) -> list[Path]:
    return [*setup.backend.python_path, room.shared_cache()]
