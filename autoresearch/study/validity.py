"""Whether the machine was itself while a run trained: the pure half, from numbers to words. watch.py has the effects.

A check of the machine's speed is compared with the study's own median at the same place (before a run the processor is cool,
after it hot). More than OFF below it is never the idea's fault: the check is the harness's own work. Words for what was found:

    suspended   the computer slept while the run trained
    contended   other processes, or the virtual machine's host, took the processors
    throttled   heat, a lower clock, or the battery; on an accelerator, what its driver says
    slow        slower than usual, and none of these explains it

A machine that stays slower, and others that stay busy, become the new normal, so that no night waits for ever.
"""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autoresearch.hardware.now.observer import Reading
from autoresearch.study import events

OFF = 0.1  # of the median
LIMIT = 0.1  # of the usable cores: what others may take beyond what is normal
KNOWN = 3  # checks at a place before it has a median that counts
NEW_NORMAL = 6  # checks in a row that are off, over about five minutes of waiting; then that is the machine's speed
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10.0, 160.0  # between two of them; doubles
TRIES = 3  # trainings of one run that may be disturbed; the last one counts, marked
SUSPENDED_SECONDS = 0.5  # a gap in a second's look; readings err by microseconds (Linux) or two ticks of 15.6 ms (Windows)
SHORTEST_SECONDS = 5.0  # of a training in which a share of the processors means something; one of 10 s is watched for 8 of them


@dataclass(frozen=True)
class Disturbance:
    """What made a run, or a check, not count."""

    state: Literal["helped", events.Disturbed]
    reason: str


@dataclass
class Reference:
    """What is normal on this machine: a fold over the ledger's `speed` and `run` events."""

    rates: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})
    clocks: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})
    off: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})  # since the last that was not
    taken: float = 0.0  # the share of the cores that others normally take while we train
    throttled: bool = False  # the accelerator normally is

    def median(self, place: events.Place) -> float | None:
        rates = self.rates[place]
        return statistics.median(rates) if len(rates) >= KNOWN else None

    def is_off(self, place: events.Place, reading: Reading) -> bool:
        """Too slow; before a run also too busy with others, so that it need not train first to be found contended."""
        median = self.median(place)
        is_slow = median is not None and reading.rate < (1 - OFF) * median
        return is_slow or (place == "before" and self.is_contended(reading.taken))

    def is_contended(self, taken: float | None) -> bool:
        return (taken or 0.0) - self.taken >= LIMIT

    def apply_speed(self, event: events.Speed) -> None:
        place, rate = event.place, event.rate
        match event.state:
            case "steady":
                self._learn(place, rate, event.clock_mhz)
                self.off[place].clear()
            case "normal":
                self.rates[place], self.clocks[place] = [*self.off[place], rate], []
                self.off[place].clear()
                if place == "before":  # what it does after a run is learned anew
                    self.rates["after"], self.clocks["after"] = [], []
                    if event.taken is not None and self.is_contended(event.taken):
                        self.taken = event.taken
            case "helped":  # our own agent computed beside it: it says nothing
                pass
            case "contended" if place == "after":  # others' load while it trained is known better
                pass
            case _:
                self.off[place].append(rate)

    def apply_run(self, watched: events.Watched) -> None:
        """A run that counts, disturbed or not."""
        if watched.taken is not None:
            self.taken = watched.taken if watched.state == "contended" else min(self.taken, watched.taken)
        if watched.device_throttled is not None:
            self.throttled = watched.device_throttled

    def _learn(self, place: events.Place, rate: float, clock_mhz: float | None) -> None:
        self.rates[place].append(rate)
        if clock_mhz:
            self.clocks[place].append(clock_mhz)


def explain(reading: Reading, place: events.Place, reference: Reference) -> Disturbance:
    """Of a reading that is off: the word that the facts support. `helped`: our own processes do, so it says nothing."""
    median = reference.median(place)
    slow = f"the machine does its fixed work at {reading.rate / median:.0%} of its usual speed: " if median else ""
    if reference.is_contended(reading.taken):
        most = f", {reading.largest} most" if reading.largest else ""
        usual = f", usually {reference.taken:.0%}" if reference.taken else ""
        return Disturbance("contended", f"{slow}others take {reading.taken:.0%} of the cores{usual}{most}")
    if (reading.helpers or 0.0) >= LIMIT:
        return Disturbance("helped", f"{slow}beside our own agent's {reading.helpers:.0%} of the cores")
    clocks = reference.clocks[place]
    usual_mhz = statistics.median(clocks) if len(clocks) >= KNOWN else None
    if usual_mhz and reading.clock_mhz and reading.clock_mhz < (1 - OFF) * usual_mhz:
        return Disturbance("throttled", f"{slow}its clock is at {reading.clock_mhz:.0f} MHz, usually {usual_mhz:.0f}")
    if reading.heat:
        return Disturbance("throttled", f"{slow}{reading.heat}")
    if reading.on_battery:
        return Disturbance("throttled", f"{slow}it runs on its battery")
    return Disturbance("slow", f"{slow}neither heat, clock, battery nor other processes explain it")


def wait_seconds(off: int) -> float:
    """Before the next check, after that many in a row that were off."""
    return min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * 2.0 ** (off - 1))


@dataclass(frozen=True)
class Watched:
    """What was seen while a run trained; in the ledger with the run. None: not known."""

    state: str | None = None  # of what disturbed it
    reason: str | None = None
    asleep_seconds: float = 0.0
    taken: float | None = None  # share of the usable cores, over the training
    device_throttled: bool | None = None
    joules: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
