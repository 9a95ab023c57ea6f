"""What several workers gain: nights of 1, 2, 4 and 8 workers on the null backend's landscapes, event by event, with no process.

    python benchmarks/workers.py [--seeds 20] [--nights 100] [--processes 2] [--out benchmarks/results/workers.json]

A run takes RUN_SECONDS, give or take SPREAD. Who does what next is the rule of loop/together.py: a free worker takes a further run
of an experiment that is in doubt (so many at once as LOOKS says), else a run of the best that is due, else an edit that has to be
made again on a new best, else a new proposal from the present best. There is a look at each result, and what is decided is ended.
When one is kept, the others are judged against their own base: losers are discarded, the rest is made again on the new best. The
baseline runs max(3, W) times. Scores count in the order of the runs, whatever has ended first.

What is decided is asked of decide.py and noise.py, what is proposed of the search itself. Compared are ways for a proposal to take
into account what is under way (WAYS), and false keeps in nights whose edits change nothing (decide.py, decide_spread.py).
"""

import argparse
import heapq
import itertools
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import decide as rule_benchmark
import decide_spread
import numpy as np
import search as search_benchmark
from search import MOVES, NULL, excess_bpb, landscape, values_of

from autoresearch import constants
from autoresearch.agents.base import RUNNING, Exhausted, Past, Proposal, View
from autoresearch.agents.mix import Agents
from autoresearch.agents.search import search
from autoresearch.agents.search.search import Search
from autoresearch.loop import loop
from autoresearch.loop.loop import run_study
from autoresearch.loop.night import Night
from autoresearch.noise import Noise, Scored, mean, pooled_noise
from autoresearch.study import decide, events
from autoresearch.study.commits import text_of
from autoresearch.workers.work import Order

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]
import studies  # noqa: E402
from virtual_crew import Virtual, unaudited  # noqa: E402

RUN_SECONDS, SPREAD = 320.0, 0.03  # a training of 300 s, its start-up and its score; relative standard deviation
STARTUP_SECONDS = 20.0
HOURS = {1: 12.0, 2: 7.0, 4: 4.0, 8: 2.6}  # that a night of so many workers lasts: about as far as the first one's 12
# So many runs in all are begun at once for an experiment that is in doubt: up to the next of these, then one by one.
LOOKS = {
    "one by one": (1,), "doubled": (1, 2, 4, 5), "to 5 at once": (1, 5), "to 5 at once, then 3": (1, 5, 8, 11),
}  # fmt: skip
USUAL = "to 5 at once"
AT_HOURS = (0, 0.5, 1, 1.5, 2, 2.4, 3, 4, 5, 6, 7, 8, 12)
AT_EXPERIMENTS = (10, 20, 40, 60, 80, 120, 160)
COUNTS = ("runs", "tried", "kept", "rebased", "made_again")
PARTS = ("workers", "ways", "looks", "keeps")


@dataclass(eq=False)
class Best(Scored):
    number: int  # of the experiment that was kept; 0: the baseline
    candidate: Any
    scores: list[float]
    again: list[float] = field(default_factory=list)
    in_flight: int = 0
    wanted: int = 0  # runs since its verdict that are due


@dataclass(eq=False)
class Experiment:
    number: int
    candidate: Any
    base: Best
    target: int = 1  # runs that it is to have
    results: list[float | None] = field(default_factory=list)  # by run; None: under way
    in_flight: int = 0
    waits: bool = False  # for runs of the best
    verdict: str | None = None
    ended: float = 0.0  # seconds
    was_rebased: bool = False

    @property
    def scores(self) -> list[float]:
        """Up to the first run that has none yet, as the loop counts them."""
        return [score for score in itertools.takewhile(lambda score: score is not None, self.results) if score is not None]


