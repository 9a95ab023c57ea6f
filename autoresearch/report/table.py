"""The experiments as tables for other programs: results.tsv, and CSV for spreadsheets.

results.tsv is in the original project's format, so that tools made for it read ours: a header, and a row an experiment.

    commit   val_bpb   memory_gb   status   description

(the second is named after the task's metric, and in its direction).
Its conventions are kept as they are, also where ours differ: the commit has 7 digits, the status is keep, discard or crash
(the baseline is a keep), and a number that is unknown is 0.000000 or 0.0, since those tools read every row as numbers. Some of them
read it as CSV with tabs, others split it at tabs: a description is never empty, and begins with no quotation mark. events.jsonl
has the same with null for unknown, and the finer states. memory_gb is peak memory in MiB / 1024.
"""

import csv
import io
import math
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoresearch import durable
from autoresearch.metric import Metric
from autoresearch.noise import Noise, student_t
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.text import described, one_line

# What a spreadsheet computes, at the beginning of a cell; also behind a semicolon, which half of the world's divide cells at, and
# with the wide signs of East Asian keyboards (OWASP, CSV Injection).
_FORMULA = re.compile(r'(^|;)(?=[\s"]*[-=+@\uff1d\uff0b\uff0d\uff20])')
_COLUMNS = ("memory_gb", "status", "description")  # of results.tsv, behind commit and score
_CHANCE = 1.96  # normal deviate of a 95 % interval
Cell = str | int | float | None


class Results:
    """results.tsv, kept in line with a study.

    A row that comes last is appended. Where an earlier one changes (the best measured again, a keep revoked), or the file is not as
    it was left here, all of it is written anew. A kill may leave half of an appended row; the next process writes all anew.
    """

    def __init__(self, path: Path):
        self._path = path
        self._rows: list[str] = []  # by the experiments' numbers; empty without a verdict
        self._seen = 0  # of state.changes
        self._left: tuple[int, int] | None = None  # the file's size and time, when it held those rows

    def draw(self, state: State) -> None:
        rows, last, appended = self._rows, self._last, []
        is_same = len(rows) <= len(state.experiments)
        del rows[len(state.experiments) :]
        changed, self._seen = state.changed(self._seen), len(state.changes)
        for experiment in (state.experiments[number] for number in sorted(changed) if number < len(state.experiments)):
            rows += [""] * (experiment.number + 1 - len(rows))
            text = row(experiment, state.metric)
            if text != rows[experiment.number]:
                is_same = is_same and experiment.number > last
                appended.append(text)
                rows[experiment.number] = text
        left, self._left = self._left, None
        if not is_same or left is None or left != self._found():
            durable.write(self._path, "\t".join(("commit", state.metric.name, *_COLUMNS)) + "\n" + "".join(rows))
        elif appended:
            durable.append(self._path, "".join(appended).encode())
        self._left = self._found()

    @property
    def _last(self) -> int:
        """The last experiment that has a row; -1: none."""
        return next((number for number in range(len(self._rows) - 1, -1, -1) if self._rows[number]), -1)

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns


def row(experiment: Experiment, metric: Metric) -> str:
    """Of results.tsv, with its line end; empty without a verdict."""
    if experiment.verdict is None:
        return ""
    cells = (
        experiment.commit[:7],
        metric.text(experiment.val_bpb or 0.0),
        f"{(experiment.peak_memory_bytes or 0) / 2**30:.1f}",
        experiment.verdict,
        described(one_line(experiment.description).lstrip(' "')),
    )
    return "\t".join(cells) + "\n"


def csv_text(experiments: Iterable[Experiment], noise: Noise | None, categories: Mapping[int, str], metric: Metric) -> str:
    """A row an experiment with all that one number or word can say, by RFC 4180; what is unknown is an empty cell.

    categories: kind of edit, by the experiment's number. Commits have all their digits: seven may be a number.
    """
    return as_csv(
        _cells(experiment, noise, metric)
        | {"category": categories.get(experiment.number), "description": described(experiment.description)}
        for experiment in experiments
    )


def as_csv(rows: Iterable[Mapping[str, Cell]]) -> str:
    """Rows of the same columns, for spreadsheets; no cell of them is computed."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row))
            writer.writeheader()
        writer.writerow({name: _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell for name, cell in row.items()})
    return text.getvalue()


def _cells(experiment: Experiment, noise: Noise | None, metric: Metric) -> dict[str, Cell]:
    score, runs = experiment.val_bpb, len(experiment.fair)
    shown = None if score is None else metric.shown(score)
    error = noise.sigma / math.sqrt(runs) if noise and runs else None
    reach = student_t(_CHANCE, noise.dof) * error if noise and error is not None else None
    speeds = [
        result.total_tokens / result.training_seconds
        for result in experiment.results
        if result.total_tokens and result.training_seconds
    ]
    memory, seconds = experiment.peak_memory_bytes, experiment.seconds
    return metric.told({
        "number": experiment.number,
        "commit": experiment.commit,
        "parent": experiment.parent,
        "state": experiment.state or "pending",
        "verdict": experiment.verdict,
        "val_bpb": score,
        "standard_error": error,
        "low_95": shown - reach if shown is not None and reach is not None else None,
        "high_95": shown + reach if shown is not None and reach is not None else None,
        "runs": len(experiment.results),
        "test_bpb": experiment.test_bpb,
        "memory_gib": memory / 2**30 if memory else None,
        "tokens_per_second": statistics.median(speeds) if speeds else None,
        "seconds": round(seconds, 3) if seconds is not None else None,
        "agent": one_line(experiment.agent),
        "cost_usd": experiment.cost_usd,
    })  # fmt: skip
