"""Search alone, an LLM of a known skill alone, and both by their shares, in real trainings at a short budget.

    AUTORESEARCH_COMPILE=off python benchmarks/mix_real.py [--seconds 20] [--experiments 10] [--nights 1] [--out ...]

The LLM is scripted: IDEAS was written down before anything was trained. What each is worth is measured first, against the first
train.py, with the same SEEDS; an idea whose mean is better is a good one. The script then answers with a good idea with the
probability SKILL, else with another, as long as there are any left, never one twice: 0.5 knows nothing. It is asked through the
real SDK and the agent claude, from a server on loopback, and edits the best of its turn. Some ideas bring a constant, which is the
search's to tune from the keep on. All that is compared starts from the same train.py, cpu-small's at a smaller width, with
`--decide strict`.

Each process trains on one core; as many nights at once as there are cores.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from wire.server import KEY, WireServer

from autoresearch import agents
from autoresearch.agents.mix import SHARE, Agents
from autoresearch.commands.bars import bars
from autoresearch.loop.loop import Until, run_study
from autoresearch.paths import shipped
from autoresearch.report.panel import PlainLines
from autoresearch.run import experiment
from autoresearch.sandbox import levels
from autoresearch.study import ledger, new
from autoresearch.study.state import State

ARMS = {"search alone": (True, 0.0), "LLM alone": (False, 1.0), "both": (True, SHARE)}  # search takes part, the LLM's share
SKILL = 0.7
SEEDS = (1, 2)
ROUND_SECONDS = 25.0  # chosen: of an experiment beside its training: start-up, scoring, audits
WIDTH = "ASPECT_RATIO = 64 ", "ASPECT_RATIO = 27 "  # of cpu-small, for 300 s; for 20 s, as a first night found: width 64 for 192
CONSTANTS = "\n# Initial values\n"  # new ones come after it
START = "        x0 = x\n"
# description, then pairs: text of backends/torch/train.py, what takes its place
IDEAS = {
    "smear: a share of the token before is added to each embedding": (
        (CONSTANTS, f"{CONSTANTS}SMEAR = 0.5  # [0.05..1 log]\n"),
        (START, f"        x = norm(x + SMEAR * F.pad(x, (0, 0, 1, 0))[:, :-1])\n{START}"),
    ),
    "attention and MLP side by side, on one norm": (
        (
            "            x = x + self.attention[layer](norm(x), value_embedding, cos, sin, self.windows[layer])\n"
            "            x = x + self.mlp[layer](norm(x))\n",
            "            y = norm(x)\n"
            "            x = x + self.attention[layer](y, value_embedding, cos, sin, self.windows[layer]) + self.mlp[layer](y)\n",
        ),
    ),
    "Muon in fewer iterations: a cheaper step": (
        (CONSTANTS, f"{CONSTANTS}MUON_ITERATIONS = 3  # [1..5]\n"),
        ("in POLAR_EXPRESS:\n", "in POLAR_EXPRESS[:MUON_ITERATIONS]:\n"),
    ),
    "warm-down as 1 - sqrt (arXiv 2405.18392)": (
        (CONSTANTS, f"{CONSTANTS}WARMDOWN_POWER = 0.5  # [0.25..2 log]\n"),
        (
            "    left = (1 - progress) / WARMDOWN_RATIO\n",
            "    left = 1 - max(0, (progress - 1) / WARMDOWN_RATIO + 1) ** WARMDOWN_POWER\n",
        ),
    ),
    "value embeddings in every layer": (("    return layer % 2 == (DEPTH - 1) % 2\n", "    return layer >= 0\n"),),
    "no value embeddings": (("    return layer % 2 == (DEPTH - 1) % 2\n", "    return layer < 0\n"),),
    "GELU in place of the squared ReLU": (("F.relu(linear(x, self.up)).square()", "F.gelu(linear(x, self.up))"),),
    "no QK norm": (("norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))", "rotate(q, cos, sin), rotate(k, cos, sin)"),),
    "lm_head starts ten times as large": (
        (CONSTANTS, f"{CONSTANTS}HEAD_INIT = 0.01  # [0.0001..0.1 log]\n"),
        ("nn.Parameter(0.001 * torch.randn(vocab_size, width))", "nn.Parameter(HEAD_INIT * torch.randn(vocab_size, width))"),
    ),
    "sharper attention: queries scaled up after their norm": (
        (CONSTANTS, f"{CONSTANTS}QUERY_SCALE = 1.4  # [0.5..4 log]\n"),
        ("        q, k = norm(rotate(q, cos, sin)),", "        q, k = QUERY_SCALE * norm(rotate(q, cos, sin)),"),
    ),
    "a table for the token and the one two before it": (
        (
            "        self.resid_lambdas =",
            "        self.far_embedding = nn.Parameter(torch.zeros(PAIR_ROWS or 1, width))\n        self.resid_lambdas =",
        ),
        (
            START,
            "        far = (27191 * ids + 36313 * F.pad(ids[:, :-2], (2, 0))) % (PAIR_ROWS or 1)\n"
            f"        x = x + runtime.embedding(far, self.far_embedding).to(x.dtype)\n{START}",
        ),
        (
            "            *([(PAIR_LR",
            "            (PAIR_LR * width_scale, ADAM_BETA1, [model.far_embedding]),\n            *([(PAIR_LR",
        ),
    ),
    "the first layer's output is added once more at the end": (
        (CONSTANTS, f"{CONSTANTS}SKIP = 0.5  # [0.05..2 log]\n"),
        (
            "            x = x + self.mlp[layer](norm(x))\n",
            "            x = x + self.mlp[layer](norm(x))\n            first = first if layer else x\n",
        ),
        (
            "        return norm(x)\n\n    def forward(self, ids):",
            "        return norm(x + SKIP * first)\n\n    def forward(self, ids):",
        ),
    ),
    "the mean gradient is not looked ahead (no Nesterov)": (
        ("orthogonalise(torch.lerp(gradient, momentum, mu))", "orthogonalise(momentum)"),
    ),
    "the matrices' outputs do not start at 0": (
        ("self.out = nn.Parameter(torch.zeros(width, heads * HEAD_DIM))", "self.out = matrix(width, heads * HEAD_DIM)"),
        (
            "self.down = nn.Parameter(torch.zeros(width, int(MLP_RATIO * width)))",
            "self.down = matrix(width, int(MLP_RATIO * width))",
        ),
    ),
}


class Script:
    """Each request gets an idea that fits the train.py that it shows and was not given before."""

    def __init__(self, worth: dict[str, float], seed: int):
        self.worth, self.rng = dict(worth), np.random.default_rng(seed)

    def __call__(self, request: dict) -> dict:
        shown = json.dumps(request)
        left = [name for name in self.worth if all(json.dumps(old)[1:-1] in shown for old, _ in IDEAS[name])]
        if not left:
            return {"content": [{"type": "text", "text": "I have no more ideas."}], "output_tokens": 10}
        is_good = self.rng.uniform() < SKILL
        name = str(self.rng.choice([name for name in left if (self.worth[name] < 0) == is_good] or left))
        del self.worth[name]
        edits = [{"command": "str_replace", "path": "train.py", "old_str": old, "new_str": new} for old, new in IDEAS[name]]
        calls = [("str_replace_based_edit_tool", edit) for edit in edits] + [
            ("submit", {"description": name, "reasoning": "scripted"})
        ]
        return {"content": [{"type": "tool_use", "name": tool, "input": given} for tool, given in calls], "output_tokens": 500}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--experiments", type=int, default=10)
    parser.add_argument("--nights", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mix_real.json")
    options = parser.parse_args()
    os.environ["ANTHROPIC_API_KEY"] = KEY
    table = {"seconds": options.seconds, "experiments": options.experiments, "skill": SKILL}
    spawn, usable = multiprocessing.get_context("spawn"), sorted(os.sched_getaffinity(0))
    cores = spawn.SimpleQueue()
    for core in usable:
        cores.put(core)
    with tempfile.TemporaryDirectory() as folder, spawn.Pool(len(usable), _pin, (cores,)) as pool:
        profile = Path(folder) / "narrow.toml"
        profile.write_text((shipped("profiles") / "cpu-small.toml").read_text(encoding="utf-8").replace(*WIDTH), encoding="utf-8")
        chosen = {
            "backend": "cpu", "profile": str(profile), "autotune": "off", "corpus": "stdlib", "decide": "strict",
            "train_seconds": options.seconds,
        }  # fmt: skip
        rows = pool.map(partial(_scores, chosen, Path(folder)), [None, *IDEAS], chunksize=1)
        start, *ideas = rows
        table["first_train_py"] = start
        table["sigma"] = statistics.stdev(start)
        table["worth"] = {
            name: round(statistics.mean(row) - statistics.mean(start), 4) if row else 9.0
            for name, row in zip(IDEAS, ideas, strict=True)
        }
        print(json.dumps(table, indent=1), flush=True)
        jobs = [(arm, night) for night in range(options.nights) for arm in ARMS]
        play = partial(_night, chosen, Path(folder), table["worth"], options.experiments)
        table["nights"] = pool.starmap(play, jobs, chunksize=1)
    print(json.dumps(table["nights"], indent=1))
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _pin(cores) -> None:
    os.sched_setaffinity(0, {cores.get()})


def _make(chosen: dict, folder: Path) -> tuple:
    return new.make(folder, chosen, lambda *_: None, partial(bars, quiet=True, plain=True), levels.reach().level)


def _scores(chosen: dict, folder: Path, name: str | None) -> list[float]:
    """val_bpb of an idea alone, by SEEDS; empty where one of them failed."""
    place = folder / f"idea-{list(IDEAS).index(name) if name else 'none'}"
    study, setup = _make(chosen, place)
    text = (study.folder / "train.py").read_text(encoding="utf-8")
    for old, new_text in IDEAS[name] if name else ():
        assert text.count(old) == 1, f"{name}: {old!r} is there {text.count(old)} times"
        text = text.replace(old, new_text)
    runs = [experiment.execute(setup, text, seed, place / f"run-{seed}") for seed in SEEDS]
    print(name, [run.val_bpb or run.reason for run in runs], flush=True)
    return [run.val_bpb for run in runs] if all(run.val_bpb for run in runs) else []


def _night(chosen: dict, folder: Path, worth: dict[str, float], experiments: int, arm: str, night: int) -> dict:
    has_search, share = ARMS[arm]
    study, setup = _make(chosen, folder / f"{arm}-{night}".replace(" ", "-"))
    with WireServer(Script(worth, night)) as server, PlainLines(sys.stdout, "", State()) as listener:
        os.environ["ANTHROPIC_BASE_URL"] = server.url
        slow = agents.make("claude") if share else None
        both = Agents(agents.make("search", seed=1 + night) if has_search else None, slow, share)
        hours = (experiments + 2) * (setup.train_seconds + ROUND_SECONDS) / 3600  # an LLM alone may have no more ideas before
        run_study(study, setup, both, Until(experiments, hours), listener)
    state = State.from_events(ledger.read(study.events))
    return {
        "arm": arm, "night": night, "baseline": state.baseline.val_bpb, "best": state.best.val_bpb,
        "requests": len(server.requests),
        "experiments": [(one.agent, one.state, one.val_bpb, one.description) for one in state.experiments[1:]],
    }  # fmt: skip


if __name__ == "__main__":
    main()
