"""How often the command task keeps an edit that changes nothing, and what of a gain it sees.

    python benchmarks/command_noise.py measure COUNT    one program's times in the cell, one after the other, on this machine
    python benchmarks/command_noise.py night COUNT      a real study of so many edits that change a number which nobody reads
    python benchmarks/command_noise.py simulate COUNT   so many nights from those times and from made-up noise, by the shipped code
    python benchmarks/command_noise.py after COUNT      the same in studies that have made the program twenty times as fast

All write into benchmarks/results/command_noise.json. docs/design/command.md has the figures.
"""

import argparse
import contextlib
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from autoresearch import constants
from autoresearch.agents.base import Proposal, View
from autoresearch.agents.mix import Agents
from autoresearch.loop.night import Night
from autoresearch.metric import Metric
from autoresearch.noise import Noise, at_level, mean, noise_group, pooled_noise
from autoresearch.run import paired

RESULTS = Path(__file__).parent / "results" / "command_noise.json"
SECONDS = Metric("seconds", "s")
BENCH = """import time
def work():
    table = {}
    for i in range(700_000):
        table[i % 1000] = table.get(i % 1000, 0) + i * i
start = time.perf_counter()
work()
print("seconds:", time.perf_counter() - start)
"""


def measure(count: int) -> list[tuple[float, float]]:
    """(seconds since the start, what the benchmark printed)."""
    from autoresearch.data.progress import silent
    from autoresearch.hardware.devices import registry as devices
    from autoresearch.run import command
    from autoresearch.run.setup import Setup
    from autoresearch.sandbox import levels
    from autoresearch.task import registry

    with tempfile.TemporaryDirectory(prefix="autoresearch-") as name:
        place = Path(name).resolve()
        (place / "repository").mkdir()
        (place / "repository" / "bench.py").write_text(BENCH)
        options = {"edit": ["bench.py"], "measure": "python bench.py", "metric": "seconds:min", "repo": str(place / "repository")}
        table = registry.find("command")
        kind = registry.kind(table)
        made = kind.prepared_from(table, kind.source(table, "auto", options, None), options, None, silent)
        task = registry.bound(table, made, options, None)
        setup = Setup(devices.scan()["host"], task, 60.0, 60.0, levels.reach().level)
        text, start = task.first_text(Path(), {}), time.monotonic()
        (place / "run").mkdir()
        return [
            (round(time.monotonic() - start, 2), command.measure(setup, "python bench.py", text, place / "run"))
            for _ in range(count)
        ]


class Nothing:
    """An agent whose every edit is another program that does the same."""

    name, thinks = "nothing", False

    def propose(self, view: View) -> Proposal:
        number = len(view.history)
        return Proposal(constants.write(view.train_py, {"NOTE": number}), f"NOTE {number}", "it changes nothing")


def night(count: int) -> dict:
    """A study in a temporary folder: how many of so many edits that change nothing were kept."""
    from autoresearch.loop.loop import Until, run_study
    from autoresearch.report import panel
    from autoresearch.sandbox import levels
    from autoresearch.study import new
    from autoresearch.study.ledger import read
    from autoresearch.study.state import State

    with tempfile.TemporaryDirectory(prefix="autoresearch-") as name:
        place = Path(name).resolve()
        (place / "repository").mkdir()
        (place / "repository" / "bench.py").write_text("NOTE = 0  # nobody reads it [0..100000]\n" + BENCH)
        asked = {"edit": ["bench.py"], "measure": "python bench.py", "metric": "seconds:min", "repo": str(place / "repository")}
        chosen = {"task": "command", "profile": "auto", "backend": "auto", "corpus": "auto", "train_seconds": 60.0} | asked
        level, start = levels.reach().level, time.monotonic()
        study, setup = new.make(place / "study", chosen, print, contextlib.nullcontext, level)
        shown = panel.choose(False, True, sys.stdout, study.machine_line, [], study.profile.budget)
        with shown as listener:
            ending = run_study(study, setup, Agents(Nothing()), Until(count), listener)
        state = State.from_events(read(study.events))
        return {
            "ending": ending.reason, "experiments": len(state.decided) - 1, "runs": state.results,
            "kept": sum(one.verdict == "keep" for one in state.decided) - 1, "hours": (time.monotonic() - start) / 3600,
            "states": Counter(one.state for one in state.decided), "sigma": state.noise.sigma,
            "scores": [one.val_bpb for one in state.decided],
        }  # fmt: skip


