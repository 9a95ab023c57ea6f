"""What is seen of the machine around a training: two clocks, its speed, who else computes. Tests bring their own.

`Observer` looks at the real machine. The loop calls nothing else for the time, the wait and the facts that make a run valid.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autoresearch.hardware import cores
from autoresearch.hardware.devices import accelerator
from autoresearch.hardware.devices.accelerator import Question
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.now import load, power
from autoresearch.hardware.now.energy import Meter
from autoresearch.hardware.now.load import Sample
from autoresearch.measure.clock import awake_seconds, elapsed_seconds

SHORTEST_SECONDS = 0.1  # of a check of the speed: some eight pieces


@dataclass(frozen=True)
class Reading:
    """One check of the machine's speed, and what else was seen meanwhile. None: not known."""

    rate: float  # pieces a second; compares with other readings of this machine only
    taken: float | None = None  # share of the usable cores that others took, with a virtual machine's host
    helpers: float | None = None  # share that our own processes took beside the check: an agent's program
    largest: str | None = None  # the name of the other process that took most
    heat: str | None = None  # what the system says where it throttles the processor
    clock_mhz: float | None = None
    on_battery: bool | None = None


class Observer:
    """threads: of the check of the processors' speed; None: something else trains, and their speed says nothing of it.

    backend: whose device may be asked about.
    """

    def __init__(self, threads: int | None, backend: Backend | None = None):
        import psutil

        self._threads, self._backend = threads, backend
        self._heat = power.heat()
        logical = psutil.cpu_count() or 1
        self.cores = cores.usable(), psutil.cpu_count(logical=False) or logical, logical  # usable, physical, logical

    def awake(self) -> float:
        """Seconds, without those asleep."""
        return awake_seconds()

    def elapsed(self) -> float:
        """Seconds, with those asleep."""
        return elapsed_seconds()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def usage(self, names: bool = False) -> Sample | None:
        """The processors' times until now; names: with every process's, to tell the largest."""
        import psutil

        try:
            return load.sample(names)
        except (OSError, psutil.Error):
            return None

    def taken(self, first: Sample, second: Sample) -> float:
        """The share of the usable cores that others took from us between two usages."""
        return load.taken(first, second, *self.cores)

    def ask_device(self) -> Question | None:
        """Ask the backend's device about itself; the answer may be taken later. None: it has nothing to say."""
        return None if self._backend is None else accelerator.ask(self._backend)

    def meter(self) -> Meter | None:
        """Of what the processors use from now on. None: something else trains."""
        return None if self._threads is None else Meter()

    def largest(self, first: Sample, second: Sample) -> str | None:
        return load.largest(first, second)

    def throughput(self, seconds: float) -> Reading | None:
        """Work for that long. None: too short to say anything, or an accelerator trains."""
        if self._threads is None or seconds < SHORTEST_SECONDS:
            return None
        from autoresearch.hardware.now import throughput

        first = self.usage(names=True)
        times = throughput.piece_times(seconds, self._threads)
        clock = clock_mhz()
        second = self.usage(names=True)
        self._heat = heat = power.heat(self._heat)
        taken = helpers = name = None
        if first and second:
            taken = self.taken(first, second)
            helpers = max(0.0, second.descendants - first.descendants) / (second.time - first.time) / self.cores[0]
            name = self.largest(first, second)
        source = power.supply().source
        return Reading(
            throughput.rate(times), taken, helpers, name, heat.reason if heat.throttled else None, clock,
            None if source is None else source == "battery",
        )  # fmt: skip


def clock_mhz(root: Path = Path("/")) -> float | None:
    """Linux: the clock of a processor that this process may use, at this moment. Elsewhere the system tells a constant."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    path = root / f"sys/devices/system/cpu/cpu{min(os.sched_getaffinity(0))}/cpufreq/scaling_cur_freq"
    try:
        return int(path.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
