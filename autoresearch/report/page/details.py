"""What the page shows of one experiment when it is looked at, read from git and the run folders: its diff, log, runs, losses.

What is gone or damaged there is left out: a page is drawn of what is left.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import pygit2

from autoresearch.categories import category
from autoresearch.run.futility import read_curve
from autoresearch.study.commits import texts
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import log_tail
from autoresearch.study.workspace import Study
from autoresearch.text import HIDDEN, harmless, unified_diff, without_colours

POINTS = 100  # of a loss curve: each the mean of a hundredth of the training time, which takes its batches' noise out, too
DIFF_CHARACTERS = 20_000
LOG_CHARACTERS = 4000
_SHOWN = ("status", "val_bpb", "training_seconds", "startup_seconds", "total_tokens", "num_steps", "num_params", "mfu_percent")
_IN_COLUMNS = ("train_seconds", "startup_seconds", "num_steps")  # of what is measured: shown already
_UNREADABLE = (KeyError, ValueError, pygit2.GitError)  # no such commit, no such file in it, no UTF-8; no repository


class Details:
    """Of one study; its repository stays open, so that thousands of diffs take seconds."""

    def __init__(self, study: Study):
        self._study = study
        self._text = lru_cache(maxsize=64)(_texts(study))
        self._categories: dict[str, str | None] = {}

    def category(self, one: Experiment) -> str | None:
        """What kind of edit it is; None for the baseline, and where git has lost it."""
        if one.commit not in self._categories:
            pair = self._pair(one)
            self._categories[one.commit] = category(*pair) if pair else None
        return self._categories[one.commit]

    def of(self, one: Experiment) -> dict[str, Any]:
        pair = self._pair(one)
        patch = unified_diff(*pair, "before", "after") if pair else ""
        return {
            "n": one.number,
            "reasoning": harmless(one.reasoning),
            "reason": harmless(one.reason or ""),
            "runs": list(_runs(one)),
            "diff": harmless(patch, DIFF_CHARACTERS, stand_in=HIDDEN),
            "log": self._log(one),
            "curve": self._curve(one),
        }

    def _pair(self, one: Experiment) -> tuple[str, str] | None:
        """The train.py that it was made from, and its own."""
        try:
            return (self._text(one.parent), self._text(one.commit)) if one.parent and one.number else None
        except _UNREADABLE:
            return None

    def _log(self, one: Experiment) -> str:
        try:
            tail = log_tail(self._study.runs / one.runs[-1].folder / "log.txt") if one.runs else ""
        except OSError:
            return ""
        return harmless(without_colours(tail)[-LOG_CHARACTERS:])

    def _curve(self, one: Experiment) -> list[float | None]:
        """Mean training loss in each of POINTS parts of the time, of its first run; empty where it has none."""
        sums, counts = [0.0] * POINTS, [0] * POINTS
        path = self._study.runs / one.runs[0].folder / "curve.jsonl" if one.runs else None
        for progress, loss in read_curve(path, self._study.profile.budget.train_seconds) if path else ():
            place = min(max(int(POINTS * progress), 0), POINTS - 1)
            sums[place] += loss
            counts[place] += 1
        return [float(f"{s / n:.4g}") if n else None for s, n in zip(sums, counts, strict=True)] if any(counts) else []


def _texts(study: Study) -> Callable[[str], str]:
    try:
        return texts(study.folder)
    except pygit2.GitError:  # the repository is gone
        return dict[str, str]().__getitem__


def _runs(one: Experiment) -> Iterator[dict[str, Any]]:
    for run in one.runs:
        result = asdict(run.result) if run.result else {}
        numbers = {name: value for name in _SHOWN if isinstance(value := result.get(name), str) or _is_finite(value)}
        measured = {name: value for name, value in run.quantities.items() if name not in _IN_COLUMNS and _is_finite(value)}
        yield {
            "k": run.k,
            "seed": str(run.seed),  # it may have more digits than JavaScript's numbers
            "measured": measured,
            **({} if run.worker is None else {"worker": run.worker}),
            **numbers,
        }


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
