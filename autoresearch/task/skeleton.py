"""A task to begin with: a copy of the one in `tasks/skeleton`, which works and passes `tasks check`."""

import shutil
from pathlib import Path

from autoresearch.errors import UsageError
from autoresearch.paths import shipped
from autoresearch.task.table import NAME, NAMING

KIND = "rows"  # of skeleton: questions and answers, a row each


def make(name: str, folder: Path) -> Path:
    """A folder of that name in `folder`. UsageError for a name that is none, and where something is already."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r:.80} is no name of a task", NAMING)
    made = folder / name
    try:
        shutil.copytree(shipped("tasks") / "skeleton" / KIND, made, ignore=shutil.ignore_patterns("__pycache__"))
    except FileExistsError:
        raise UsageError(f"{made} is there already", "take another name, or another place with --folder") from None
    except (OSError, ValueError, shutil.Error) as error:
        raise UsageError(f"{made} can't be made ({error})", "name another place with --folder") from error
    return made
