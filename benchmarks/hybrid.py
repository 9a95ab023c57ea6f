"""What it is worth that an LLM is told what the search's model expects of single constants.

    python benchmarks/hybrid.py [--seeds 20] [--out benchmarks/results/hybrid.json]

The null backend's landscapes, as in benchmarks/search.py, and on top of them STRUCTURES pieces of code that a train.py may hold.
Each is drawn: what it gains at the best value of the one constant that it brings (half of them lose even there), where that value
lies (an octave from the author's, give or take), and how much an octave away from it costs. A simulated LLM adds one piece that was
not tried yet, one with a gain with the probability `skill`; 0.5 knows nothing. "told": it also takes the constant that the search's
model expects most of, where that is more than the model's doubt. What is compared is the true excess of the best over the optimum.
"""

import argparse
import json
import multiprocessing
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import search
from search import landscape

from autoresearch import constants
from autoresearch.agents import mix
from autoresearch.agents.base import Proposal, View
from autoresearch.agents.search.search import Search

STRUCTURES = 16
GAIN_SIGMA, OCTAVE_COST = 0.006, (0.001, 0.006)  # bits per byte; the second's bounds are log-uniform
EXPERIMENTS, AT, SHARE = 100, (20, 50, 100), mix.SHARE
SKILLS = (0.5, 0.8)


@lru_cache
def pieces(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gain, best octave, cost of an octave), [STRUCTURES] each."""
    rng = np.random.default_rng([seed, 11])
    low, high = np.log(OCTAVE_COST)
    return rng.normal(0, GAIN_SIGMA, STRUCTURES), rng.normal(0, 1, STRUCTURES), np.exp(rng.uniform(low, high, STRUCTURES))


def excess_bpb(text: str) -> float:
    values = search.values_of(text)
    gains, octaves, costs = pieces(values["LANDSCAPE"])
    total = landscape.excess_bpb(values) + np.maximum(gains, 0).sum()
    for number in range(STRUCTURES):
        if f"use_piece({number})" in text:
            away = np.log2(values[f"PIECE_{number}"]) - octaves[number]
            total += costs[number] * away**2 - gains[number]
    return float(total)


class Simulated:
    """An LLM of a known skill that adds code."""

    def __init__(self, seed: int, skill: float, is_told: bool):
        self.rng, self.skill, self.is_told = np.random.default_rng([seed, 7]), skill, is_told

    def propose(self, view: View) -> Proposal:
        gains, _, _ = pieces(search.values_of(view.train_py)["LANDSCAPE"])
        tried = {number for number in range(STRUCTURES) for past in view.history if f"use_piece({number})" in past.train_py}
        left = [number for number in range(STRUCTURES) if number not in tried] or list(range(STRUCTURES))
        wanted = self.rng.uniform() < self.skill
        number = int(self.rng.choice([one for one in left if (gains[one] > 0) == wanted] or left))
        text = view.train_py
        if f"use_piece({number})" not in text:
            head = f"PIECE_{number} = 1.0  # [0.0625..16 log]\n\n\ndef build_model"
            text = text.replace("def build_model", head, 1) + f"\nuse_piece({number})\n"
        if self.is_told and view.expected and view.expected[0].change_bpb < -view.expected[0].deviation_bpb:
            text = constants.write(text, {view.expected[0].constant: view.expected[0].value})
        return Proposal(text, f"piece {number}", "")


class Together:
    """Both, by turns."""

    def __init__(self, seed: int, skill: float, is_told: bool):
        self.llm, self.search = Simulated(seed, skill, is_told), Search(seed)
        self.share, self.author, self.is_told = SHARE if skill else 0.0, "", is_told

    def propose(self, view: View) -> Proposal:
        is_llms = self.share > 0 and mix.turn(view.history, self.share, "llm").is_thinkers
        self.author = "llm" if is_llms else "search"
        if not is_llms:
            return self.search.propose(view)
        return self.llm.propose(replace(view, expected=tuple(self.search.expects(view))) if self.is_told else view)


def study(seed: int, skill: float, is_told: bool) -> list[float]:
    return search.play(Together(seed, skill, is_told), seed, "confirmed", EXPERIMENTS, excess_bpb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hybrid.json")
    options = parser.parse_args()
    arms = {"search alone": (0.0, False)}
    arms |= {f"skill {skill}, {'told' if told else 'not told'}": (skill, told) for skill in SKILLS for told in (False, True)}
    table = {"seeds": options.seeds, "experiments": EXPERIMENTS, "share": SHARE, "excess_bpb": {}}
    print(f"excess of the best in mbpb, median (quartiles) of {options.seeds} landscapes, after\n{'':<30}", end="")
    print("".join(f"{count:>20}" for count in AT))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for name, arm in arms.items():
            curves = np.array(
                pool.starmap(study, [(seed, *arm) for seed in range(options.seeds)], chunksize=1)
            )  # [seeds, experiments + 1]
            rows = {count: np.quantile(curves[:, count], (0.25, 0.5, 0.75)).round(6).tolist() for count in AT}
            table["excess_bpb"][name] = rows | {"last": curves[:, -1].round(6).tolist()}
            cells = [f"{1e3 * mid:.1f} ({1e3 * low:.1f}-{1e3 * high:.1f})" for low, mid, high in rows.values()]
            print(f"{name:<30}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
