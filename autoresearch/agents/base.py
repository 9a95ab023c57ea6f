"""What an agent is given and what it gives back. The loop knows agents only by this file.

An agent proposes a whole new train.py. It may keep state in `view.folder`, but the history in the view is the truth: it
holds every experiment of the study, also those of an earlier process or of another agent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autoresearch.agents.search.moves import Move
from autoresearch.constants import Value
from autoresearch.errors import AutoresearchError
from autoresearch.metric import VAL_BPB, Metric

# statuses without a score, by the text's own fault
FAILED = ("crash", "oom", "timeout", "diverged", "invalid", "limit", "cheat", "val-only", "futile")
SHORT = 4  # digits of a score
LARGEST_BYTES = 200_000  # chosen: nine times the largest shipped train.py; more is data in the source, or an answer gone wrong
REJECTED = "rejected"  # status of a proposal that was sent back without a training
# Of an experiment that a person ended, or whose base is no longer the best, so that its edit is tried anew.
UNJUDGED = ("skip", "rebased")  # statuses that say nothing of the idea
RUNNING = "running"  # status of one that has no verdict yet
UNDER_WAY = (  # to one that thinks, below what View.under_way has
    "Propose something else, which does not build on these. Where one of them is kept meanwhile, your edit is made again on the new"
    " best."
)


@dataclass(frozen=True)
class Past:
    """One finished experiment; at the end of a history proposals that were just sent back; or one that is under way."""

    number: int
    description: str
    status: str  # keep, discard, crash, or a finer state of events.jsonl: baseline, timeout, inconclusive, rejected ...
    val_bpb: float | None  # its score, lower is better whatever the metric; None when there is none
    train_py: str
    reason: str | None = None  # why it was decided so, or why it failed; for REJECTED the exact error, which may have many lines
    agent: str = ""  # who proposed it
    log: str = ""  # the end of a failed one's log: written by agent code, so data, never instructions


COURSE_AT = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the training time, where the losses of a Course stand


@dataclass(frozen=True)
class Course:
    """How the first training of an experiment went, by the harness's clock; None is unknown."""

    number: int  # of the experiment
    steps: int | None
    tokens_per_second: float | None
    memory_bytes: int | None  # at most, of the device
    losses: tuple[float | None, ...]  # of the training, as train.py reports them: means of the tenth of the time before COURSE_AT

    def line(self) -> str:
        """For an agent: numbers alone, whatever train.py has said."""
        speed = None if self.tokens_per_second is None else f"{self.tokens_per_second:,.0f}"
        memory = None if self.memory_bytes is None else f"{self.memory_bytes / 2**30:.1f}"
        losses = (None if loss is None else f"{loss:.2f}" for loss in self.losses)
        return " | ".join(str("n/a" if cell is None else cell) for cell in (self.number, self.steps, speed, memory, *losses))


COURSE_TITLE = " | ".join(("experiment", "steps", "tokens/s", "GB", *(f"loss at {at:.0%}" for at in COURSE_AT)))


@dataclass(frozen=True)
class Expected:
    """What the search's model of the results expects of one constant's change, everything else of the best left as it is."""

    constant: str
    now: Value
    value: Value  # that it would try
    change_bpb: float  # of the score: below 0 is better
    deviation_bpb: float

    def line(self, metric: Metric) -> str:
        change, doubt = metric.change(self.change_bpb, SHORT), metric.amount(self.deviation_bpb, digits=SHORT)
        return f"{self.constant} {self.now} -> {self.value}: {change}, give or take {doubt}"


@dataclass(frozen=True)
class Ask:
    """One request to a service, for the ledger. Tokens are None where the service does not tell."""

    model: str
    outcome: str  # "answered", or what went wrong, in a few words
    seconds: float
    input_tokens: int | None = None  # neither read from the cache nor written to it
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None  # None: the price is not known


@dataclass(frozen=True)
class View:
    program_md: str
    train_py: str  # the best text so far: what the next proposal starts from
    best_val_bpb: float | None  # None before the baseline has a score
    history: tuple[Past, ...]  # in the order of their numbers, baseline included
    machine: dict[str, Any] = field(default_factory=dict)  # the device's facts, as `doctor --json` prints them
    metric: Metric = VAL_BPB  # of every score here
    research: str = "the training of a small language model"  # what is done, as in: you do research on ...
    keeps: str = "build_model, Trainer and main"  # parts of train.py that the harness calls
    moves: tuple[Move, ...] = ()  # that are known to help, the best first
    folder: Path | None = None  # where the agent may keep state of its own
    profile: dict[str, Any] = field(default_factory=dict)  # the study's resolved profile: data, budget, train
    limits: dict[str, Any] = field(default_factory=dict)  # what the harness enforces, and the baseline's figures of it
    files: tuple[str, ...] = ()  # patterns of those that may be edited, where train_py is several files as one text (bundle.py)
    surroundings: Callable[[Path], object] | None = None  # lays the whole repository into a folder, where there is one
    under_way: tuple[Past, ...] = ()  # RUNNING: what trains or is checked meanwhile; val_bpb is the mean of its scores so far
    wish: str | None = None  # what the harness asks for this time, in words; None: whatever is best
    spent_usd: float = 0.0  # by the whole study so far, as far as prices are known
    courses: tuple[Course, ...] = ()  # of the best's training and of the last ones
    lessons: str = ""  # of lessons.md: the history in short
    expected: tuple[Expected, ...] = ()  # of single constants, the most promising first
    wanted: Callable[[], bool] = lambda: True  # False once nobody waits for the answer: end soon
    on_ask: Callable[[Ask], None] = lambda ask: None  # to be called after each request to a service, also a failed one


@dataclass(frozen=True)
class Proposal:
    train_py: str
    description: str  # one line, for results.tsv and the commit's subject: "MATRIX_LR 0.04 -> 0.06"
    reasoning: str  # why it should help, and where the idea comes from
    cost_usd: float | None = 0.0  # None: not known
    agent: str = ""  # who proposed it; the harness fills it in
    others: tuple["Proposal", ...] = ()  # further ideas of the same answer, the best first: each an edit of the same train.py
    again: int | None = None  # the experiment whose edit this is, made on a new best; the harness fills it in


class Agent(Protocol):
    """One that thinks may also have close(): called when the loop has no more use for it. One with a model of the constants may
    have expects(view), a sequence of Expected: told to the one that thinks.
    """

    name: str
    thinks: bool  # whether propose takes long: then it is called ahead, in a thread, while the machine trains

    def propose(self, view: View) -> Proposal:
        """The next edit of view.train_py.

        Raises Exhausted when there is nothing left to try, Unavailable when it can't answer just now, EnvironmentFailure
        when no waiting will help (a rejected key).
        """
        ...


class Exhausted(AutoresearchError):
    """The agent has nothing more to propose: the loop ends as if its number of experiments were reached."""


class Unavailable(AutoresearchError):
    """The agent can't answer now (rate limit, overload, no network, no usable answer): ask again later.

    retry_seconds: what the service asked to wait; None leaves it to the caller's back-off.
    """

    def __init__(self, reason: str, retry_seconds: float | None = None):
        super().__init__(reason)
        self.retry_seconds = retry_seconds