class Lab:
    """A study of several workers. score(candidate): one run of it. propose(lab): a candidate. merge(base, edited, onto): that edit
    made on another candidate, or None.

    further(experiment): how many runs one that is in doubt is to have.
    """

    def __init__(
        self, workers: int, score: Callable[[Any], float], propose: Callable[["Lab"], Any],
        merge: Callable[[Any, Any, Any], Any], start: Any, rng: random.Random,
        further: Callable[[Experiment], int] | None = None,
    ):  # fmt: skip
        self.workers, self.score, self.propose, self.merge, self.rng = workers, score, propose, merge, rng
        self.further = further or next_look(LOOKS[USUAL])
        self.seconds, self.runs = 0.0, 0
        self.experiments: list[Experiment] = []
        self.open: list[Experiment] = []
        self.to_rebase: list[Experiment] = []
        self.dropped = 0  # re-based edits that no longer fit
        count = max(decide.BASELINE_RUNS["confirmed"], workers)
        self.bests = [Best(0, start, [])]
        self.kept_at = [(0.0, start)]  # the best's history, in seconds
        self._ends: list[tuple[float, int, Any, int, float]] = []
        for _ in range(count):
            if len(self._ends) == workers:
                self.seconds, *_, found = heapq.heappop(self._ends)
                self.best.scores.append(found)
            self._begin(self.best)
        while self._ends:
            self.seconds, *_, found = heapq.heappop(self._ends)
            self.best.scores.append(found)
        self.best.in_flight = 0

    @property
    def best(self) -> Best:
        return self.bests[-1]

    @property
    def noise(self) -> Noise:
        return pooled_noise([best.noise_group for best in self.bests])

    def play(self, hours: float | None = None, experiments: int | None = None) -> "Lab":
        """Until the time is over, or so many experiments were begun and all are decided."""
        end = float("inf") if hours is None else 3600 * hours
        while True:
            while len(self._ends) < self.workers and (job := self._next(experiments)):
                self._begin(job)
            if not self._ends or self._ends[0][0] > end:
                return self
            self.seconds, _, job, k, found = heapq.heappop(self._ends)
            job.in_flight -= 1
            if isinstance(job, Best):
                job.again.append(found)
                for one in [one for one in self.open if one.waits]:
                    if one.verdict is None:  # it has none by an earlier one of them, which was kept
                        self._look(one)
            else:
                job.results[k] = found
                if job.scores:
                    self._look(job)

    def _begin(self, job: Best | Experiment) -> None:
        job.in_flight += 1
        self.runs += 1
        seconds = RUN_SECONDS * max(0.5, self.rng.gauss(1.0, SPREAD))
        k = 0 if isinstance(job, Best) else len(job.results)
        if isinstance(job, Experiment):
            job.results.append(None)
        heapq.heappush(self._ends, (self.seconds + seconds, self.runs, job, k, self.score(job.candidate)))

    def _next(self, most: int | None) -> Best | Experiment | None:
        best = self.best
        for one in self.open:
            if not one.waits and len(one.results) < one.target:
                return one
        asked = [len(one.results) + decide.BEST_EXTRA for one in self.open if one.waits]
        if len(best.again) + best.in_flight < best.wanted or len(best.scores + best.again) + best.in_flight < max(asked, default=0):
            return best
        while self.to_rebase:
            old = self.to_rebase.pop(0)
            merged = self.merge(old.base.candidate, old.candidate, best.candidate)
            if merged is not None:
                return self._add(merged, was_rebased=True)
            self.dropped += 1
        if most is not None and sum(not one.was_rebased for one in self.experiments) >= most:
            return None
        return self._add(self.propose(self))

    def _add(self, candidate: Any, was_rebased: bool = False) -> Experiment:
        one = Experiment(len(self.experiments) + 1, candidate, self.best, was_rebased=was_rebased)
        self.experiments.append(one)
        self.open.append(one)
        return one

    def _look(self, one: Experiment) -> None:
        is_old, base = one.base is not self.best, one.base
        verdict = decide.decide("confirmed", base.scores + base.again, self.noise, one.scores, can_rerun=not is_old).verdict
        one.waits = verdict == "again"
        if is_old and verdict != "discard":
            self.to_rebase.append(one)
            verdict = "discard"
        if verdict == "more":
            one.target = max(one.target, self.further(one))
        elif verdict != "again":
            self._end(one, verdict)

    def _end(self, one: Experiment, verdict: str) -> None:
        """Its runs that are under way are ended too."""
        one.verdict, one.ended, one.waits = verdict, self.seconds, False
        self.open.remove(one)
        self._ends = [entry for entry in self._ends if entry[2] is not one]
        heapq.heapify(self._ends)
        if verdict == "keep":
            self.bests.append(Best(one.number, one.candidate, one.scores, wanted=decide.CHECK_RUNS["confirmed"]))
            self.kept_at.append((self.seconds, one.candidate))
            for other in [other for other in self.open if other.scores]:
                self._look(other)