# Times of a program that takes 1 s when nothing disturbs it. Each is asked for the next one: a machine goes on in between.


def gaussian(rng: random.Random, sigma: float = 0.02) -> Callable[[], float]:
    return lambda: math.exp(rng.gauss(0, sigma))


def heavy(rng: random.Random) -> Callable[[], float]:
    """Only ever slower: one in five by an exponential amount, one in fifty by a Pareto one."""
    return lambda: (
        math.exp(rng.gauss(0, 0.01))
        + (rng.expovariate(10) if rng.random() < 0.2 else 0)
        + (0.2 * rng.paretovariate(1.5) if rng.random() < 0.02 else 0)
    )


def drifting(rng: random.Random) -> Callable[[], float]:
    """A machine that warms up and cools down: a random walk of its speed, a fifth of a percent a step."""
    level = 0.0

    def one() -> float:
        nonlocal level
        level = 0.999 * level + rng.gauss(0, 0.002)
        return math.exp(level + rng.gauss(0, 0.01))

    return one


def bursts(rng: random.Random) -> Callable[[], float]:
    """Another program comes and goes: half as slow again for some twelve measurements, once in sixty."""
    busy = False

    def one() -> float:
        nonlocal busy
        busy = rng.random() < (1 - 1 / 12 if busy else 1 / 60)
        return math.exp(rng.gauss(0, 0.05 if busy else 0.01)) * (1.5 if busy else 1.0)

    return one


def steps(rng: random.Random) -> Callable[[], float]:
    """Each process is fast or slow for all its life, as where its memory happens to lie: 8 % apart."""
    return lambda: math.exp(rng.gauss(0, 0.005)) * (1.08 if rng.random() < 0.3 else 1.0)


def recorded(values: list[float]) -> Callable[[random.Random], Callable[[], float]]:
    """Real times in the order in which they came, from a place that chance chooses, in stretches of a tenth of them."""
    usual = statistics.median(values)

    def made(rng: random.Random) -> Callable[[], float]:
        at, left = 0, 0

        def one() -> float:
            nonlocal at, left
            if not left:
                at, left = rng.randrange(len(values)), len(values) // 10
            at, left = (at + 1) % len(values), left - 1
            return values[at] / usual

        return one

    return made


class Program:
    """Takes `factor` times as long as the start."""

    def __init__(self, factor: float):
        self.factor = factor


class PairedNight(Night):
    """A Night whose runs are made as run/command.py and loop/reference.py make them."""

    def __init__(self, times: Callable[[], float], seed: int, pairs: int, estimate: Callable[..., float] = paired.score):
        self._times, self._pairs, self._estimate, self._seed = times, pairs, estimate, seed
        self._start, self._anchor = Program(1.0), None
        self._beside: dict[Program, tuple[Program, float]] = {}  # of a candidate: the best then, and its level
        self.best, self.scores, self.again = self._start, [], []
        super().__init__("confirmed", self._measured, self._start)

    @property
    def noise(self) -> Noise | None:
        """As State.noise_at_best."""
        groups = [*self._groups, noise_group(self.scores, self.again, self.was_chosen)]
        return pooled_noise(at_level(groups, mean(self.scores + self.again)), SECONDS)

    def _measured(self, program: Program) -> float:
        reference, level = self._start, self._anchor
        if program is not self.best:
            reference, level = self._beside[program] = self.best, mean(self.scores + self.again)
        elif program in self._beside:
            reference, level = self._beside[program]
        self._seed += 1
        values: tuple[list[float], list[float]] = ([], [])
        for sides in paired.order(self._pairs, self._seed):
            for side in sides:
                values[side].append((reference, program)[side].factor * self._times())
        if level is None:
            level = self._anchor = paired.level(values[0], SECONDS)
        return self._estimate(*values, level, SECONDS)


