"""What goes between the loop and its workers: an order for one run, and what a worker says of it. Values only: they are pickled.

The other side is our own code, never agent code: that runs in the cells which a worker starts, as it does with one worker.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from autoresearch.measure.summary import RunResult
from autoresearch.run.bounds import Bounds
from autoresearch.run.constraints import Constraints
from autoresearch.run.futility import Futility
from autoresearch.run.setup import Progress


@dataclass(frozen=True)
class Order:
    """One run: what it is made of, and what the baseline has shown so far (run/setup.py's Setup)."""

    id: int
    text: str
    seed: int
    folder: str  # under the study's runs
    waits: bool  # at READY for the word to go: a proposal, which is an experiment only then
    constraints: Constraints = field(default_factory=Constraints)
    baseline: str | None = None
    bounds: Bounds | None = None
    futility: Futility | None = None


@dataclass(frozen=True)
class Here:
    """The worker is ready for its first order."""

    device: str  # its class: only workers of one class compare
    device_id: str | None = None
    processors: frozenset[int] = frozenset()  # that its runs are bound to; empty: any
    variables: Mapping[str, str] = field(default_factory=dict)  # of the environment, that take its device
    is_child: bool = False  # a child of the loop's process, whose load can be told from others'


@dataclass(frozen=True)
class Ready:
    """The order's process has compiled and made two steps, and waits."""

    id: int


@dataclass(frozen=True)
class Under:
    """How far it is."""

    id: int
    progress: Progress


@dataclass(frozen=True)
class Refused:
    """It failed before READY, by its text's fault: child.RunFailed."""

    id: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Done:
    """It trained and was scored, or failed by its text's fault."""

    id: int
    result: RunResult
    asleep_seconds: float = 0.0  # of its machine, while it trained


@dataclass(frozen=True)
class Failed:
    """The machine's failure: the run is lost."""

    id: int
    reason: str


@dataclass(frozen=True)
class Ended:
    """It was to end, and has: nothing of it is left."""

    id: int


@dataclass(frozen=True)
class Gone:
    """The worker is no more: killed, or its machine left. A new one is on its way, or comes with the next machine, and says Here,
    unless it is for good."""

    reason: str
    for_good: bool = False


@dataclass(frozen=True)
class Note:
    """Of no worker: what a person may want to know, such as a machine that is left out."""

    text: str


Said = Here | Ready | Under | Refused | Done | Failed | Ended | Gone | Note
LAST = (Refused, Done, Failed, Ended)  # what a worker says last of an order


class Crew(Protocol):
    """The workers, wherever they are: numbered from 1. A worker has one order at a time."""

    @property
    def count(self) -> int:
        """How many there are to be. It may grow: what a worker beyond it says first is Here."""
        ...

    def order(self, worker: int, order: Order) -> None: ...

    def go(self, worker: int) -> None:
        """To the one that said Ready."""
        ...

    def end(self, worker: int) -> None:
        """Its order is not wanted any more; it says Ended, unless it had said its last word before."""
        ...

    def take(self, seconds: float) -> Sequence[tuple[int, Said]]:
        """What was said since the last call; waits so long for the first. KeyboardInterrupt may break it."""
        ...

    def is_home(self, worker: int) -> bool:
        """Whether it is on this machine, so that what it does not use an audit here may use."""
        ...

    def lent(self, worker: int) -> AbstractContextManager[None]:
        """What is started meanwhile by this thread has what that worker, which is free and at home, has of the processors."""
        ...

    def close(self) -> None:
        """End all; nothing of them is left."""
        ...
