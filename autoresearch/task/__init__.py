"""A task: what is measured, on which data, and how a model is asked (contract.py). Found as backends are (table.py)."""

from typing import TYPE_CHECKING, Any

from autoresearch.metric import Metric
from autoresearch.task.table import Prepared, Source

if TYPE_CHECKING:
    from autoresearch.task.contract import Feed, InvalidAnswer, Questions, Task

__all__ = ["Feed", "InvalidAnswer", "Metric", "Prepared", "Questions", "Source", "Task"]


def __getattr__(name: str) -> Any:
    """What needs numpy is loaded when it is used: `--help` reads the tables alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autoresearch.task import contract

    return getattr(contract, name)
