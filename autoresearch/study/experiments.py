"""An experiment as the ledger tells of it, with its runs: records that State (state.py) makes and changes."""

import itertools
import math
import statistics
from dataclasses import dataclass, field
from datetime import datetime

from autoresearch.measure.summary import RunResult
from autoresearch.noise import Scored
from autoresearch.run import quantities
from autoresearch.study import events
from autoresearch.study.decide import CHECK_RUNS


@dataclass
class Run:
    """One training of an experiment. No result and not lost: under way, or cut short by a kill."""

    k: int  # from 1
    seed: int
    folder: str  # under .autoresearch/runs
    sandbox: int | None = None  # the level of its cell; None in ledgers from before there was one
    worker: int | None = None  # which of several made it, from 1
    result: RunResult | None = None
    joules: float | None = None  # that the training took; None: not known
    disturbed: str | None = None  # why it would not have counted, had it not been the last try

    @property
    def quantities(self) -> dict[str, float]:
        """What was measured beside its score (run/quantities.py); empty without one."""
        return quantities.of(self.result, self.joules) if self.result and self.result.ok else {}


@dataclass(frozen=True)
class Invalid:
    """A training that did not count, since the machine was disturbed."""

    k: int
    state: str
    reason: str


@dataclass(frozen=True)
class Audit:
    """Of one run's weights; see loop/audits.py."""

    k: int
    cuts: int
    allowed: tuple[float, float]  # nats: of one log-probability, of the mean
    reason: str | None  # why it failed


@dataclass(frozen=True)
class Slice:
    """A run's score on the audit slice, and its gains on both texts over another's; see loop/audit_slice.py."""

    k: int
    place: str  # baseline, keep, end; again: only scored anew, for another to be compared with
    against: int | None  # that other experiment
    bpb: float | None  # None: it could not be scored
    documents: str | None  # digest of the file with the bits of each document
    gain_val: tuple[float, float | None] | None  # bits per byte, and their standard error, where it is known
    gain_slice: tuple[float, float | None] | None
    reason: str | None  # why it may not be kept; of the baseline: why the slice decides nothing


@dataclass
class Experiment(Scored):
    number: int  # 0 is the baseline
    commit: str
    parent: str | None
    blob: str  # git's id of its train.py
    key: str  # the same for texts that are the same program
    description: str
    reasoning: str
    agent: str
    cost_usd: float | None  # of the requests that made it; None: not known
    started: str
    base: int | None = None  # with several workers: the experiment that it is judged against
    rebased_from: int | None = None  # the experiment whose edit this is, made again on another best
    runs: list[Run] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)
    verdict: str | None = None  # keep, discard or crash; None while pending
    # baseline, keep, discard, inconclusive, crash, oom, diverged, timeout, invalid, limit, cheat, val-only, skip, rebased
    state: str | None = None
    reason: str | None = None
    scores: list[float] = field(default_factory=list)  # of the runs that the verdict was made from
    again: list[float] = field(default_factory=list)  # of the runs since then, while it was the best
    wanted: int = 0  # how many of those `noise` was asked for
    audits: list[Audit] = field(default_factory=list)
    tests: dict[int, float] = field(default_factory=dict)  # run -> bits per byte on the test text
    slices: list[Slice] = field(default_factory=list)
    skipped: bool = False  # somebody wants it ended
    decided: str | None = None  # when it got its verdict

    @property
    def was_chosen(self) -> bool:
        """As Scored's; how often an experiment of a transfer runs is fixed before its first score."""
        return self.number > 0 and self.agent != events.TRANSFER

    @property
    def outcome(self) -> str | None:
        """What a reader calls it: its verdict; baseline for the one that all are held against, skip for what a person ended,
        rebased for what goes on as another experiment.
        """
        if self.state in (events.SKIPPED, events.REBASED):
            return self.state
        return "baseline" if self.number == 0 and self.verdict == "keep" else self.verdict

    @property
    def seconds(self) -> float | None:
        """From its start to its verdict."""
        if not self.decided or not self.started:
            return None
        seconds = (datetime.fromisoformat(self.decided) - datetime.fromisoformat(self.started)).total_seconds()
        return seconds if seconds >= 0 else None  # the computer's clock was set back in between

    @property
    def weighty(self) -> list[Run]:
        """The runs whose weights stay while it is the best: those of its verdict, which are audited, and of its check."""
        return self.runs[: len(self.scores) + max(CHECK_RUNS.values())]

    @property
    def fair_runs(self) -> list[Run]:
        """As `fair`: what the test text is scored on. Not cut down to runs that succeeded."""
        return self.runs[len(self.scores) :] if self.again and self.was_chosen else self.runs

    @property
    def test_bpb(self) -> float | None:
        """Mean over the runs that were tested."""
        return math.fsum(self.tests.values()) / len(self.tests) if self.tests else None

    @property
    def counted(self) -> list[float]:
        """Those that take part in decisions: all."""
        return self.scores + self.again

    @property
    def can_rerun(self) -> bool:
        """Whether it is worth another run: none has failed yet."""
        return all(result.ok for result in self.results)

    @property
    def unfinished(self) -> Run | None:
        """Its run that has no result yet; of several workers' the first."""
        return next((run for run in self.runs if run.result is None), None)

    @property
    def next_k(self) -> int:
        """Of its next run: the first that it has not, since one of several at once may be lost."""
        return next((k for k, run in enumerate(self.runs, 1) if run.k != k), len(self.runs) + 1)

    def run(self, k: int) -> Run:
        return next(run for run in self.runs if run.k == k)

    @property
    def results(self) -> list[RunResult]:
        return [run.result for run in self.runs if run.result is not None]

    @property
    def settled(self) -> list[RunResult]:
        """Those before the first run that has none yet. What decides is asked in the order of the runs, and not of their ends: a
        train.py could see to it that a lucky one ends first.
        """
        before = itertools.takewhile(lambda numbered: numbered[0] == numbered[1].k, enumerate(self.runs, 1))
        return [
            run.result for run in itertools.takewhile(lambda run: run.result is not None, (run for _, run in before)) if run.result
        ]

    @property
    def startup_seconds(self) -> float | None:
        """The usual one of its runs."""
        known = [result.startup_seconds for result in self.results if result.startup_seconds is not None]
        return statistics.median(known) if known else None

    @property
    def quantities(self) -> dict[str, float]:
        """The median of each over its runs."""
        return quantities.medians(run.quantities for run in self.runs)

    @property
    def peak_memory_bytes(self) -> int | None:
        return max((result.peak_memory_bytes for result in self.results if result.peak_memory_bytes), default=None)


@dataclass(frozen=True)
class Skipped:
    """A line of the ledger that says what can't be."""

    line: int
    event: str
    reason: str


@dataclass
class Spent:
    """What the trainings that ended with a result took, in all."""

    trainings: int = 0
    trained_seconds: float = 0.0
    total_seconds: float = 0.0  # with start-up and scoring
    joules: float = 0.0
    metered: int = 0  # trainings whose energy is known

    def add(self, run: Run, result: RunResult) -> None:
        self.trainings += 1
        self.trained_seconds += result.training_seconds or 0.0
        self.total_seconds += result.total_seconds or 0.0
        self.joules += run.joules or 0.0
        self.metered += run.joules is not None
