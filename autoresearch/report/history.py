"""What the panel and the picture know of a study: a small fold over the ledger's events, one at a time, as they come.

It takes sound events: those that come live have just been written, those of a file are looked through first (study/state.py).
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from autoresearch.data.sight import IN_SIGHT
from autoresearch.noise import Gain, Noise, Scored, gain, pooled_noise

LATE_SECONDS = 1.0  # chosen: a start-up's own spread on a warm cache is less


@dataclass(eq=False)
class Experiment(Scored):
    """One that was decided."""

    number: int
    outcome: str  # baseline, keep, discard or crash
    scores: list[float]
    description: str
    again: list[float] = field(default_factory=list)  # of its runs since then


@dataclass
class History:
    tag: str = ""
    experiments: list[Experiment] = field(default_factory=list)
    baseline_experiment: Experiment | None = None
    best_experiment: Experiment | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"keep": 0, "discard": 0, "crash": 0})  # without the baseline
    running: tuple[int, str] | None = None  # number and description of the experiment that has no verdict yet
    run: int | None = None  # which run is under way
    seed: int | None = None
    again: int | None = None  # the experiment that this run measures again, where it is not the running one
    invalid: int = 0  # trainings that did not count
    startup: float | None = None  # seconds, of the last run of an experiment
    baseline_startups: list[float] = field(default_factory=list)  # of its runs
    _started: datetime | None = None
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=20))  # of the last experiments, start to verdict

    @classmethod
    def of(cls, events: Iterable[dict]) -> "History":
        """Of a ledger's events, of which those that say what can't be were left out (study/state.py, sound)."""
        history = cls()
        for event in events:
            history.add(event)
        return history

    @property
    def baseline(self) -> float | None:
        return self.baseline_experiment and self.baseline_experiment.val_bpb

    @property
    def best(self) -> float | None:
        return self.best_experiment and self.best_experiment.val_bpb

    @property
    def best_number(self) -> int | None:
        return self.best_experiment and self.best_experiment.number

    @property
    def noise(self) -> Noise | None:
        return pooled_noise([one.noise_group for one in self.experiments if one.outcome in ("keep", "baseline")])

    @property
    def gain(self) -> Gain | None:
        """How far the best lies below the baseline; None while it is the baseline."""
        if self.best_experiment is self.baseline_experiment:
            return None
        return gain(self.baseline_experiment.fair, self.best_experiment.fair, self.noise)

    @property
    def late_startup(self) -> tuple[float, float] | None:
        """(the last run's, the baseline's) seconds, where the last is LATE_SECONDS longer."""
        if self.startup is None or not self.baseline_startups:
            return None
        baseline = statistics.median(self.baseline_startups)
        return (self.startup, baseline) if self.startup - baseline >= LATE_SECONDS else None

    @property
    def experiment_seconds(self) -> float | None:
        """The usual time of an experiment: a median, since a night's sleep between start and verdict says nothing."""
        return statistics.median(self._seconds) if self._seconds else None

    def add(self, event: dict) -> None:
        match event["event"]:
            case "study":
                self.tag = event["tag"]
            case "start":
                self.running = event["n"], event["description"]
                self.run = self.seed = self.again = None
                self._started = datetime.fromisoformat(event["time"])
            case "begin":
                self.run, self.seed, number = event["k"], event["seed"], event["n"]
                self.again = None if self.running and self.running[0] == number else number
            case "invalid":
                self.invalid += 1
                self.again = None
            case "run":
                self.startup = event.get("startup_seconds")
                if event["n"] == 0 and self.startup is not None:
                    self.baseline_startups.append(self.startup)
                if self.again is not None and event["status"] == "ok":
                    self.best_experiment.again.append(event["val_bpb"])
                self.again = None
            case "lost":
                self.again = None
            case "verdict":
                self._decide(event)
            case "revoked":
                self._revoke(event["n"])

    def _decide(self, event: dict) -> None:
        number, outcome = event["n"], event["verdict"]
        decided = Experiment(number, outcome, event["scores"], self.running[1] if self.running else "")
        if number > 0:
            self.counts[outcome] += 1
            if self._started:
                self._seconds.append((datetime.fromisoformat(event["time"]) - self._started).total_seconds())
        elif outcome == "keep":
            decided.outcome, self.baseline_experiment = "baseline", decided
        if outcome == "keep":
            self.best_experiment = decided
        self.experiments.append(decided)
        self.running = self._started = None

    def _revoke(self, number: int) -> None:
        """A keep that was none: the one before it is the best again."""
        revoked = next(one for one in reversed(self.experiments) if one.number == number)
        revoked.outcome, revoked.scores, revoked.again = "discard", [], []
        self.counts["keep"] -= 1
        self.counts["discard"] += 1
        self.best_experiment = next(one for one in reversed(self.experiments) if one.outcome in ("keep", "baseline"))


def span(seconds: float) -> str:
    """4:05, 1:02:03."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def machine_line(study) -> str:
    """What a study runs on, as the panel and the picture head it; and whether its text can be read by what it trains."""
    in_sight = " · its text is in train.py's sight" if study.corpus in IN_SIGHT else ""
    return f"{study.facts.device or 'device n/a'} · backend {study.backend} · profile {study.profile.name}{in_sight}"
