"""Where a study stands: a pure fold over the events of its ledger (ledger.py says what they hold).

The one fold: what decides, what is drawn and what is answered all read its result.

Promises: it raises nothing, whatever JSON values stand in the place of events. One that is not as events.py says, or has no place
(places.py) among the events before it, changes nothing and is noted in `skipped`.
"""

import itertools
import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from msgspec import UNSET

from autoresearch.errors import LedgerRefusal
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Gain, Noise, at_level, gain, mean, pooled_noise
from autoresearch.run import quantities
from autoresearch.run.constraints import Constraints
from autoresearch.study import events, places
from autoresearch.study.experiments import Audit, Experiment, Invalid, Run, Skipped, Slice, Spent
from autoresearch.study.validity import Reference
from autoresearch.text import described, one_line

_SHOWN = 3  # of those, in the one line about them
LATE_SECONDS = 1.0  # chosen: a start-up's own spread on a warm cache is less
USUAL = 20  # how many of the last experiments say how long one takes


@dataclass
class State:
    """Where a study stands, from its events alone.

    What is asked for after each event is counted as it comes (`spent`, `kept`, `counts`), and what is drawn of every experiment
    follows `changes`: so an event costs the same, however long the study is.
    """

    study: events.Study | None = None
    experiments: list[Experiment] = field(default_factory=list)
    best: Experiment | None = None  # the last keep
    workers: int = 1  # how many runs may be under way at once
    open: list[Experiment] = field(default_factory=list)  # without a verdict: with one worker at most one, the last
    under_way: dict[tuple[int, int], Run] = field(default_factory=dict)  # (experiment, k) -> run without a result
    to_rebase: list[int] = field(default_factory=list)  # experiments whose edit is to be made again, on the best
    kept: list[Experiment] = field(default_factory=list)  # in the order of their verdicts, the baseline first and the best last
    changes: list[int] = field(
        default_factory=list
    )  # which experiment each event was of; one that was sent back has the next number
    spent: Spent = field(default_factory=Spent)
    keys: dict[str, int] = field(default_factory=dict)  # program -> the experiment that tried it
    rejections: list[events.Rejected] = field(default_factory=list)  # what failed in its two steps before the clock: no experiments
    rejected_keys: dict[str, str] = field(default_factory=dict)  # program -> why it failed before its training
    lost_keys: dict[str, str] = field(default_factory=dict)  # program -> what it was, in a ledger that was lost
    waiting: list[events.Proposed] = field(default_factory=list)  # proposals that are ready and were not tried yet, in their order
    mix: events.Mix | None = None
    limits: Constraints | None = None  # that the owner has set since the study began
    blobs: set[str] = field(default_factory=set)  # every train.py text of the study
    results: int = 0  # runs that ended with a result
    seeds: set[int] = field(default_factory=set)  # of those, from the first that was not used on
    lost: int = 0
    invalid: int = 0
    reference: Reference = field(default_factory=Reference)  # what is normal on this machine
    rejected: int = 0
    asked: int = 0
    cost_usd: float = 0.0  # of all requests whose price is known
    unpriced: int = 0  # requests whose price is not
    requests: set[str] = field(default_factory=set)  # ids of those that were taken
    told: list[str] = field(default_factory=list)  # what was added to program.md
    handed: list[events.Handed] = field(default_factory=list)  # train.py texts of a person's, to be tried next
    paused: bool = False  # by a person
    last_stop: str | None = None
    last_startup_seconds: float | None = None  # of the last run that has a result
    skipped: list[Skipped] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: {"keep": 0, "discard": 0, "crash": 0})

    @classmethod
    def from_events(cls, entries: Iterable[object]) -> "State":
        state = cls()
        for line, entry in enumerate(entries, 1):
            state.apply(entry, line)
        return state

    @property
    def skipped_line(self) -> str | None:
        """One line about what was skipped, where something was."""
        if not self.skipped:
            return None
        which = "; ".join(f"line {entry.line}, {entry.event}: {entry.reason}" for entry in self.skipped[:_SHOWN])
        rest = f"; and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
        return f"skipped {len(self.skipped)} of the ledger's lines, which say what can't be ({which}{rest})"

    @property
    def pending(self) -> Experiment | None:
        """The experiment that has no verdict yet; of several workers' the first."""
        return self.open[0] if self.open else None

    @property
    def baseline(self) -> Experiment | None:
        return self.experiments[0] if self.experiments else None

    @property
    def baseline_failed(self) -> str | None:
        """How, where it did; it is tried again, and counts as no experiment."""
        first = self.baseline
        return first.state if first is not None and first.verdict not in (None, "keep") else None

    @property
    def metric(self) -> Metric:
        """Of the study's task."""
        return VAL_BPB if self.study is None or self.study.metric is UNSET else self.study.metric

    @property
    def noise(self) -> Noise | None:
        """The spread between seeds on this machine, from the baseline and what was kept (noise.py says why)."""
        return pooled_noise([experiment.noise_group for experiment in self.kept], self.metric)

    @property
    def noise_at_best(self) -> Noise | None:
        """What decides. Paired scores are ratios: what makes a program ten times as fast makes their spread ten times smaller."""
        if self.best is None or all(result.level is None for result in self.best.results):
            return self.noise
        groups = [experiment.noise_group for experiment in self.kept]
        return pooled_noise(at_level([group for group in groups if group], mean(self.best.counted)), self.metric) or self.noise

    def spread(self, quantity: str, at: float) -> float | None:
        """Its standard deviation between runs of one commit, about the value `at`: by the baseline and what was kept."""
        kept = self.kept or self.experiments[:1]  # the baseline, while it is measured
        groups = [[known[quantity] for run in one.runs if quantity in (known := run.quantities)] for one in kept]
        return quantities.spread(quantity, at, groups)

    @property
    def unfinished(self) -> Experiment | None:
        """The experiment whose run was begun and has no result: a pending one, or the best that is measured again."""
        return next((self.experiments[n] for n, _ in self.under_way), None)

    @property
    def gain(self) -> Gain | None:
        """How far the best lies below the baseline; None while it is the baseline."""
        if self.best is None or self.best.number == 0:
            return None
        return gain(self.experiments[0].fair, self.best.fair, self.noise)

    @property
    def test_gain(self) -> float | None:
        """How far the best lies below the baseline on the test text; None while it is the baseline, or where one was not tested."""
        first, best = self.baseline, self.best
        if first is None or best is None or best is first or first.test_bpb is None or best.test_bpb is None:
            return None
        return first.test_bpb - best.test_bpb

    @property
    def slice_gain(self) -> Slice | None:
        """The best's gains over the baseline, on the audit slice and beside it on the validation text; None: not known."""
        if self.best is None or self.best.number == 0:
            return None
        return next(
            (entry for entry in reversed(self.best.slices) if entry.against == 0 and entry.gain_val and entry.gain_slice), None
        )

    @property
    def val_only(self) -> list[int]:
        """The experiments that would be keeps, had they not gained on the validation text alone."""
        return [experiment.number for experiment in self.experiments if experiment.state == "val-only"]

    def next_seed(self, but: Collection[int] = ()) -> int:
        """Fresh for every result. A lost run is done again with the seed that it had, so a kill changes no number.

        but: seeds of other runs that are under way.
        """
        first = self.study.seed if self.study else 0
        taken = self.seeds.union(but)
        return next(seed for seed in itertools.count(first + self.results - len(self.seeds)) if seed not in taken)

    @property
    def decided(self) -> list[Experiment]:
        return [experiment for experiment in self.experiments if experiment.verdict is not None]

    @property
    def runs_again(self) -> Experiment | None:
        """The best, while it is measured again."""
        return next((self.experiments[n] for n, _ in self.under_way if self.experiments[n].verdict is not None), None)

    @property
    def experiment_seconds(self) -> float | None:
        """The usual time from one verdict to the next, with the wait for the proposal and its compilation.

        A median, since a night's sleep in between, or a pause, says nothing. Several workers' verdicts come in bunches, and not by
        their numbers: each is held against the one that is as many before it as there are workers.
        """
        last = self.experiments[-USUAL - self.workers :]
        times = [datetime.fromisoformat(one.decided) for one in last if one.decided and one.state != events.REBASED]
        if self.workers > 1:
            times.sort()
        rounds = zip(times, times[self.workers :], strict=False)
        known = [seconds for before, after in rounds if (seconds := (after - before).total_seconds()) >= 0]
        return statistics.median(known) / self.workers if known else None

    @property
    def late_startup(self) -> tuple[float, float] | None:
        """(the last run's, the baseline's) seconds, where the last is LATE_SECONDS longer."""
        usual, last = self.baseline.startup_seconds if self.baseline else None, self.last_startup_seconds
        return (last, usual) if last is not None and usual is not None and last - usual >= LATE_SECONDS else None

    def counts(self) -> dict[str, int]:
        """keep, discard and crash; the baseline is none of them, nor what was rebased: its edit counts where it is made again."""
        return dict(self._counts)

    def changed(self, since: int) -> set[int]:
        """The experiments that changed since `changes` had that length. One that is not there yet may be among them."""
        return set(self.changes[since:])

    def apply(self, entry: object, line: int = 0) -> bool:
        """Take one event in, or skip it. Whether it was taken; one that is not known here is, and changes nothing."""
        try:
            event = events.read(entry)
            wrong = places.objection(self, event) if event else None
        except ValueError as error:
            event, wrong = None, str(error)
        if wrong:
            name = entry.get("event") if isinstance(entry, dict) else None
            self.skipped.append(Skipped(line, one_line(name, 20) if isinstance(name, str) else "n/a", wrong))
            return False
        if event:
            self._take(event)
        return True

    def take(self, entry: dict[str, Any]) -> None:
        """`apply`, for a line of a ledger: it has its number."""
        self.apply(entry, entry["seq"])

    def demand(self, event: events.Event) -> None:
        """LedgerRefusal for an event that can't be written next."""
        if wrong := places.objection(self, event):
            raise LedgerRefusal(event.name, wrong)

    def _take(self, event: events.Event) -> None:
        if isinstance(name := getattr(event, "id", None), str):
            self.requests.add(name)
        if isinstance(number := getattr(event, "n", None), int):
            self.changes.append(number)
        match event:
            case events.Study():
                self.study = event
            case events.Limits():
                self.limits = event.constraints()
            case events.Tried():
                self.lost_keys[event.key] = event.description
            case events.Asked():
                self.asked += 1
                self.cost_usd += event.cost_usd or 0.0
                self.unpriced += event.cost_usd is None
            case events.Proposed():
                self.waiting.append(event)
            case events.Mix():
                self.mix = event
            case events.Rejected():
                self._reject(event)
            case events.Start():
                self._start(event)
            case events.Workers():
                self.workers = event.count
            case events.Begin():
                worker = None if event.worker is UNSET else event.worker
                run = Run(event.k, event.seed, event.folder, sandbox=event.sandbox, worker=worker)
                self.experiments[event.n].runs.insert(event.k - 1, run)
                self.under_way[event.n, event.k] = run
            case events.Run():
                self._end(event)
            case events.Lost():
                self._drop(event.n, event.k)
                self.lost += 1
            case events.Invalid():
                experiment = self.experiments[event.n]
                self._drop(event.n, event.k)
                experiment.invalid.append(Invalid(event.k, event.state, event.reason))
                self.invalid += 1
            case events.Speed():
                self.reference.apply_speed(event)
            case events.Verdict():
                self._decide(event)
            case events.Audit():
                audit = Audit(event.k, event.cuts, event.allowed, event.reason)
                self.experiments[event.n].audits.append(audit)
            case events.Tested():
                self.experiments[event.n].tests[event.k] = event.test_bpb
            case events.Slice():
                entry = Slice(**{key.name: getattr(event, key.name) for key in fields(Slice)})
                self.experiments[event.n].slices.append(entry)
            case events.Revoked():
                self._revoke(event)
            case events.Noise():
                self.experiments[event.n].wanted = event.wanted
            case events.Pause():
                self.paused = self.paused or event.id is not UNSET
            case events.Resume():
                self.paused = False
            case events.Told():
                self.told.append(event.text)
                self.waiting = [idea for idea in self.waiting if idea.rank is UNSET]  # further ideas knew nothing of it
            case events.Skip():
                experiment = self.experiments[event.n]
                experiment.skipped = experiment.skipped or experiment.verdict is None
            case events.Handed():
                self.handed.append(event)
            case events.Stop():
                self.last_stop = event.reason

    def _reject(self, event: events.Rejected) -> None:
        self.rejected += 1
        self._no_longer_waiting(event)
        if event.commit and event.key:
            self.rejections.append(event)
            self.rejected_keys[event.key] = event.reason

    def _no_longer_waiting(self, event: events.Start | events.Rejected) -> None:
        if event.again is not UNSET:
            self.to_rebase.remove(event.again)
            return
        if tried := next((idea for idea in self.waiting if _is_of(idea, event)), None):
            self.waiting.remove(tried)
        if event.agent == events.PERSON:
            del self.handed[:1]

    def _start(self, event: events.Start) -> None:
        started = Experiment(
            event.n, event.commit, event.parent, event.blob, event.key, event.description, event.reasoning, event.agent,
            event.cost_usd, started=event.time or "", base=None if event.base is UNSET else event.base,
            rebased_from=None if event.again is UNSET else event.again,
        )  # fmt: skip
        if self.best is None:
            self.experiments.clear()  # a baseline that failed is tried again as number 0
            self.spent = Spent()
        self.experiments.append(started)
        self.open.append(started)
        self.keys.setdefault(started.key, started.number)
        self.blobs.add(started.blob)
        self._no_longer_waiting(event)

    def _drop(self, n: int, k: int) -> None:
        """A run that ended without a result."""
        self.experiments[n].runs.remove(self.under_way.pop((n, k)))

    def _end(self, event: events.Run) -> None:
        experiment, result = self.experiments[event.n], event.result
        run = self.under_way.pop((event.n, event.k))
        run.result = result
        if experiment.verdict is not None and result.val_bpb is not None:
            experiment.again.append(result.val_bpb)
        self._use(run.seed)
        self.last_startup_seconds = result.startup_seconds
        if event.watched:
            run.joules = event.watched.joules
            run.disturbed = event.watched.state and f"{event.watched.state}: {event.watched.reason}"
            self.reference.apply_run(event.watched)
        self.spent.add(run, result)

    def _use(self, seed: int) -> None:
        """A result's seed. `seeds` holds those alone that came before a smaller one's: with one worker none."""
        first = (self.study.seed if self.study else 0) + self.results - len(self.seeds)
        self.results += 1
        self.seeds.add(seed)
        while first in self.seeds:
            self.seeds.remove(first)
            first += 1

    def _decide(self, event: events.Verdict) -> None:
        experiment = self.experiments[event.n]
        experiment.verdict, experiment.state = event.verdict, event.state
        experiment.reason, experiment.scores = event.reason, event.scores
        experiment.decided = event.time or None
        self.open = [one for one in self.open if one is not experiment]
        if event.state == events.REBASED:
            self.to_rebase.append(event.n)
        if experiment.number > 0 and event.state != events.REBASED:
            self._counts[event.verdict] += 1
        if experiment.verdict == "keep":
            self.best = experiment
            self.kept.append(experiment)

    def _revoke(self, event: events.Revoked) -> None:
        experiment = self.experiments[event.n]
        experiment.verdict, experiment.state, experiment.reason = "discard", event.state, event.reason
        experiment.scores, experiment.again = [], []
        self._counts["keep"] -= 1
        self._counts["discard"] += 1
        self.kept.pop()
        self.best = self.kept[-1]


def _is_of(idea: events.Proposed, event: events.Start | events.Rejected) -> bool:
    """Whether it is what was started or rejected; several of an agent may be checked at once."""
    return idea.agent == event.agent and described(idea.description) == described(event.description)


def sound(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ledger's lines that a State takes in, for who shows them one by one."""
    state = State()
    return [entry for line, entry in enumerate(entries, 1) if state.apply(entry, line)]
