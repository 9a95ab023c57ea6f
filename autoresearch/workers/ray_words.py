"""What goes between the loop's process and the one that speaks with Ray, and what a node is given: values, without Ray."""

from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.workers.work import Said


@dataclass(frozen=True)
class Inputs:
    """What a node needs of a study."""

    name: str  # of the study's folder in a node's cache
    terms: str  # study.toml
    sandbox: int  # the level of its cells
    # Folders of <cache>/data that its runs read: checksums and sizes of their files by name (describe).
    prepared: dict[str, dict[str, dict[str, int | str]]]
    cache: str  # where they are on the machine that decides
    task: dict[str, bytes] = field(default_factory=dict)  # the files of a task that is a folder of the user's
    task_name: str | None = None
    threads: str | None = None  # OMP_NUM_THREADS, which Ray sets anew for its actors


@dataclass(frozen=True)
class Call:
    """What is asked of Ray."""

    inputs: Inputs
    runs: Path  # where the runs' folders are
    accelerator: str | None  # Ray's name of the device that each worker has; None: processors
    per_run: int | None  # cores of each, where workers share the processors
    simulated: bool  # workers take nothing of each other
    processors: bool  # a run has all that there are
    fixed: dict[str, str]


@dataclass(frozen=True)
class Unreachable:
    """There is no such cluster, or it can't be joined."""

    problem: str
    cure: str


@dataclass(frozen=True)
class Joined:
    address: str


@dataclass(frozen=True)
class Looked:
    """After the first look at all nodes."""

    seats: int  # that were asked for
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Heard:
    """A seat is a place for a worker; its number here is no worker's (ray_crew.py)."""

    seat: int
    node: str  # its address
    is_home: bool
    said: Said
