"""A real A/A night: a study of edits that change nothing, by the real loop, beside what the simulation says of such nights.

    python benchmarks/aa_night.py FOLDER [--backend null|cpu] [--experiments 40] [--train-seconds S] [--profile NAME] [--seed N]

Each edit adds a line to train.py that nothing reads, so that it is another program and the same model. Whatever is kept is a false
keep. Typed again with the same FOLDER it goes on; when it is done it only prints. The comparison: the same number of nulls in
simulated nights (autoresearch/loop/night.py), and how many of those lie as far out as the real one. A machine whose noise
drifts, or is not normal, would show there.
"""

import argparse
import json
import math
import random
import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from scripted import Scripted

from autoresearch.agents.mix import Agents
from autoresearch.commands.bars import bars
from autoresearch.loop import loop
from autoresearch.loop.night import Night, gaussian
from autoresearch.noise import Noise
from autoresearch.report import answers, panel
from autoresearch.sandbox import levels
from autoresearch.study import ledger, new, terms, workspace
from autoresearch.study.state import State
from autoresearch.study.workspace import Study

NIGHTS = 4000  # simulated
# About half a second a run. A table of fewer tokens has a noise of its own, with heavy tails.
NULL_PROFILE = """
title = "A/A night on the null backend"
backends = ["null"]
[match]
[data]
corpus = "stdlib"
vocab_size = 320
seq_len = 64
eval_bytes = 10000
[budget]
train_seconds = 0.1
startup_limit_seconds = 60
[train]
COUNTED_BATCHES = 4
COUNTED_ROWS = 1024
"""


def opened(options) -> tuple:
    """(Study, Setup): a new one in the folder, or the one that lies there."""
    if workspace.is_workspace(options.folder):
        study = workspace.load(options.folder)
        return study, terms.ready(study, levels.reach().level)
    profile = options.profile
    if profile is None:
        options.folder.parent.mkdir(parents=True, exist_ok=True)
        profile = options.folder.with_name(options.folder.name + ".profile.toml") if options.backend == "null" else "cpu"
        if options.backend == "null":
            profile.write_text(NULL_PROFILE, encoding="utf-8")
    chosen = {
        "tag": "aa", "profile": str(profile), "backend": options.backend, "corpus": "stdlib", "autotune": "off",
        "train_seconds": options.train_seconds, "decide": "confirmed", "seed": options.seed,
    }  # fmt: skip
    return new.make(options.folder, chosen, print, partial(bars, quiet=False, plain=True), levels.reach().level)


def edits(study: Study, count: int) -> list[str]:
    """The baseline's text, with another line each time."""
    state = answers.state_of(study)
    path = study.folder / "train.py"  # once something was kept, it is not the baseline any more
    text = answers.text_of(study.folder, state.baseline.commit) if state.experiments else path.read_text(encoding="utf-8")
    marker = 'if __name__ == "__main__":'
    assert text.count(marker) == 1, "train.py has one main part"
    return [text.replace(marker, f"null_edit = {number}\n\n\n{marker}") for number in range(1, count + 1)]


def observed(state: State) -> dict:
    """What the night came to. Experiments that have no score (a crash) are counted apart."""
    nulls = [one for one in state.experiments[1:] if one.verdict is not None]
    scored = [one for one in nulls if one.scores]
    results = sum(len(one.results) for one in state.experiments)
    firsts = [one.scores[0] for one in scored]
    return {
        "experiments": len(nulls),
        "without_score": len(nulls) - len(scored),
        "false_keeps": sum(one.verdict == "keep" for one in nulls),
        "runs_per_experiment": (results - len(state.baseline.scores)) / len(nulls),
        "runs_in_all": results,
        "looked_at_again": sum(len(one.scores) > 1 for one in scored) / len(scored),
        "sigma": state.noise.sigma,
        "dof": state.noise.dof,
        # Each null ran once at least: their spread is another estimate of the same sigma.
        "first_scores_spread": statistics.stdev(firsts),
        "spread_to_sigma": statistics.stdev(firsts) / state.noise.sigma,
    }


def simulated(experiments: int) -> list[dict]:
    found = []
    for seed in range(NIGHTS):
        night = Night("confirmed", gaussian(random.Random(f"aa {seed}")), 0.0)
        before, firsts, again, keeps = night.runs, [], 0, 0
        for _ in range(experiments):
            keeps += night.experiment(night.best) == "keep"
            again += len(night.last) > 1
            firsts.append(night.last[0])
        noise: Noise = night.noise
        found.append({
            "false_keeps": keeps, "runs_per_experiment": (night.runs - before) / experiments,
            "looked_at_again": again / experiments, "spread_to_sigma": statistics.stdev(firsts) / noise.sigma,
        })  # fmt: skip
    return found


def compare(real: dict, nights: list[dict]) -> dict:
    """For each figure: the real one, the middle 95 % of the simulated nights, and the two-sided share that lies as far out."""
    table = {}
    for name in nights[0]:
        values = sorted(one[name] for one in nights)
        low, high = values[int(0.025 * len(values))], values[math.ceil(0.975 * len(values)) - 1]
        below = sum(value <= real[name] for value in values) / len(values)
        above = sum(value >= real[name] for value in values) / len(values)
        center, p = sum(values) / len(values), min(1.0, 2 * min(below, above))
        table[name] = {"real": real[name], "mean": center, "low": low, "high": high, "p": p}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", default="null")
    parser.add_argument("--profile")
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--train-seconds", type=float)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    study, setup = opened(options)
    state = answers.state_of(study)
    left = options.experiments - sum(one.verdict is not None for one in state.experiments[1:])
    if left > 0:
        with panel.choose(False, True, sys.stdout, past=ledger.read(study.events)) as listener:
            agents = Agents(Scripted(edits(study, options.experiments)))
            outcome = loop.run_study(study, setup, agents, loop.Until(left), listener)
        if outcome.exit_status:
            raise SystemExit(f"stopped: {outcome.reason}; the same command goes on")
    real = observed(answers.state_of(study))
    rows = compare(real, simulated(real["experiments"]))
    low, high = Noise(real["sigma"], real["dof"]).interval()
    print(f"\n{real['experiments']} nulls on {study.facts.device}, backend {study.backend}, profile {study.profile.name}")
    seconds = study.profile.budget.train_seconds
    print(f"{seconds:g} s each, {real['runs_in_all']} runs in all, {real['without_score']} without a score")
    print(f"sigma {real['sigma']:.6f} ({low:.6f} to {high:.6f}, {real['dof']} degrees of freedom)")
    print(f"\n{'':<22}{'real':>9}{'simulated':>11}{'95 % of nights':>18}{'as far out':>12}")
    for name, row in rows.items():
        span = f"{row['low']:.2f} to {row['high']:.2f}"
        print(f"{name.replace('_', ' '):<22}{row['real']:>9.2f}{row['mean']:>11.2f}{span:>18}{row['p']:>12.1%}")
    worst = min(row["p"] for row in rows.values())
    fits = worst > 0.05 / len(rows)
    word = "fits" if fits else "DOES NOT FIT"
    print(f"\nthe night {word} the simulation (smallest share {worst:.1%}, bound {0.05 / len(rows):.1%})")
    if options.out:
        terms_of = {"backend": study.backend, "device": study.facts.device, "profile": study.profile.to_dict()["budget"]}
        options.out.write_text(json.dumps(real | terms_of | {"comparison": rows, "fits": fits}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
