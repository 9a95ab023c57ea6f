"""One night or one new workspace, in a process that strace watches: `python -m tests.crash.recorded init|NIGHT FOLDER STAGE MARKS`.

Whenever the ledger has taken an event, its number is written to MARKS, so that the trace shows what was promised by then. What
worker processes wrote is not in the trace: it is copied beside the folder when the harness syncs it.
"""

import os
import shutil
import sys
from pathlib import Path

import faults
import studies

from autoresearch.study import workspace

from . import nights
from .forked import quick_workers


class Marking(studies.Recorder):
    def __init__(self, marks: int):
        super().__init__()
        self._marks = marks

    def event(self, event: dict) -> None:
        super().event(event)
        if "seq" in event:
            os.write(self._marks, str(event["seq"]).encode())


def keeping(folder: Path):
    """A hook that copies what is synced in the run folders."""
    runs = folder / ".autoresearch" / "runs"

    def hook(kind: str, path, *_) -> None:
        if kind == "sync" and Path(path).is_relative_to(runs):
            target = folder.with_name(f"{folder.name}-workers") / Path(path).relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    return hook


def main(what: str, folder: str, stage_folder: str, marks: str) -> None:
    stage = nights.Stage(Path(stage_folder))
    with quick_workers(), studies.without_pictures(), faults.armed(keeping(Path(folder))), open(marks, "wb", buffering=0) as file:
        if what == "init":
            studies.make(Path(folder), stage.corpus)
            file.write(b"1")
        else:
            night = nights.NIGHTS[what]
            study = workspace.load(Path(folder))
            outcome = studies.run(study, stage.setup(night.decide), night.steps, Marking(file.fileno()))
            assert "steps are done" in outcome.reason, outcome


if __name__ == "__main__":
    main(*sys.argv[1:])
