"""What the panel and the picture know of a study: a small fold over the ledger's events, one at a time, as they come."""

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True)
class Experiment:
    """One that was decided."""

    number: int
    outcome: str  # baseline, keep, discard or crash
    val_bpb: float | None
    description: str


@dataclass
class History:
    tag: str = ""
    experiments: list[Experiment] = field(default_factory=list)
    sigma: float | None = None  # standard deviation of the baseline's runs; None when it ran once
    baseline: float | None = None  # val_bpb
    best: float | None = None
    best_number: int | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"keep": 0, "discard": 0, "crash": 0})  # without the baseline
    running: tuple[int, str] | None = None  # number and description of the experiment that has no verdict yet
    run: int | None = None  # which of its runs
    seed: int | None = None
    _started: datetime | None = None
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=20))  # of the last experiments, start to verdict

    @classmethod
    def of(cls, events: Iterable[dict]) -> "History":
        history = cls()
        for event in events:
            history.add(event)
        return history

    @property
    def gain(self) -> float | None:
        """How far the best lies below the baseline; None before there is a baseline."""
        return None if self.best is None or self.baseline is None else self.baseline - self.best

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
                self.run = self.seed = None
                self._started = datetime.fromisoformat(event["time"])
            case "begin":
                self.run, self.seed = event["k"], event["seed"]
            case "verdict":
                self._decide(event)
            case "revoked":
                self._revoke(event["n"])

    def _decide(self, event: dict) -> None:
        number, outcome, val_bpb = event["n"], event["verdict"], event["val_bpb"]
        description = self.running[1] if self.running else ""
        if number == 0 and outcome == "keep":
            outcome, self.baseline = "baseline", val_bpb
            if len(event["scores"]) > 1:
                self.sigma = statistics.stdev(event["scores"])
        elif number > 0:
            self.counts[outcome] += 1
            if self._started:
                self._seconds.append((datetime.fromisoformat(event["time"]) - self._started).total_seconds())
        if outcome in ("baseline", "keep"):
            self.best, self.best_number = val_bpb, number
        self.experiments.append(Experiment(number, outcome, val_bpb, description))
        self.running = self._started = None

    def _revoke(self, number: int) -> None:
        """A keep is none any more; the one before it is the best again."""
        place = next(place for place, one in enumerate(self.experiments) if one.number == number and one.outcome == "keep")
        self.experiments[place] = replace(self.experiments[place], outcome="discard", val_bpb=None)
        self.counts["keep"] -= 1
        self.counts["discard"] += 1
        last = next(one for one in reversed(self.experiments) if one.outcome in ("keep", "baseline"))
        self.best, self.best_number = last.val_bpb, last.number


def span(seconds: float) -> str:
    """4:05, 1:02:03."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def machine_line(device: str | None, backend: str, profile: str) -> str:
    """What a study runs on, as the panel and the picture head it."""
    return f"{device or 'device n/a'} · backend {backend} · profile {profile}"
