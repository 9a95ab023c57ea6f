"""Where a study stands: a pure fold over the events of its ledger (ledger.py says what they hold).

Promises: it raises nothing, whatever JSON values stand in the place of events. One that is not as schema.py says, or has no place
(places.py) among the events before it, changes nothing and is noted in `skipped`.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from autoresearch.errors import LedgerRefusal
from autoresearch.loop.decide import CHECK_RUNS
from autoresearch.measure.summary import RunResult
from autoresearch.noise import Gain, Noise, Scored, gain, pooled_noise
from autoresearch.run.validity import Reference
from autoresearch.study import places, schema
from autoresearch.text import one_line


@dataclass
class Run:
    """One training of an experiment. No result and not lost: under way, or cut short by a kill."""

    k: int  # from 1
    seed: int
    folder: str  # under .autoresearch/runs
    sandbox: int | None = None  # the level of its cell; None in ledgers from before there was one
    result: RunResult | None = None
    disturbed: str | None = None  # why it would not have counted, had it not been the last try


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
    gain_val: tuple[float, float] | None  # bits per byte, and their standard error
    gain_slice: tuple[float, float] | None
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
    cost_usd: float  # of the requests that made it
    started: str
    runs: list[Run] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)
    verdict: str | None = None  # keep, discard or crash; None while pending
    # baseline, keep, discard, inconclusive, crash, oom, diverged, timeout, invalid, limit, cheat, val-only
    state: str | None = None
    reason: str | None = None
    scores: list[float] = field(default_factory=list)  # of the runs that the verdict was made from
    again: list[float] = field(default_factory=list)  # of the runs since then, while it was the best
    wanted: int = 0  # how many of those `noise` was asked for
    audits: list[Audit] = field(default_factory=list)
    tests: dict[int, float] = field(default_factory=dict)  # run -> bits per byte on the test text
    slices: list[Slice] = field(default_factory=list)

    @property
    def weighty(self) -> list[Run]:
        """The runs whose weights stay while it is the best: those of its verdict, which are audited, and of its check."""
        return self.runs[: len(self.scores) + max(CHECK_RUNS.values())]

    @property
    def fair_runs(self) -> list[Run]:
        """As `fair`: what the test text is scored on. Not cut down to runs that succeeded."""
        return self.runs[len(self.scores) :] if self.again and self.number > 0 else self.runs

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
        """Its run that has no result yet."""
        return self.runs[-1] if self.runs and self.runs[-1].result is None else None

    @property
    def results(self) -> list[RunResult]:
        return [run.result for run in self.runs if run.result is not None]

    @property
    def startup_seconds(self) -> float | None:
        """The usual one of its runs."""
        known = [result.startup_seconds for result in self.results if result.startup_seconds is not None]
        return statistics.median(known) if known else None

    @property
    def peak_memory_bytes(self) -> int | None:
        return max((result.peak_memory_bytes for result in self.results if result.peak_memory_bytes), default=None)


@dataclass(frozen=True)
class Rejection:
    """A proposal that failed in its two steps before the clock: never an experiment, but known."""

    number: int  # of the experiment that it would have been
    commit: str
    description: str
    agent: str
    state: str  # crash, oom, timeout, diverged, invalid, limit
    reason: str
    log: str  # the end of its log


@dataclass(frozen=True)
class Waiting:
    """A proposal that is ready and was not tried yet."""

    agent: str
    commit: str
    base: str  # the commit whose train.py it edits
    description: str
    reasoning: str
    cost_usd: float


@dataclass(frozen=True)
class Skipped:
    """A line of the ledger that says what can't be."""

    line: int
    event: str
    reason: str


_SHOWN = 3  # of those, in the one line about them


