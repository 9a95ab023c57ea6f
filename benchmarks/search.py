"""How many experiments the search needs on the null backend's landscapes, against random search and without its parts.

    python benchmarks/search.py [--seeds 20] [--out benchmarks/results/search.json]

Every seed is another landscape (backends/null/landscape.py says how it is drawn: offsets of the optimum are symmetric, so a
known move is right half of the time) and another stream of noise. Everybody starts from the same train.py, draws from the same
ranges, sees the same kind of noisy scores, and moves the best by the loop's own rule. What is compared is the true excess of
the best over the optimum, in bits per byte, which no agent sees. No process is started: minutes for the whole table.
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from autoresearch import constants
from autoresearch.agents.base import Past, Proposal, View
from autoresearch.agents.search import moves
from autoresearch.agents.search.search import Search, space
from autoresearch.loop.night import Night
from autoresearch.noise import fair_scores, mean
from autoresearch.paths import shipped

NULL = shipped("backends") / "null"
MOVES = moves.read(shipped("tasks") / "pretrain")
sys.path.insert(0, str(NULL))
import landscape  # noqa: E402

LEVEL_BPB = 1.0  # of the optimum: where the published scores lie
AT = (10, 20, 40, 60, 120, 180)  # experiments


class Uniform:
    """Random search: every constant, or one of them, drawn uniformly from its range (log ranges uniformly in the log)."""

    def __init__(self, seed: int, only_one: bool):
        self.rng, self.only_one = np.random.default_rng(seed), only_one

    def propose(self, view: View) -> Proposal:
        axes = space.axes(constants.read(view.train_py), {})
        names = [self.rng.choice(list(axes))] if self.only_one else list(axes)
        values = {}
        for name in names:
            axis = axes[name]
            choices = axis.values
            values[name] = choices[self.rng.integers(len(choices))] if choices else axis.value(self.rng.uniform())
        return Proposal(constants.write(view.train_py, values), "random", "")


# name: (agent of a seed, experiments)
CONTENDERS = {
    "search": (lambda seed: Search(seed), 180),
    "uniform random": (lambda seed: Uniform(seed, only_one=False), 180),
    "one constant at random": (lambda seed: Uniform(seed, only_one=True), 180),
    "search without moves": (lambda seed: Search(seed, moves=False), 60),
    "search without TPE": (lambda seed: Search(seed, tpe=False), 60),
    "search without ranking": (lambda seed: Search(seed, ranking=False), 60),
}


def study(name: str, seed: int, rule: str) -> list[float]:
    make, experiments = CONTENDERS[name]
    return play(make(seed), seed, rule, experiments)


def excess_bpb(text: str) -> float:
    return landscape.excess_bpb(values_of(text))


def play(agent, seed: int, rule: str, experiments: int, excess=excess_bpb) -> list[float]:
    """The true excess of the best after 0, 1, ... experiments. agent.author, where it has one: who made the last proposal.

    excess: of a train.py over the optimum, without noise, in bits per byte.
    """
    start = (NULL / "train.py").read_text(encoding="utf-8")
    start = constants.write(start, {"LANDSCAPE": seed + 1})
    runs = 0

    def measure(text: str) -> float:
        nonlocal runs
        runs += 1
        return LEVEL_BPB + excess(text) + landscape.noise_bpb(values_of(text), 1000 * seed + runs)

    night = Night(rule, measure, start)
    history = [Past(0, "baseline", "baseline", mean(night.reported), start)]
    curve = [excess(start)]
    for number in range(1, experiments + 1):
        view = View("", night.best, mean(night.reported), tuple(history), moves=MOVES)
        text = agent.propose(view).train_py
        status = "keep" if night.experiment(text) == "keep" else "discard"
        author = getattr(agent, "author", "")
        shown = night.reported if status == "keep" else fair_scores(night.last, [], was_chosen=True)
        history.append(Past(number, "", status, mean(shown), text, agent=author))
        curve.append(excess(night.best))
    return curve


def values_of(text: str) -> dict:
    return {name: constant.value for name, constant in constants.read(text).items()}


def propose_seconds(past: int) -> dict[str, float]:
    """How long one proposal takes after `past` experiments: in the process that saw them all, and in a new one."""
    start = (NULL.parent / "torch" / "train.py").read_text(encoding="utf-8")
    source = Uniform(0, only_one=True)
    view = View("", start, 1.0, ())
    history = [Past(0, "baseline", "baseline", 1.0, start)]
    for number in range(1, past + 1):
        text = source.propose(view).train_py
        history.append(Past(number, "", "discard", 1 + 0.01 * landscape.noise_bpb({"n": number}, 0), text))
    agent = Search(0)
    timings = []
    for extra in range(6):  # the first has to read the whole history
        before = time.perf_counter()
        proposal = agent.propose(View("", start, 1.0, tuple(history), moves=MOVES))
        timings.append(time.perf_counter() - before)
        history.append(Past(past + 1 + extra, "", "discard", 1.001, proposal.train_py))
    return {"past": past, "first": timings[0], "median": statistics.median(timings[1:]), "max": max(timings[1:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rules", nargs="+", default=["confirmed", "strict"], help="others keep the figures that lie in --out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "search.json")
    arguments = parser.parse_args()
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    others = {rule for rule in ("confirmed", "strict") if rule not in arguments.rules}
    seeds = {rule: before["seeds"][rule] for rule in others if before} | dict.fromkeys(arguments.rules, arguments.seeds)

    def kept(name: str) -> dict:
        """What the file holds of the other rules."""
        return {key: value for key, value in before.get(name, {}).items() if key.split(":")[0] in others}

    table = {
        "seeds": seeds,
        "noise_sigma_bpb": landscape.NOISE_SIGMA,
        "python": platform.python_version(),
        "propose_seconds": [propose_seconds(past) for past in (10, 100, 1000)],
        "excess_bpb": kept("excess_bpb"),
        "experiments_to_match_180_of": kept("experiments_to_match_180_of"),
    }
    for row in table["propose_seconds"]:
        print("propose after {past} experiments: {median:.3f} s, at most {max:.3f} s, {first:.2f} s anew".format(**row))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for rule in arguments.rules:
            print(f"\nkeep rule {rule}: excess of the best in mbpb, median (quartiles) of {arguments.seeds} landscapes, after")
            print(f"{'':<26}" + "".join(f"{count:>20}" for count in (0, *AT)))
            for name in CONTENDERS:
                jobs = [(name, seed, rule) for seed in range(arguments.seeds)]
                curves = np.array(pool.starmap(study, jobs, chunksize=1))  # [seeds, experiments + 1]
                counts = [count for count in (0, *AT) if count < curves.shape[1]]
                rows = {count: np.quantile(curves[:, count], (0.25, 0.5, 0.75)).tolist() for count in counts}
                table["excess_bpb"][f"{rule}: {name}"] = rows | {"medians": np.median(curves, 0).round(6).tolist()}
                cells = [f"{1e3 * mid:.1f} ({1e3 * low:.1f}-{1e3 * high:.1f})" for low, mid, high in rows.values()]
                print(f"{name:<26}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
            for rival in ("uniform random", "one constant at random"):
                goal = table["excess_bpb"][f"{rule}: {rival}"]["medians"][180]
                medians = table["excess_bpb"][f"{rule}: search"]["medians"]
                needed = next((count for count, value in enumerate(medians) if value <= goal), None)
                table["experiments_to_match_180_of"][f"{rule}: {rival}"] = needed
                ratio = f"{180 / needed:.1f} times fewer" if needed else "not reached"
                print(f"search has the median that {rival} has after 180 in {needed or 'more than 180'}: {ratio}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
