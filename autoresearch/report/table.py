"""results.tsv, in the original project's format, so that tools made for it read ours: a header, and a row an experiment.

    commit   val_bpb   memory_gb   status   description

Its conventions are kept as they are, also where ours differ: the commit has 7 digits, the status is keep, discard or crash
(the baseline is a keep), and a number that is unknown is 0.000000 or 0.0, since those tools read every row as numbers.
events.jsonl has the same with null for unknown, and the finer states. memory_gb is peak memory in MiB / 1024.
"""

from collections.abc import Iterable

from autoresearch.study.state import Experiment
from autoresearch.text import one_line

_HEADER = ("commit", "val_bpb", "memory_gb", "status", "description")


def tsv(experiments: Iterable[Experiment]) -> str:
    """The file's text. Experiments without a verdict are left out."""
    rows = [_HEADER, *(_row(experiment, experiment.verdict) for experiment in experiments if experiment.verdict is not None)]
    return "".join("\t".join(row) + "\n" for row in rows)


def _row(experiment: Experiment, verdict: str) -> tuple[str, ...]:
    return (
        experiment.commit[:7],
        f"{experiment.val_bpb or 0.0:.6f}",
        f"{(experiment.peak_memory_bytes or 0) / 2**30:.1f}",
        verdict,
        one_line(experiment.description),
    )