def next_look(looks: tuple[int, ...]) -> Callable[[Experiment], int]:
    return lambda one: next((count for count in looks if count > len(one.scores)), len(one.scores) + 1)


# ---------------------------------------------------------------------------------------------------------- with the search


class Told(Search):
    """The search, and another way to take into account what is under way."""

    def __init__(self, seed: int, way: str, tpe: bool = True):
        super().__init__(seed, tpe=tpe)
        self.way = way

    def propose(self, view: View):
        known = [past.val_bpb for past in view.history if past.val_bpb is not None]
        lies = {"liar at the best": view.best_val_bpb, "liar at the mean": mean(known)}
        if self.way in lies:
            view = replace(view, under_way=tuple(_with(past, lies[self.way]) for past in view.under_way))
        elif self.way == "believer":
            view = replace(view, under_way=self._believed(view))
        return super().propose(view)

    def _believed(self, view: View) -> tuple[Past, ...]:
        """With the model's own prediction for each."""
        now, axes, _ = self._start(view)
        results = self._results(search._relevant(view.history), now, axes, replace(view, under_way=()))
        judge = search._judge(now, axes, results)
        believed = []
        for past in view.under_way:
            text = search.parsed(past.train_py)
            changes = {name: text.values[name] for name in axes}
            believed.append(_with(past, view.best_val_bpb + float(judge([changes])[0][0])))
        return tuple(believed)

    def _results(self, history, now, axes, view):
        return super()._results(history, now, axes, replace(view, under_way=()) if self.way == "ignored" else view)


def _with(past: Past, score: float) -> Past:
    return replace(past, val_bpb=score if past.val_bpb is None else past.val_bpb)


# In `ignored` what is under way is only not proposed again. A mean of scores so far counts as a result in every other.
WAYS = ("doubt", "liar at the best", "liar at the mean", "believer", "ignored")


def merged(base: str, edited: str, onto: str) -> str | None:
    """The constants that the edit changed, changed alike in another text; None where that has changed one of them otherwise."""
    before, after, there = values_of(base), values_of(edited), values_of(onto)
    changes = {name: value for name, value in after.items() if value != before[name]}
    if any(there[name] not in (before[name], value) for name, value in changes.items()):
        return None
    left = {name: value for name, value in changes.items() if value != there[name]}
    return constants.write(onto, left) if left else None


class OnLandscape(Lab):
    """With the search, on a landscape of the null backend's."""

    def __init__(self, workers: int, seed: int, way: str, further: Callable[[Experiment], int] | None = None, tpe: bool = True):
        agent = Told(seed, way, tpe)
        start = constants.write((NULL / "train.py").read_text(encoding="utf-8"), {"LANDSCAPE": seed + 1})
        tried = {start}

        def score(text: str) -> float:
            return search_benchmark.LEVEL_BPB + excess_bpb(text) + landscape.noise_bpb(values_of(text), 1000 * seed + self.runs)

        def propose(lab: Lab) -> str:
            text = agent.propose(lab.view()).train_py
            tried.add(text)
            return text

        def merge(base: str, edited: str, onto: str) -> str | None:
            text = merged(base, edited, onto)
            if text in tried:
                return None
            tried.add(text)
            return text

        super().__init__(workers, score, propose, merge, start, random.Random(seed), further)

    def view(self) -> View:
        first = self.bests[0]
        history = [Past(0, "", "baseline", first.val_bpb, first.candidate)]
        kept = {best.number: best for best in self.bests}
        under_way = []
        for one in self.experiments:
            if one.verdict is None:
                under_way.append(Past(one.number, "", RUNNING, mean(one.scores) if one.scores else None, one.candidate))
            else:
                shown = kept.get(one.number, Best(one.number, None, one.scores))
                history.append(Past(one.number, "", one.verdict, shown.val_bpb, one.candidate))
        return View("", self.best.candidate, self.best.val_bpb, tuple(history), moves=MOVES, under_way=tuple(under_way))


