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

from autoresearch.metric import Metric
from autoresearch.noise import Noise, student_t
from autoresearch.study.state import Experiment
from autoresearch.text import described, one_line

# What a spreadsheet computes, at the beginning of a cell; also behind a semicolon, which half of the world's divide cells at, and
# with the wide signs of East Asian keyboards (OWASP, CSV Injection).
_FORMULA = re.compile(r'(^|;)(?=[\s"]*[-=+@\uff1d\uff0b\uff0d\uff20])')
_CHANCE = 1.96  # normal deviate of a 95 % interval
Cell = str | int | float | None


def tsv(experiments: Iterable[Experiment], metric: Metric) -> str:
    """The file's text. Experiments without a verdict are left out."""
    decided = ((experiment, experiment.verdict) for experiment in experiments if experiment.verdict is not None)
    head = ("commit", metric.name, "memory_gb", "status", "description")
    rows = [head, *(_row(experiment, verdict, metric) for experiment, verdict in decided)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _row(experiment: Experiment, verdict: str, metric: Metric) -> tuple[str, ...]:
    return (
        experiment.commit[:7],
        metric.text(experiment.val_bpb or 0.0),
        f"{(experiment.peak_memory_bytes or 0) / 2**30:.1f}",
        verdict,
        described(one_line(experiment.description).lstrip(' "')),
    )


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
