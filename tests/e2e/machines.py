"""A machine that a test plays: its clocks, speed and other load are set, and no test waits."""

from dataclasses import dataclass, field

import studies
from scripted import Scripted

from autoresearch.agents.mix import Agents
from autoresearch.hardware.devices.accelerator import Device
from autoresearch.hardware.now.load import Sample, taken
from autoresearch.hardware.now.observer import Reading
from autoresearch.loop.loop import Until, run_study

STEP_SECONDS = 2.0  # that pass at each look at the clock: so that each tick of a training is due


@dataclass
class Machine:
    """Takes an Observer's place."""

    rate: float = 100.0
    rates: list[float] = field(default_factory=list)  # of the next checks, before `rate` counts again
    others: float = 0.0  # share of the cores
    helpers: float = 0.0
    clock_mhz: float | None = 3000.0
    device: Device | None = None
    has_checks: bool = True
    waits: list[float] = field(default_factory=list)
    cores: tuple = (2, 2, 2)

    def __post_init__(self):
        self.now = self.slept = 0.0
        self._last = self._busy = self._own = 0.0

    def awake(self) -> float:
        self.now += STEP_SECONDS
        return self.now

    def elapsed(self) -> float:
        return self.now + STEP_SECONDS / 2 + self.slept  # half-way between two looks at the other

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)

    def usage(self, names: bool = False) -> Sample:
        seconds, self._last = self.now - self._last, self.now
        self._busy += 2 * seconds
        self._own += 2 * seconds * (1 - self.others)
        return Sample(self.now, self._busy, None, self._own, {})

    def taken(self, first: Sample, second: Sample) -> float:
        return taken(first, second, *self.cores)

    def largest(self, first: Sample, second: Sample) -> str | None:
        return "compiler" if self.others else None

    def throughput(self, seconds: float) -> Reading | None:
        if not self.has_checks:
            return None
        self.now += seconds
        rate = self.rates.pop(0) if self.rates else self.rate
        return Reading(rate, self.others, self.helpers, self.largest(None, None), None, self.clock_mhz, False)

    def ask_device(self):
        return self if self.device else None

    def meter(self):
        return None

    is_ready = True

    def answer(self) -> Device:
        return self.device


class Acting(studies.Recorder):
    """A listener that does something to the machine: `at(event)` for each event, `training(number)` at a training's start."""

    def __init__(self, at=lambda event: None, training=lambda number: None):
        super().__init__()
        self._at, self._training, self._seen = at, training, None

    def event(self, event: dict) -> None:
        super().event(event)
        self._at(event)
        if event["event"] == "begin":
            self._seen = None

    def progress(self, number: int, run: int, progress) -> None:
        super().progress(number, run, progress)
        if progress.phase == "training" and self._seen is None:
            self._seen = number
            self._training(number)

    def of(self, *kinds: str) -> list[dict]:
        return [event for event in self.events if event["event"] in kinds]


def play(study, setup, steps, machine: Machine, listener: Acting | None = None):
    """Run the study with a script on this machine: (Ending, the listener)."""
    listener = listener or Acting()
    return run_study(study, setup, Agents(Scripted(steps)), Until(), listener, machine), listener
