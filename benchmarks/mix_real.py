"""Search alone, an LLM's ideas alone, and both by their shares, in real trainings at a short budget.

    python benchmarks/mix_real.py [--backend cpu] [--seconds 20] [--experiments 8] [--out benchmarks/results/mix_real.json]

The LLM is scripted: IDEAS was written down before anything was trained, in the order in which it would be tried, and is asked for
through the real SDK and the agent claude, from a server on loopback. Every arm starts from the same train.py and seed, with
`--decide strict`; a run of the same commit with another seed differs by the noise, which the last line measures. One night an arm:
an example, not a proof.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from wire.server import KEY, WireServer

from autoresearch import agents
from autoresearch.agents.mix import Agents
from autoresearch.commands.prepare import bars
from autoresearch.loop.loop import Until, run_study
from autoresearch.report.panel import PlainLines
from autoresearch.run import experiment
from autoresearch.sandbox import levels
from autoresearch.study import ledger, new
from autoresearch.study.state import State

ARMS = {"search alone": (True, 0.0), "LLM alone": (False, 1.0), "mix 0.3": (True, 0.3)}  # search takes part, the LLM's share
NOISE_RUNS = 4
# description, text of backends/torch/train.py, what takes its place
IDEAS = (
    (
        "smear: half of the token before is added to each embedding",
        "        x = x0 = norm(runtime.embedding(ids, self.embedding).to(runtime.dtype))\n",
        "        x = runtime.embedding(ids, self.embedding).to(runtime.dtype)\n"
        "        x = x0 = norm(x + 0.5 * F.pad(x, (0, 0, 1, 0))[:, :-1])\n",
    ),
    (
        "attention and MLP side by side, on one norm",
        "            x = x + self.attention[layer](norm(x), value_embedding, cos, sin, self.windows[layer])\n"
        "            x = x + self.mlp[layer](norm(x))\n",
        "            y = norm(x)\n"
        "            x = x + self.attention[layer](y, value_embedding, cos, sin, self.windows[layer]) + self.mlp[layer](y)\n",
    ),
    ("Muon in three iterations: a cheaper step", "    for a, b, c in POLAR_EXPRESS:\n", "    for a, b, c in POLAR_EXPRESS[:3]:\n"),
    (
        "warm-down as 1 - sqrt (arXiv 2405.18392)",
        "    left = (1 - progress) / WARMDOWN_RATIO\n",
        "    left = 1 - (1 - (1 - progress) / WARMDOWN_RATIO) ** 0.5\n",
    ),
    ("value embeddings in every layer", "    return layer % 2 == (DEPTH - 1) % 2\n", "    return layer >= 0\n"),
    ("GELU in place of the squared ReLU", "F.relu(linear(x, self.up)).square()", "F.gelu(linear(x, self.up))"),
    ("no QK norm", "norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))", "rotate(q, cos, sin), rotate(k, cos, sin)"),
    (
        "lm_head starts ten times as large",
        "self.lm_head = nn.Parameter(0.001 * torch.randn(vocab_size, width))",
        "self.lm_head = nn.Parameter(0.01 * torch.randn(vocab_size, width))",
    ),
)  # fmt: skip


class Script:
    """Each request gets the next idea."""

    def __init__(self):
        self.ideas = list(IDEAS)

    def __call__(self, _request: dict) -> dict:
        if not self.ideas:
            return {"content": [{"type": "text", "text": "I have no more ideas."}], "output_tokens": 10}
        description, old, new = self.ideas.pop(0)
        edit = {"command": "str_replace", "path": "train.py", "old_str": old, "new_str": new}
        calls = (("str_replace_based_edit_tool", edit), ("submit", {"description": description, "reasoning": "scripted"}))
        return {"content": [{"type": "tool_use", "name": name, "input": given} for name, given in calls], "output_tokens": 500}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--profile", default="auto")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--experiments", type=int, default=len(IDEAS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mix_real.json")
    options = parser.parse_args()
    chosen = {
        "backend": options.backend, "profile": options.profile, "autotune": "off", "corpus": "stdlib", "decide": "strict",
        "train_seconds": options.seconds,
    }  # fmt: skip
    os.environ["ANTHROPIC_API_KEY"] = KEY
    table = {"seconds": options.seconds, "experiments": options.experiments, "backend": options.backend, "arms": {}}
    with tempfile.TemporaryDirectory() as folder:
        for arm, (has_search, share) in ARMS.items():
            place, shown = Path(folder) / arm.replace(" ", "-"), partial(bars, quiet=False, plain=True)
            study, setup = new.make(place, chosen, print, shown, levels.reach().level)
            with WireServer(Script()) as server, PlainLines(sys.stdout, "", State()) as listener:
                os.environ["ANTHROPIC_BASE_URL"] = server.url
                slow = agents.make("claude") if share else None
                both = Agents(agents.make("search", seed=1) if has_search else None, slow, share)
                run_study(study, setup, both, Until(options.experiments), listener)
            state = State.from_events(ledger.read(study.events))
            table["arms"][arm] = {
                "baseline": state.baseline.val_bpb,
                "best": state.best.val_bpb,
                "experiments": [(one.agent, one.state, one.val_bpb, one.description) for one in state.experiments[1:]],
                "rejected": state.rejected,
            }
        text = (study.folder / "train.py").read_text(encoding="utf-8")
        runs = [experiment.execute(setup, text, 100 + k, Path(folder) / f"noise-{k}").val_bpb for k in range(NOISE_RUNS)]
        table["sigma"] = statistics.stdev(runs)
    print(json.dumps(table, indent=1))
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
