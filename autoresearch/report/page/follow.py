"""A study looked at while it changes, for `serve`: what is new in its ledger is folded; what can't be read is a sentence."""

import threading
from datetime import UTC, datetime
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.report.page.details import Details
from autoresearch.report.page.table import Row, head, row
from autoresearch.study import follow, lock
from autoresearch.study.state import State
from autoresearch.study.workspace import Study, load


class Follower:
    """One study, and what was read of it. Its methods may be called from several threads."""

    def __init__(self, study: Study):
        self._study = study
        self._turn = threading.Lock()
        self._trouble: str | None = None
        self._process: int | None = None
        self._begin()
        self.look()

    def _begin(self) -> None:
        self._ledger, self._is_another, self._count = follow.Follower(self._study.events), False, 0
        self._state, self._seen = State(), 0
        self._details = Details(self._study)
        self._rows: list[Row] = []

    def look(self) -> dict[str, Any] | None:
        """What changed since the last look: the table with the changed rows alone; None where nothing did.

        A table with the key `all` is no change but the whole: the ledger is another one.
        """
        with self._turn:
            before, known = self._state, (self._count, self._trouble, self._process)
            self._trouble, self._process = self._read(), lock.writer(self._study.lock)
            is_new = before is not self._state
            if not is_new and known == (self._count, self._trouble, self._process):
                return None
            changed = self._redraw()
            return self._head() | {"all": is_new, "experiments": changed}

    def _redraw(self) -> list[Row]:
        """The rows that events have changed, which are laid over the old ones."""
        known, numbers = self._state.experiments, sorted(self._state.changed(self._seen))
        self._seen = len(self._state.changes)
        rows = [row(known[number], self._details.category(known[number])) for number in numbers if number < len(known)]
        changed = [new for new in rows if self._rows[new["n"] : new["n"] + 1] != [new]]
        for new in changed:
            self._rows[new["n"] : new["n"] + 1] = [new]
        return changed

    def whole(self) -> dict[str, Any]:
        """The whole table as of the last look."""
        with self._turn:
            return self._head() | {"all": True, "experiments": self._rows}

    def details(self, number: int) -> dict[str, Any] | None:
        """Of one experiment; None where there is none."""
        with self._turn:
            return self._details.of(self._state.experiments[number]) if number < len(self._rows) else None

    def _head(self) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return head(self._study, self._state, self._details.category, now, self._process) | {"trouble": self._trouble}

    def _read(self) -> str | None:
        """Fold what is new. What is wrong, in a sentence; what was read before stays."""
        try:
            if not self._study.folder.is_dir():
                return "The study's folder is gone; what you see is how it was."
            news = self._ledger.look()
            self._is_another = self._is_another or news is None
            if self._is_another:
                study = load(self._study.folder)
                ledger = follow.Follower(study.events)
                news = ledger.look()
                self._study = study
                self._begin()
                self._ledger = ledger
            for entry in news or ():
                self._count += 1
                self._state.apply(entry, self._count)
        except (AutoresearchError, OSError) as error:
            return f"The study can't be read now: {error}"
        return None
