"""Where a corpus lies, and whose text every training can read, whatever its cell: a study on such a one says so."""

import os
from pathlib import Path

IN_SIGHT = {"stdlib": "it is the source of the Python that runs train.py"}


def warning(corpus: str) -> str | None:
    """For the start and the end of a study, and its reports; None where the cell hides the text."""
    why = IN_SIGHT.get(corpus)
    return why and f"train.py can read all of {corpus}, held-out parts too: {why}. Believe a gain on your own --corpus PATH"


def place(corpus: str) -> Path | None:
    """The file or folder of a corpus that is a path; None of one with a name. `PATH#FIELD` names what holds the text in it."""
    return Path(split(corpus)[0]) if os.path.isabs(corpus) else None


def split(corpus: str) -> tuple[str, str | None]:
    """(path, the field that holds the text, where one is named). A path that has such a sign in it, and is there, is a path."""
    path, sign, field = corpus.rpartition("#")
    return (path, field) if sign and path and field and not os.path.lexists(corpus) else (corpus, None)
