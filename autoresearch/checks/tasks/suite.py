"""The contracts of a task, one after the other: `check(subject)` gives a `Checked` for each as it is known.

The tables are at the end, one for each way of scoring; docs/design/tasks-check.md says what each shows, and what none shows.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from autoresearch.checks.conformance.contracts import FAIL, NOT_APPLICABLE, Checked, Contract, Fault, NotApplicable, tried
from autoresearch.checks.tasks import data, scores
from autoresearch.checks.tasks.subject import Subject, told
from autoresearch.errors import AutoresearchError, RunFailed, UsageError
from autoresearch.task.table import Table


def check(subject: Subject) -> Iterator[Checked]:
    """Every contract's outcome, in the table's order. Raises UsageError for a call that asks for what the task has not."""
    guarded = (replace(contract, function=_guarded(contract.function)) for contract in CONTRACTS[subject.table.scoring])
    yield from tried(tuple(guarded), subject, "task.py or train.py")


def _guarded(function: Callable[[Subject], str]) -> Callable[[Subject], str]:
    """What the task's own code raises is a fault of the task's."""

    def tried_out(subject: Subject) -> str:
        try:
            return function(subject)
        except (Fault, NotApplicable):
            raise
        except RunFailed as failure:
            raise RunFailed(failure.kind, told(failure.reason, subject.folder)) from failure
        except AutoresearchError as error:
            if function is data.task_py or not isinstance(error, UsageError):  # the call's data or options, and the machine
                raise
            raise Fault(str(error)) from error
        except Exception as error:  # another project's code
            folder, frames = str(subject.table.folder), traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if frame.filename.startswith(folder)]
            if not own:
                raise
            place = f"{Path(own[-1].filename).relative_to(folder).as_posix()}, line {own[-1].lineno}"
            raise Fault(f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:300]}; mend it there") from error

    return tried_out


def unreadable(table: Table) -> Iterator[Checked]:
    """The same for a task whose task.toml is no good: the problem, and nothing of the rest."""
    first, *others = CONTRACTS[table.scoring]
    yield Checked(first.name, FAIL, detail=f"{table.problem}; mend it there")
    for contract in others:
        yield Checked(contract.name, NOT_APPLICABLE, detail=f"needs: {first.name}")


_FOLDER = (
    Contract("task.toml", data.task_toml),
    Contract("task.py", data.task_py, ("task.toml",)),
)
CONTRACTS: dict[str, tuple[Contract[Subject], ...]] = {
    "answers": (
        *_FOLDER,
        Contract("train.py", data.train_py, ("task.toml",)),
        Contract("program.md", data.told_agents, ("train.py",)),
        Contract("prepared twice", data.prepared_twice, ("task.py",)),
        Contract("splits", data.splits, ("task.py",)),
        Contract("no question is fed", data.not_fed, ("splits",)),
        Contract("targets are not told", data.not_told, ("splits",)),
        Contract("feed", data.feed, ("splits",)),
        Contract("losses", scores.losses, ("splits",)),
        Contract("losses, one by one", scores.by_item, ("losses",)),
        Contract("direction", scores.direction, ("losses",)),
        Contract("sealed", scores.sealed, ("splits",)),
        Contract("trains", scores.trains, ("train.py", "feed", "losses, one by one", "direction")),
        Contract("limits", scores.limits, ("trains",)),
        Contract("asked again", scores.asked_again, ("trains",)),
        Contract("one seed, one training", scores.one_seed, ("trains",)),
        Contract("a constant loses", scores.constant_answers, ("asked again",)),
        Contract("shuffled answers lose", scores.shuffled_answers, ("asked again",)),
        Contract("splits are alike", scores.alike, ("asked again",)),
    ),
    "command": (
        *_FOLDER,
        Contract("prepared twice", data.prepared_twice, ("task.py",)),
        Contract("measured twice", scores.measured, ("task.py",)),
    ),
}
