"""Other processes of the suite: `python -m autoresearch.checks.tasks.probe`.

prepare: without a cell, prepares the data once more. reach: in a cell, tries to read what no cell may read.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

from autoresearch.measure import worker
from autoresearch.measure.channel import Channel


def prepare(channel: Channel, job: dict[str, Any]) -> None:
    """What task.py brings in when it is read, and what it prepares in this process's cache: the digest of each file."""
    from autoresearch.checks.tasks.subject import digests, made
    from autoresearch.hardware.planner.profile_file import Data
    from autoresearch.task import registry

    known = set(sys.modules)
    table = registry.read(Path(job["folder"]))
    registry.kind(table)
    loaded = {name.partition(".")[0] for name in set(sys.modules) - known}
    prepared = made(table, job["corpus"], job["options"], job["sizes"] and Data(**job["sizes"])).prepared
    channel.send({"type": "done", "loaded": sorted(loaded), "digests": digests(prepared.folder)})


def reach(channel: Channel, job: dict[str, Any]) -> None:
    """Those of the paths that it can open, or list."""
    reached = []
    for path in map(Path, job["paths"]):
        with contextlib.suppress(OSError):
            if path.is_dir():
                next(path.iterdir(), None)
            else:
                path.open("rb").close()
            reached.append(str(path))
    channel.send({"type": "done", "reached": reached})


if __name__ == "__main__":
    worker.main({"prepare": prepare, "reach": reach})
