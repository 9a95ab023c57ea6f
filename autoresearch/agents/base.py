"""What an agent is given and what it gives back. The loop knows agents only by this file.

An agent proposes a whole new train.py. It may keep state in `view.folder`, but the history in the view is the truth: it
holds every experiment of the study, also those of an earlier process or of another agent.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autoresearch.errors import AutoresearchError


@dataclass(frozen=True)
class Past:
    """One finished experiment."""

    number: int
    description: str
    status: str  # keep, discard, crash, or a finer state of events.jsonl: baseline, timeout, inconclusive, ...
    val_bpb: float | None  # None when there is no score
    train_py: str
    reason: str | None = None  # why it was decided so, or why it failed; one line


@dataclass(frozen=True)
class View:
    program_md: str
    train_py: str  # the best text so far: what the next proposal starts from
    best_val_bpb: float | None  # None before the baseline has a score
    history: tuple[Past, ...]  # in the order of their numbers, baseline included
    machine: dict = field(default_factory=dict)  # the device's facts, as `doctor --json` prints them
    folder: Path | None = None  # where the agent may keep state of its own


@dataclass(frozen=True)
class Proposal:
    train_py: str
    description: str  # one line, for results.tsv and the commit's subject: "MATRIX_LR 0.04 -> 0.06"
    reasoning: str  # why it should help, and where the idea comes from
    cost_usd: float = 0.0


class Agent(Protocol):
    name: str

    def propose(self, view: View) -> Proposal:
        """The next edit of view.train_py. Raises Exhausted when there is nothing left to try."""
        ...


class Exhausted(AutoresearchError):
    """The agent has nothing more to propose: the loop ends as if its number of experiments were reached."""
