"""What is measured of every run beside its score: what limits are set on, and what `pareto` holds the score against.

None of it is taken from train.py's own words but train_memory_gb, which the backend's runtime reports, and num_steps: both come out
of the process that agent code runs in. A task may bring quantities of its own (Task.guards).
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autoresearch.measure.summary import RunResult


@dataclass(frozen=True)
class Quantity:
    what: str
    says: str  # of a run, with {} in the number's place
    more_is_better: bool = False


QUANTITIES = {
    "latency_ms": Quantity(
        "milliseconds from one question, asked alone, to its answer: the median of some", "one answer takes {} ms"
    ),
    "answers_per_second": Quantity(
        "rows of the validation split a second, asked many at once", "it answers {} rows a second", True
    ),
    "checkpoint_mb": Quantity("MiB of the file of weights", "its checkpoint has {} MiB"),
    "params": Quantity("parameters that the checkpoint can hold", "it has {} parameters"),
    "memory_gb": Quantity("GiB of the machine's memory at most of the process that answers", "answering takes {} GiB"),
    "train_memory_gb": Quantity("GiB at most of the training, as the backend's runtime reports it", "it takes {} GiB"),
    "train_seconds": Quantity("seconds from the clock's start to the saved weights", "its training takes {} s"),
    "startup_seconds": Quantity("seconds from the process's start to the clock's", "it needs {} s to start"),
    "num_steps": Quantity("steps of the training, as its process counts them", "it makes {} steps", True),
    "tokens_per_second": Quantity("tokens, or rows, that a training used in a second", "it trains {} tokens a second", True),
    "joules": Quantity("energy of the training, where the machine counts it", "its training takes {} J"),
}
SUMMARISED = ("train_seconds", "train_memory_gb", "num_steps")  # in the block of measure/summary.py
# Not known before the weights have answered, and of the machine's moods: a run that is beyond is no verdict yet (next_step.py).
OF_COMMANDS = ("train_seconds", "startup_seconds", "joules")  # where a command is measured: its measurements, its guard
SCORING = ("latency_ms", "answers_per_second", "memory_gb", "joules")


def of(result: RunResult, joules: float | None = None) -> dict[str, float]:
    """Those of a run that are known, also in ledgers from before they had a name."""
    rows, seconds = (result.costs["rows"], result.costs["all_rows"][0]) if result.costs else (None, None)
    known = {
        "answers_per_second": rows / seconds if rows and seconds else None,
        "checkpoint_mb": _over(result.checkpoint_bytes, 2**20),
        "params": result.num_params,  # as train.py says, where nobody has counted
        "train_memory_gb": _over(result.peak_memory_bytes, 2**30),
        "train_seconds": result.training_seconds,
        "startup_seconds": result.startup_seconds,
        "num_steps": result.num_steps,
        "tokens_per_second": _over(result.total_tokens, result.training_seconds),
        "joules": joules,
    }
    return {name: float(value) for name, value in known.items() if value is not None} | (result.measured or {})


def _over(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None


def medians(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each quantity, over the runs that know it."""
    runs = list(runs)
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}


def spread(name: str, at: float, groups: Iterable[list[float]]) -> float | None:
    """The standard deviation of a quantity between runs of one commit, about the value `at`; None where none ran twice.

    groups: of each commit its runs'. What takes twice as long varies twice as much; of a task's own quantities, which may be
    differences, that is not assumed.
    """
    squares, dof = 0.0, 0
    for values in groups:
        if len(values) > 1:
            scale = at / statistics.mean(values) if name in QUANTITIES and any(values) else 1.0
            squares += statistics.variance(values) * scale**2 * (len(values) - 1)
            dof += len(values) - 1
    return math.sqrt(squares / dof) if dof else None


def lines(known: Mapping[str, float]) -> list[str]:
    """As they stand below a summary block, without those that are in it."""
    return [f"{name + ': ':<18}{figure(value)}" for name, value in known.items() if name not in SUMMARISED]


def figure(value: float, beside: float | None = None) -> str:
    """For a person: four digits, or as many as tell it from another figure that stands beside it."""
    for digits in (4, 7, 10, 17):
        text = _figure(value, digits)
        if beside is None or value == beside or text != _figure(beside, digits):
            break
    return text


def _figure(value: float, digits: int) -> str:
    whole = len(f"{abs(value):.0f}")
    return f"{value:,.{max(digits, whole)}g}" if whole <= 15 else f"{value:.{digits}g}"
