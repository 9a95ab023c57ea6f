"""`--workers`: which workers there are to be, said in a line."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autoresearch import paths
from autoresearch.data.prepared import describe
from autoresearch.errors import UsageError
from autoresearch.hardware import slots
from autoresearch.run.setup import Setup
from autoresearch.study import terms
from autoresearch.study.work_tree import STUDY
from autoresearch.study.workspace import Study
from autoresearch.workers.local import Local
from autoresearch.workers.process import Post
from autoresearch.workers.ray_crew import RayCrew
from autoresearch.workers.ray_words import Call, Inputs
from autoresearch.workers.work import Crew


def joined(wanted: int | str | None, address: str | None) -> RayCrew | None:
    """The Ray cluster of `--workers ray`, before anything is made. UsageError.

    address: None is what RAY_ADDRESS says, else a Ray of our own on this machine.
    """
    if wanted != "ray":
        if address is not None:
            raise UsageError(f"--address {address}: it is that of a Ray cluster; add --workers ray, or leave it out")
        return None
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--workers ray: Ray is not installed", '`pip install "ray>=2.60"`')
    return RayCrew(address or os.environ.get("RAY_ADDRESS") or None)


def choose(
    wanted: int | str | None, study: Study, setup: Setup, say: Callable[[str], None], cluster: RayCrew | None = None
) -> Callable[[], Crew] | None:  # fmt: skip
    """What makes the workers; None where there is one, as without the option. UsageError for more than there is room for."""
    if wanted in (None, 1) and study.cores is None:
        return None
    terms.check_workers(study.task, wanted)
    if cluster is not None:
        cluster.staff(_call(study, setup), say)
        return lambda: cluster
    count = None if wanted == "auto" else 1 if wanted is None else int(wanted)
    found = slots.of(setup.backend, study.cores, count)
    say(f"workers   {found.reason}")
    if len(found.all) == 1 and study.cores is None:
        return None
    return partial(Local, [Post(study.folder, setup.sandbox, slot) for slot in found.all])


def _call(study: Study, setup: Setup) -> Call:
    selector, backend, task = setup.backend.selector, setup.backend, setup.task
    cache = (paths.cache_dir() / "data").resolve()
    read = {Path(path).resolve() for path in (task.prepared.folder, *task.reads(), *task.scoring_reads())}
    folders = sorted({cache / path.relative_to(cache).parts[0] for path in read if path.is_relative_to(cache)})
    own = study.task.folder if study.task.reference else None
    inputs = Inputs(
        name=f"{study.tag}-{hashlib.blake2b(f'{study.folder} {study.created}'.encode(), digest_size=6).hexdigest()}",
        terms=(study.folder / STUDY).read_text(encoding="utf-8"),
        sandbox=setup.sandbox,
        prepared={folder.name: {name: describe(folder / name) for name in _files(folder)} for folder in folders},
        cache=str(cache),
        task={name: (own / name).read_bytes() for name in _files(own)} if own else {},
        task_name=own.name if own else None,
        threads=os.environ.get("OMP_NUM_THREADS"),
    )
    on_processors = study.facts.threads is not None if backend.processors is None else backend.processors
    return Call(
        inputs, study.runs, selector.ray if selector else None, study.cores, backend.simulated, on_processors,
        selector.fixed if selector else {},
    )  # fmt: skip


def _files(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.as_posix() for path in found if "__pycache__" not in path.parts]