def of_means(reference: list[float], values: list[float], level: float, metric: Metric) -> float:
    return level * math.exp(statistics.fmean(math.log(b / a) for a, b in zip(reference, values, strict=True)))


def of_medians(reference: list[float], values: list[float], level: float, metric: Metric) -> float:
    return level * statistics.median(values) / statistics.median(reference)


def of_minima(reference: list[float], values: list[float], level: float, metric: Metric) -> float:
    return level * min(values) / min(reference)


def unpaired(reference: list[float], values: list[float], level: float, metric: Metric) -> float:
    """What is measured without a reference beside it, twice as often."""
    return statistics.median(values + reference)


ESTIMATES = {
    "median of ratios": paired.score,
    "mean of ratios": of_means,
    "ratio of medians": of_medians,
    "ratio of minima": of_minima,
}


def null_night(
    times: Callable[[], float], seed: int, pairs: int, estimate: Callable[..., float], experiments: int
) -> tuple[int, int]:
    """(keeps of what changes nothing, measurements)."""
    night = PairedNight(times, seed, pairs, estimate)
    kept = sum(night.experiment(Program(night.best.factor)) == "keep" for _ in range(experiments))
    return kept, 2 * pairs * night.runs


def seen(times: Callable[[], float], seed: int, pairs: int, estimate: Callable[..., float], gain: float) -> bool:
    return PairedNight(times, seed, pairs, estimate).experiment(Program(1 - gain)) == "keep"


def simulate(values: list[float], nights: int, experiments: int = 100) -> list[dict]:
    machines = {"gaussian": gaussian, "heavy": heavy, "drifting": drifting, "bursts": bursts, "steps": steps}
    machines |= {"recorded": recorded(values)} if values else {}
    rows = []
    for machine, made in machines.items():
        for pairs in (3, 5, 7, 9):
            for name, estimate in ESTIMATES.items():
                if pairs != paired.PAIRS and name != "median of ratios":
                    continue
                asked = pairs, estimate
                found = [null_night(made(random.Random(seed)), seed, *asked, experiments) for seed in range(nights)]
                kept, measured = (sum(column) / (nights * experiments) for column in zip(*found, strict=True))
                row = {"machine": machine, "pairs": pairs, "estimate": name}
                row |= {"false_keeps_in_100": 100 * kept, "measurements_of_an_experiment": measured}
                for gain in (0.03, 0.1):
                    shown = [seen(made(random.Random(seed)), seed, *asked, gain) for seed in range(nights)]
                    row[f"seen_of_{gain:.0%}"] = statistics.fmean(shown)
                rows.append(row)
                print(json.dumps(rows[-1]), flush=True)
    return rows


def after_a_keep(nights: int, nulls: int = 50) -> list[dict]:
    """Of a best that takes a twentieth of the start's time, and differs so many times as much from run to run, as short ones do."""
    rows = []
    for machine, made in {"gaussian": gaussian, "heavy": heavy, "bursts": bursts}.items():
        for wider in (1, 2, 4):
            false_keeps = found = 0
            for seed in range(nights):
                times = made(random.Random(seed))
                study = PairedNight(times, seed, paired.PAIRS)
                assert study.experiment(Program(0.05)) == "keep"
                study._times = lambda times=times, wider=wider: times() ** wider
                false_keeps += sum(study.experiment(Program(study.best.factor)) == "keep" for _ in range(nulls))
                found += study.experiment(Program(0.9 * study.best.factor)) == "keep"
            row = {"machine": machine, "wider": wider, "false_keeps_in_100": 100 * false_keeps / (nights * nulls)}
            rows.append(row | {"seen_of_10%": found / nights})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "night", "simulate", "after"])
    parser.add_argument("count", nargs="?", type=int, default=500, help="of measurements, or of nights")
    asked = parser.parse_args()
    known = {}
    if asked.what == "measure":
        known["recorded"] = measure(asked.count)
    elif asked.what == "night":
        known["night"] = night(asked.count)
    elif asked.what == "after":
        known["after_a_keep"] = after_a_keep(asked.count)
    else:
        known["simulated"] = simulate([value for _, value in stored().get("recorded", ())], asked.count)
    RESULTS.write_text(json.dumps(stored() | known) + "\n")


def stored() -> dict:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()