@dataclass
class State:
    """Where a study stands, from its events alone."""

    study: dict = field(default_factory=dict)
    experiments: list[Experiment] = field(default_factory=list)
    best: Experiment | None = None  # the last keep
    keys: dict[str, int] = field(default_factory=dict)  # program -> the experiment that tried it
    rejections: list[Rejection] = field(default_factory=list)
    rejected_keys: dict[str, str] = field(default_factory=dict)  # program -> why it failed before its training
    waiting: Waiting | None = None
    mix: dict | None = None  # the last such event
    blobs: set[str] = field(default_factory=set)  # every train.py text of the study
    results: int = 0  # runs that ended with a result; seeds are counted by it
    lost: int = 0
    invalid: int = 0
    reference: Reference = field(default_factory=Reference)  # what is normal on this machine
    rejected: int = 0
    asked: int = 0
    cost_usd: float = 0.0  # of all requests whose price is known
    last_stop: str | None = None
    skipped: list[Skipped] = field(default_factory=list)

    @classmethod
    def from_events(cls, events: Iterable[dict]) -> "State":
        state = cls()
        for line, event in enumerate(events, 1):
            state.apply(event, line)
        return state

    @property
    def skipped_line(self) -> str | None:
        """One line about what was skipped, where something was."""
        if not self.skipped:
            return None
        which = "; ".join(f"line {one.line}, {one.event}: {one.reason}" for one in self.skipped[:_SHOWN])
        rest = f"; and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
        return f"skipped {len(self.skipped)} of the ledger's lines, which say what can't be ({which}{rest})"

    @property
    def pending(self) -> Experiment | None:
        """The experiment that has no verdict yet: at most one, the last."""
        return self.experiments[-1] if self.experiments and self.experiments[-1].verdict is None else None

    @property
    def baseline(self) -> Experiment | None:
        return self.experiments[0] if self.experiments else None

    @property
    def noise(self) -> Noise | None:
        """The spread between seeds on this machine, from the baseline and what was kept (noise.py says why)."""
        return pooled_noise([one.noise_group for one in self.experiments if one.verdict == "keep"])

    @property
    def unfinished(self) -> Experiment | None:
        """The experiment whose run was begun and has no result: the pending one, or the best that is measured again."""
        return next((one for one in (self.pending, self.best) if one and one.unfinished), None)

    @property
    def gain(self) -> Gain | None:
        """How far the best lies below the baseline; None while it is the baseline."""
        if self.best is None or self.best.number == 0:
            return None
        return gain(self.baseline.fair, self.best.fair, self.noise)

    @property
    def slice_gain(self) -> Slice | None:
        """The best's gains over the baseline, on the audit slice and beside it on the validation text; None: not known."""
        if self.best is None or self.best.number == 0:
            return None
        return next((one for one in reversed(self.best.slices) if one.against == 0 and one.gain_slice), None)

    @property
    def val_only(self) -> list[int]:
        """The experiments that would be keeps, had they not gained on the validation text alone."""
        return [one.number for one in self.experiments if one.state == "val-only"]

    def next_seed(self) -> int:
        """Fresh for every result. A lost run is done again with the seed that it had, so a kill changes no number."""
        return self.study["seed"] + self.results

    def counts(self) -> dict[str, int]:
        """keep, discard and crash; the baseline is none of them."""
        words = [experiment.verdict for experiment in self.experiments[1:]]
        return {word: words.count(word) for word in ("keep", "discard", "crash")}

    def apply(self, event: dict, line: int = 0) -> bool:
        """Take one event in, or skip it. Whether it was taken; one that is not known here is, and changes nothing."""
        wrong = schema.entry_objection(event) or places.objection(self, event["event"], event)
        if wrong:
            name = event.get("event") if isinstance(event, dict) else None
            self.skipped.append(Skipped(line, one_line(name, 20) if isinstance(name, str) else "n/a", wrong))
            return False
        if event["event"] in schema.EVENTS and (handler := getattr(self, f"_on_{event['event']}", None)):
            handler(event)
        return True

    def demand(self, event: str, fields: dict) -> None:
        """LedgerRefusal for an event that can't be written next."""
        fields = schema.fit(fields)
        if wrong := schema.objection(event, fields) or places.objection(self, event, fields):
            raise LedgerRefusal(event, wrong)

    def _on_study(self, event: dict) -> None:
        self.study = event

    def _on_asked(self, event: dict) -> None:
        self.asked += 1
        self.cost_usd += event["cost_usd"] or 0.0

    def _on_proposed(self, event: dict) -> None:
        self.waiting = Waiting(**{name: event[name] for name in Waiting.__dataclass_fields__})

    def _on_mix(self, event: dict) -> None:
        self.mix = event

    def _on_rejected(self, event: dict) -> None:
        self.rejected += 1
        self._no_longer_waiting(event["agent"])
        if event.get("commit"):
            names = ("commit", "description", "agent", "state", "reason", "log")
            self.rejections.append(Rejection(event["n"], **{name: event[name] for name in names}))
            self.rejected_keys[event["key"]] = event["reason"]

    def _no_longer_waiting(self, agent: str) -> None:
        if self.waiting and self.waiting.agent == agent:
            self.waiting = None

    def _on_start(self, event: dict) -> None:
        names = ("commit", "parent", "blob", "key", "description", "reasoning", "agent", "cost_usd")
        started = Experiment(event["n"], started=event["time"], **{name: event[name] for name in names})
        if self.best is None:
            self.experiments.clear()  # a baseline that failed is tried again as number 0
        self.experiments.append(started)
        self.keys.setdefault(started.key, started.number)
        self.blobs.add(started.blob)
        self._no_longer_waiting(started.agent)

    def _on_begin(self, event: dict) -> None:
        self.experiments[event["n"]].runs.append(Run(event["k"], event["seed"], event["folder"], sandbox=event.get("sandbox")))

    def _on_run(self, event: dict) -> None:
        experiment, result = self.experiments[event["n"]], RunResult.from_json(event)
        run = experiment.runs[-1]
        run.result = result
        if experiment.verdict is not None and result.ok:
            experiment.again.append(result.val_bpb)
        self.results += 1
        if watched := event.get("watched"):
            run.disturbed = watched["state"] and f"{watched['state']}: {watched['reason']}"
            self.reference.apply_run(watched)

    def _on_lost(self, event: dict) -> None:
        self.experiments[event["n"]].runs.pop()
        self.lost += 1

    def _on_invalid(self, event: dict) -> None:
        experiment = self.experiments[event["n"]]
        experiment.runs.pop()
        experiment.invalid.append(Invalid(event["k"], event["state"], event["reason"]))
        self.invalid += 1

    def _on_speed(self, event: dict) -> None:
        self.reference.apply_speed(event)

    def _on_verdict(self, event: dict) -> None:
        experiment = self.experiments[event["n"]]
        for name in ("verdict", "state", "reason", "scores"):
            setattr(experiment, name, event[name])
        if experiment.verdict == "keep":
            self.best = experiment

    def _on_audit(self, event: dict) -> None:
        audit = Audit(event["k"], event["cuts"], tuple(event["allowed"]), event["reason"])
        self.experiments[event["n"]].audits.append(audit)

    def _on_tested(self, event: dict) -> None:
        self.experiments[event["n"]].tests[event["k"]] = event["test_bpb"]

    def _on_slice(self, event: dict) -> None:
        fields = {name: event[name] for name in Slice.__dataclass_fields__}
        for name in ("gain_val", "gain_slice"):
            fields[name] = fields[name] and tuple(fields[name])
        self.experiments[event["n"]].slices.append(Slice(**fields))

    def _on_revoked(self, event: dict) -> None:
        revoked = self.experiments[event["n"]]
        revoked.verdict, revoked.state, revoked.reason = "discard", event.get("state", "cheat"), event["reason"]
        revoked.scores, revoked.again = [], []
        self.best = next(one for one in reversed(self.experiments) if one.verdict == "keep")

    def _on_noise(self, event: dict) -> None:
        self.experiments[event["n"]].wanted = event["wanted"]

    def _on_stop(self, event: dict) -> None:
        self.last_stop = event["reason"]


def sound(events: Iterable[dict]) -> list[dict]:
    """The events that a State takes in, for other folds over the same ledger."""
    state = State()
    return [event for line, event in enumerate(events, 1) if state.apply(event, line)]