def lab_night(workers: int, seed: int, tpe: bool, way: str, looks: str) -> dict:
    """What became of a night of the Lab's."""
    night = OnLandscape(workers, seed, way, next_look(LOOKS[looks]), tpe).play(HOURS[workers])
    ends = sorted(one.ended for one in night.experiments if one.verdict)
    excess = [(at, excess_bpb(text)) for at, text in night.kept_at]
    again = sum(one.was_rebased for one in night.experiments)
    return _told(workers, excess, ends, runs=night.runs, rebased=again + night.dropped, made_again=again)


def loops_night(workers: int, seed: int, tpe: bool) -> dict:
    """The same of the loop's own: a real study, with its ledger and git, and workers in virtual time (tests/virtual_crew.py)."""
    hours, rng = HOURS[workers], random.Random(seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        os.environ["AUTORESEARCH_CACHE_DIR"] = f"{folder}/cache"
        (Path(folder) / "corpus").mkdir()
        corpus, of_landscape = studies.write_corpus(Path(folder) / "corpus"), {"LANDSCAPE": seed + 1}
        study, setup = studies.make(Path(folder) / "study", corpus, "confirmed", train=of_landscape)

        def score(text: str, run_seed: int) -> float:
            luck = landscape.noise_bpb(values_of(text), 1000 * seed + run_seed)
            return search_benchmark.LEVEL_BPB + excess_bpb(text) + luck

        def seconds(order: Order) -> float:
            """A first run's start-up was its check."""
            return (RUN_SECONDS - order.waits * STARTUP_SECONDS) * rng.gauss(1.0, SPREAD)

        crew = Virtual(workers, score, seconds, STARTUP_SECONDS)
        heard: list[tuple[float, dict]] = []
        agent = InTime(Told(seed, WAYS[0], tpe), lambda: crew.now < 3600 * hours)
        listener = Listening(lambda event: heard.append((crew.now, event)))
        with unaudited(), studies.without_pictures():
            ending = run_study(study, setup, Agents(agent), loop.Until(), listener, crew=lambda: crew)
        assert ending.exit_status == 0, ending
        experiments = studies.state_of(study).experiments
        in_time = [(at, event) for at, event in heard if at <= 3600 * hours]
        decided = [(at, experiments[event["n"]]) for at, event in in_time if event["event"] == "verdict"]
        (_, first), *kept = [(at, excess_bpb(text_of(study.folder, one.commit))) for at, one in decided if one.verdict == "keep"]
        counts = {
            "runs": sum(event["event"] == "run" for _, event in in_time),
            "rebased": sum(one.state == events.REBASED for _, one in decided),
            "made_again": sum(event["event"] == "start" and "again" in event for _, event in in_time),
        }
        return _told(workers, [(0.0, first), *kept], [at for at, one in decided if one.number], **counts)


@dataclass
class InTime:
    """An agent that has nothing more to propose once the time is over."""

    agent: Search
    is_time: Callable[[], bool]
    name, thinks = "search", False

    def propose(self, view: View) -> Proposal:
        if self.is_time():
            return self.agent.propose(view)
        raise Exhausted("the time is over")


class Listening(studies.Recorder):
    def __init__(self, hear: Callable[[dict], object]):
        super().__init__()
        self._hear = hear

    def event(self, event: dict) -> None:
        self._hear(event)


def _told(workers: int, excess: list[tuple[float, float]], ends: list[float], **counts: int) -> dict:
    """excess: of the best over the optimum, and since when; ends: of experiments; both in seconds."""
    return {
        "excess": excess,
        "hours": {hours: _value(excess, 3600 * hours) for hours in AT_HOURS if hours <= HOURS[workers]},
        "experiments": {count: _value(excess, ends[count - 1]) for count in AT_EXPERIMENTS if count <= len(ends)},
        "tried": len(ends), "kept": len(excess) - 1, **counts,
    }  # fmt: skip


def _value(curve: list[tuple[float, float]], at: float) -> float:
    return [value for begin, value in curve if begin <= at][-1]


def summary(nights: list[dict]) -> dict:
    """Quartiles over landscapes, in bits per byte; and means of the counts."""
    found: dict = {name: statistics.fmean(night[name] for night in nights) for name in COUNTS}
    for unit in ("hours", "experiments"):
        common = [at for at in nights[0][unit] if all(at in night[unit] for night in nights)]
        found[unit] = {at: np.quantile([night[unit][at] for night in nights], (0.25, 0.5, 0.75)).tolist() for at in common}
    return found


def hours_to(goal: float, curves: list[list[tuple[float, float]]], hours: float) -> float | None:
    """When the median of the curves is first as low as goal; None: not in so many hours."""
    times = sorted({at for curve in curves for at, _ in curve if at <= 3600 * hours})
    return next((at / 3600 for at in times if statistics.median(_value(curve, at) for curve in curves) <= goal), None)


# ---------------------------------------------------------------------------------------------------------- false keeps


@dataclass(frozen=True)
class Idea:
    level: float  # the mean of its scores, in sigma
    kind: str | float  # of decide.MIX: 0.0 changes nothing
    spread: float = 1.0


KINDS = ("nulls", "realistic", "spreads 1, 2, 5 or 10")


def ideas(kind: str, rng: random.Random) -> Callable[[Lab], Idea]:
    """Proposals of a night: nulls of the baseline's spread or of others, or the mix of benchmarks/decide.py."""

    def propose(lab: Lab) -> Idea:
        level = lab.best.candidate.level
        if kind.startswith("spreads"):
            return Idea(level, 0.0, rng.choice(decide_spread.RATIOS["1, 2, 5 or 10"]))
        worth = rule_benchmark.draw(rng, kind)
        return Idea(level + rng.expovariate(1 / rule_benchmark.WORSE_MEAN) if worth == "worse" else level - worth, worth)

    return propose


def scores(rng: random.Random) -> Callable[[Idea], float]:
    return lambda idea: rng.gauss(idea.level, idea.spread)


def same_edit(base: Idea, edited: Idea, onto: Idea) -> Idea:
    return replace(edited, level=onto.level + edited.level - base.level)


def made_up_night(workers: int, kind: str, looks: str, experiments: int, seed: int) -> dict[str, int]:
    """tried, kept: experiments that change nothing, an edit that was tried anew on a new best counted twice; proposed: once."""
    rng = random.Random(f"{workers} {kind} {looks} {seed}")
    lab = Lab(workers, scores(rng), ideas(kind, rng), same_edit, Idea(0.0, "start"), rng, next_look(LOOKS[looks]))
    lab.play(experiments=experiments)
    nulls = [one for one in lab.experiments if one.candidate.kind == 0.0]
    real = [one for one in lab.experiments if one.candidate.kind in (2.0, 3.0)]
    return {
        "tried": len(nulls), "kept": sum(one.verdict == "keep" for one in nulls),
        "proposed": sum(not one.was_rebased for one in nulls), "runs": lab.runs, "experiments": len(lab.experiments),
        "gains_proposed": sum(not one.was_rebased for one in real), "gains_kept": sum(one.verdict == "keep" for one in real),
        "hours": lab.seconds / 3600,
    }  # fmt: skip


def is_the_loops_own(nights: int) -> bool:
    """Whether one worker here does what loop/night.py does, which does what the loop does."""
    for seed in range(nights):
        found = []
        for is_lab in (True, False):
            rng, draw = random.Random(seed), random.Random(f"draw {seed}")
            propose = ideas("realistic", draw)
            if is_lab:
                lab = Lab(1, scores(rng), propose, same_edit, Idea(0.0, "start"), random.Random(0)).play(experiments=60)
                found.append((lab.runs, lab.best.candidate, lab.best.scores, lab.best.again))
            else:
                night = Night("confirmed", scores(rng), Idea(0.0, "start"))
                for _ in range(60):
                    night.experiment(propose(_Start(night)))
                found.append((night.runs, night.best, night.scores, night.again))
        if found[0] != found[1]:
            return False
    return True


@dataclass
class _Start:
    """What `ideas` needs of a Lab, of a Night."""

    night: Night

    @property
    def best(self) -> Any:
        return Best(0, self.night.best, [])


# ---------------------------------------------------------------------------------------------------------- the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="landscapes")
    parser.add_argument("--nights", type=int, default=100, help="made-up ones of each kind, of 100 experiments")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--without-tpe", action="store_true", help="the search draws uniformly: five times as fast, 1 unit worse")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="others keep the figures that lie in --out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "workers.json")
    options = parser.parse_args()
    table = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    tpe = not options.without_tpe
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:

        def nights(cases: dict[str, tuple]) -> dict[str, list[dict]]:
            """Of each case: its workers, and how the Lab does it; without that, the loop itself."""
            begun = {
                name: pool.starmap_async(
                    lab_night if how else loops_night, [(workers, seed, tpe, *how) for seed in range(options.seeds)], chunksize=1
                )
                for name, (workers, *how) in cases.items()
            }
            found = {}
            for name, rows in begun.items():
                found[name] = rows.get()
                row = summary(found[name])
                cells = " ".join(f"{at:g} h {1e3 * q[1]:.1f} ({1e3 * q[0]:.1f}-{1e3 * q[2]:.1f})" for at, q in row["hours"].items())
                print(f"{name}: {cells}; " + ", ".join(f"{row[key]:.1f} {key}" for key in COUNTS), flush=True)
            return found

        def compared(cases: dict[str, tuple]) -> dict:
            return about | {"excess_bpb": {name: summary(rows) for name, rows in nights(cases).items()}}

        command = " ".join(["python benchmarks/workers.py", *sys.argv[1:]])
        about = {"command": command, "landscapes": options.seeds, "tpe": tpe, "python": platform.python_version()}
        if "workers" in options.parts:
            found = nights({str(workers): (workers,) for workers in HOURS})
            goal = statistics.median(night["hours"][HOURS[1]] for night in found["1"])
            part = table["workers"] = about | {"excess_bpb": {workers: summary(rows) for workers, rows in found.items()}}
            part["goal_bpb"] = goal
            part["hours_to_goal"] = {
                workers: hours_to(goal, [night["excess"] for night in rows], HOURS[int(workers)]) for workers, rows in found.items()
            }
            print(f"excess of one worker after {HOURS[1]:g} h: {1e3 * goal:.1f}; hours to it: {part['hours_to_goal']}", flush=True)
        if "ways" in options.parts:
            table["ways"] = compared({way: (8, way, USUAL) for way in WAYS})
        if "looks" in options.parts:
            counts = [workers for workers in HOURS if workers > 1]
            table["looks"] = compared({f"{workers}, {looks}": (workers, WAYS[0], looks) for workers in counts for looks in LOOKS})
        if "keeps" in options.parts:
            is_own = is_the_loops_own(50)
            part = table["false_keeps"] = {"command": command, "one_worker_is_the_loops_own": is_own, "nights": options.nights}
            print(f"one worker does what loop/night.py does: {is_own}")
            for workers in HOURS:
                for kind in KINDS:
                    jobs = [(workers, kind, USUAL, 100, seed) for seed in range(options.nights)]
                    rows = pool.starmap(made_up_night, jobs, chunksize=10)
                    row = {key: sum(one[key] for one in rows) for key in rows[0]}
                    row["false_keeps_per_100_experiments"] = 100 * row["kept"] / row["tried"]
                    row["false_keeps_per_100_proposals"] = 100 * row["kept"] / row["proposed"]
                    part[f"{workers} workers, {kind}"] = row
                    words = f"{row['kept']} of {row['tried']} kept, {row['false_keeps_per_100_experiments']:.2f} in 100"
                    print(
                        f"{workers} workers, {kind}: {words}, {row['runs'] / row['experiments']:.2f} runs an experiment", flush=True
                    )
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
