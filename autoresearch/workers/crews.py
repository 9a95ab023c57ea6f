"""`--workers`: which workers there are to be, said in a line."""

from collections.abc import Callable
from functools import partial

from autoresearch.errors import UsageError
from autoresearch.hardware import slots
from autoresearch.run.setup import Setup
from autoresearch.study.workspace import Study
from autoresearch.workers.local import Local
from autoresearch.workers.process import Post
from autoresearch.workers.work import Crew


def choose(wanted: int | str | None, study: Study, setup: Setup, say: Callable[[str], None]) -> Callable[[], Crew] | None:
    """What makes the workers; None where there is one, as without the option. UsageError for more than there is room for."""
    if wanted in (None, 1) and study.cores is None:
        return None
    if study.task.is_paired:
        raise UsageError(f"--workers: a score of {study.task.name} is measured by turns with the best, one at a time; leave it out")
    count = None if wanted == "auto" else 1 if wanted is None else int(wanted)
    found = slots.of(setup.backend, study.cores, count)
    say(f"workers   {found.reason}")
    if len(found.all) == 1 and study.cores is None:
        return None
    return partial(Local, [Post(study.folder, setup.sandbox, slot) for slot in found.all])
