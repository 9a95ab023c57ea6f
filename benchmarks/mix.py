"""What an LLM and the search are worth together, on the null backend's landscapes, for LLMs of a known skill.

    python benchmarks/mix.py [--seeds 20] [--out benchmarks/results/mix.json]

A simulated LLM changes one constant of the best: with probability `skill` half of the way to its true optimum, else as far in the
wrong direction; where a constant has kinds it takes the best one or another one. So 0.5 knows nothing, and 0.8 is an expert who is
right four times in five. It can't invent code: the landscape has none, so this measures the sharing alone (agents/mix.py), the
stall rule included. Everything else is as in benchmarks/search.py: rule `confirmed`, the true excess over the optimum.
"""

import argparse
import json
import math
import multiprocessing
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import search
from search import landscape

from autoresearch import constants
from autoresearch.agents import mix
from autoresearch.agents.base import Proposal, View
from autoresearch.agents.search.search import Search

SKILLS, SHARES = (0.5, 0.65, 0.8), (0.0, 0.1, 0.3, 0.5, 1.0)
EXPERIMENTS, AT = 100, (20, 50, 100)


class Simulated:
    """An LLM of a known skill, which is told the optimum and follows it that often."""

    def __init__(self, seed: int, skill: float):
        self.rng, self.skill = np.random.default_rng([seed, 7]), skill

    def propose(self, view: View) -> Proposal:
        values = search.values_of(view.train_py)
        drawn = landscape._draw(values["LANDSCAPE"])
        names = [*landscape.AXES, *landscape.KINDS]
        for _ in range(100):
            name, is_right = self.rng.choice(names), self.rng.uniform() < self.skill
            new = self._kind(drawn, name, is_right) if name in landscape.KINDS else self._number(drawn, values, name, is_right)
            if new != values[name]:
                break
        return Proposal(constants.write(view.train_py, {str(name): new}), "simulated", "")

    def _kind(self, drawn: dict, name: str, is_right: bool):
        costs = drawn["cost"][name]
        best = min(costs, key=costs.get)
        others = [kind for kind in costs if kind != best]
        return best if is_right else others[self.rng.integers(len(others))]

    def _number(self, drawn: dict, values: dict, name: str, is_right: bool):
        default, scale, unit = landscape.AXES[name]
        now = landscape._position(name, values)
        step = (drawn["optimum"][name] - now) / 2
        position = now + (step if is_right else -step)
        value = default * 2 ** (position * unit) if scale == landscape.LOG else default + position * unit
        if type(values[name]) is not int:
            return float(f"{max(value, 0.0):.3g}")
        if name == "TOTAL_BATCH_SIZE":
            return 2 ** min(max(round(math.log2(value)), 12), 19)
        return max(1, round(value))


class Mixed:
    """Both, by turns."""

    def __init__(self, seed: int, skill: float, share: float):
        self.agents = {"llm": Simulated(seed, skill), "search": Search(seed)}
        self.share, self.author = share, ""

    def propose(self, view: View) -> Proposal:
        is_llms = self.share > 0 and mix.turn(view.history, self.share, "llm").is_thinkers
        self.author = "llm" if is_llms else "search"
        return self.agents[self.author].propose(view)


def study(seed: int, skill: float, share: float) -> list[float]:
    return search.play(Mixed(seed, skill, share), seed, "confirmed", EXPERIMENTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mix.json")
    options = parser.parse_args()
    table = {"seeds": options.seeds, "experiments": EXPERIMENTS, "excess_bpb": {}}
    print(f"excess of the best in mbpb, median (quartiles) of {options.seeds} landscapes, after\n{'':<30}", end="")
    print("".join(f"{count:>20}" for count in AT))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for skill in SKILLS:
            for share in SHARES if skill == SKILLS[0] else SHARES[1:]:  # the search alone has no skill of an LLM's
                jobs = [(seed, skill, share) for seed in range(options.seeds)]
                curves = np.array(pool.starmap(study, jobs, chunksize=1))  # [seeds, experiments + 1]
                rows = {count: np.quantile(curves[:, count], (0.25, 0.5, 0.75)).tolist() for count in AT}
                name = "search alone" if share == 0 else f"skill {skill}, share {share}"
                table["excess_bpb"][name] = rows
                cells = [f"{1e3 * mid:.1f} ({1e3 * low:.1f}-{1e3 * high:.1f})" for low, mid, high in rows.values()]
                print(f"{name:<30}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
