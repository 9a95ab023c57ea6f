"""What the agent claude sends in a night, and what that costs: a simulated night through the real SDK.

    python benchmarks/llm_requests.py [--experiments 100] [--seed 0] [--ideas 1] [--write]

A simulated model answers over a server on loopback (tests/wire/server.py), which counts what a prompt cache like the service's
would read and write of exactly these requests. The same requests are then counted again for other ways to place the
breakpoints. --write: add the figures to benchmarks/results/llm_requests.json.

Assumed, as nothing was asked of the real service: 3 characters a token; an answer has 1,500 to 3,500 tokens, thinking included;
of the first 100 experiments 14 are kept on average, 8 of each 100 later, and 6 crash with a log; of 100 answers 10 hold an edit
that does not match and 20 don't submit at once; of 100 proposals 5 are sent back. An experiment takes 330 s, an answer 40 s. With
--ideas N an answer that submits brings N ideas, at 600 tokens for each further one, and all are tried before the next request.
"""

import argparse
import copy
import json
import os
import random
import statistics
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from wire.server import CHARACTERS_PER_TOKEN, KEY, PromptCache, WireServer  # noqa: E402

from autoresearch import paths  # noqa: E402
from autoresearch.agents import lessons  # noqa: E402
from autoresearch.agents.base import REJECTED, RUNNING, Past, View  # noqa: E402
from autoresearch.agents.claude import claude  # noqa: E402
from autoresearch.agents.llm import prices  # noqa: E402
from autoresearch.agents.llm.prices import Tokens  # noqa: E402

RESULTS = Path(__file__).with_name("results") / "llm_requests.json"
MODELS = ("claude-opus-5-5", "claude-fable-5-2", "claude-sonnet-5-5", "claude-haiku-5-5")
EXPERIMENT_SECONDS, ANSWER_SECONDS = 330.0, 40.0
IDEA_TOKENS = 600  # of an edit and its reasoning
FACTS = {
    "machine": {"device": "NVIDIA GeForce RTX 4090", "memory_bytes": 25_757_220_864, "capability": [8, 9], "dtype": "bfloat16"},
    "profile": {"data": {"corpus": "climbmix", "vocab_size": 8192, "seq_len": 1024}, "budget": {"train_seconds": 300}},
}
LOG = "step {n}  loss 5.123456  lr 0.0400\n" * 20 + (
    'Traceback (most recent call last):\n  File "train.py", line 331, in step\n    loss = self.loss(inputs, targets)\n'
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied ({n}x768 and 640x3072)\n"
)


class Model:
    """A simulated LLM: edits that are real edits of the train.py that it is shown."""

    def __init__(self, rng: random.Random, now: list[float], ideas: int):
        self.rng, self.now, self.ideas, self.count = rng, now, ideas, 0

    def __call__(self, body: dict) -> dict:
        self.now[0] += ANSWER_SECONDS
        self.count += 1
        said = body["messages"][-1]["content"]
        chance = self.rng.random()
        if any(block["type"] == "tool_result" and not block.get("is_error") for block in said) and "sent back" not in str(said[-1]):
            return self._answer([self._submit()])
        if chance < 0.10:
            wrong = {"command": "str_replace", "path": "train.py", "old_str": "x = self.norm(x)", "new_str": "x = x"}
            return self._answer([{"type": "tool_use", "name": "str_replace_based_edit_tool", "input": wrong}, self._submit()])
        if chance < 0.30:
            return self._answer([self._edit()])
        calls = [call for _ in range(self.ideas) for call in (self._edit(), self._submit())]
        answer = self._answer(calls)
        return {**answer, "output_tokens": answer["output_tokens"] + IDEA_TOKENS * (self.ideas - 1)}

    def _edit(self) -> dict:
        if self.rng.random() < 0.5:
            values = {"MATRIX_LR": self.rng.uniform(0.01, 0.1), "WARMDOWN_RATIO": self.rng.uniform(0.3, 0.9)}
            return {"type": "tool_use", "name": "set_constants", "input": {"values": values}}
        number = self.rng.randrange(10**6)
        added = {"command": "insert", "path": "train.py", "insert_line": 22, "insert_text": f"SCALE_{number} = 0.5"}
        return {"type": "tool_use", "name": "str_replace_based_edit_tool", "input": added}

    def _submit(self) -> dict:
        what = self.rng.choice(("MATRIX_LR and WARMDOWN_RATIO together", "a gate for each head", "SwiGLU in place of relu**2"))
        why = "The last keeps came from a faster decay, and the losses still fall at the end of the run. " * 3
        return {"type": "tool_use", "name": "submit", "input": {"description": f"{what} ({self.count})", "reasoning": why}}

    def _answer(self, calls: list[dict]) -> dict:
        return {"content": [{"type": "thinking"}, *calls], "output_tokens": self.rng.randint(1500, 3500)}


def night(experiments: int, seed: int, ideas: int = 1) -> tuple[list[dict], list[float], list[int], list[int], int]:
    """(requests as sent, when, output tokens of each, answers that each experiment took, how many experiments were kept)."""
    rng, now, times = random.Random(seed), [0.0], []
    model = Model(rng, now, ideas)
    text = (paths.shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")
    program = (ROOT / "program.md").read_text(encoding="utf-8")
    history = [Past(0, "baseline", "baseline", 1.2, text, agent="")]
    best, answers, asks, waiting = history[0], [], [], []
    under_way = Past(1, "SwiGLU in place of relu**2", RUNNING, None, text)

    def script(body: dict) -> dict:
        times.append(now[0])
        return model(body)

    with WireServer(script, clock=lambda: now[0]) as server:
        os.environ |= {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": KEY}
        agent = claude.make()
        for number in range(1, experiments + 1):
            start, before = now[0], len(asks)
            view = View(program, best.train_py, best.val_bpb, tuple(history), on_ask=asks.append, **FACTS)
            is_asked = not waiting
            if is_asked:
                first = agent.propose(replace(view, under_way=(under_way,), lessons=lessons.text(history)))
                waiting = [first, *first.others]
            proposal = waiting.pop(0)
            if is_asked and rng.random() < 0.05:
                sent_back = Past(number, proposal.description, REJECTED, None, proposal.train_py, "IndentationError: line 119")
                proposal = agent.propose(replace(view, history=(*history, sent_back)))
            answers.append(len(asks) - before)
            draw, keep = rng.random(), 0.08 + 0.2 * 0.97**number
            status = "keep" if draw < keep else "crash" if draw < keep + 0.06 else "discard"
            score = {"keep": best.val_bpb - 0.002, "discard": best.val_bpb + 0.004, "crash": None}[status]
            log = LOG.replace("{n}", str(number)) if status == "crash" else ""
            reason = "RuntimeError: mat1 and mat2 shapes cannot be multiplied" if log else None
            history.append(Past(number, proposal.description, status, score, proposal.train_py, reason, "claude", log))
            best = history[-1] if status == "keep" else best
            now[0] = max(now[0], start + EXPERIMENT_SECONDS)
        bodies, outputs = [record["body"] for record in server.requests], [ask.output_tokens for ask in asks]
    return bodies, times, outputs, answers, sum(one.status == "keep" for one in history)


# ------------------------------------------------------------------------------------------------------------- counting


def as_sent(body: dict) -> None:
    pass


def no_fourth(body: dict) -> None:
    """Without the breakpoint that moves with the conversation."""
    body["messages"][-1]["content"][-1].pop("cache_control", None)


def fourth_for_an_hour(body: dict) -> None:
    body["messages"][-1]["content"][-1]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}


def five_minutes(body: dict) -> None:
    for block in _marked(body):
        block["cache_control"] = {"type": "ephemeral"}


def no_history_mark(body: dict) -> None:
    for block in body["messages"][0]["content"][1:-1]:
        block.pop("cache_control", None)


def history_first(body: dict) -> None:
    """The chunks of history before the best."""
    best, *chunks, rest = body["messages"][0]["content"]
    body["messages"][0]["content"] = [*chunks, best, rest]


def no_cache(body: dict) -> None:
    for block in _marked(body):
        del block["cache_control"]


def _marked(body: dict) -> list[dict]:
    blocks = [*body["system"], *(block for message in body["messages"] for block in message["content"])]
    return [block for block in blocks if "cache_control" in block]


def count(bodies: list[dict], times: list[float], outputs: list[int], change) -> list[Tokens]:
    """The tokens of each request, when all were sent with that change."""
    now = [0.0]
    cache, counted = PromptCache(lambda: now[0]), []
    for body, now[0], output in zip(bodies, times, outputs, strict=True):
        other = copy.deepcopy(body)
        change(other)
        usage = cache.usage(other)
        written = usage["cache_creation"]
        short, long = written["ephemeral_5m_input_tokens"], written["ephemeral_1h_input_tokens"]
        counted.append(Tokens(usage["input_tokens"], output, short, long, usage["cache_read_input_tokens"]))
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ideas", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    bodies, times, outputs, answers, kept = night(chosen.experiments, chosen.seed, chosen.ideas)
    sent = count(bodies, times, outputs, as_sent)
    sizes, total = [one.all_input for one in sent], sum(one.all_input for one in sent)
    figures = {
        "experiments": chosen.experiments, "kept": kept, "requests": len(bodies), "characters_per_token": CHARACTERS_PER_TOKEN,
        "answers_per_experiment": {str(n): answers.count(n) for n in sorted(set(answers))},
        "input_tokens": {"first": sizes[0], "median": int(statistics.median(sizes)), "last": sizes[-1], "largest": max(sizes)},
        "of_input": {
            "read": round(sum(one.read for one in sent) / total, 4),
            "written": round(sum(one.write for one in sent) / total, 4),
            "neither": round(sum(one.input for one in sent) / total, 4),
        },
        "usd_per_experiment": {model: _per_experiment(model, sent, chosen.experiments) for model in MODELS},
        "prices_of": prices.table()["date"],
        "usd_per_experiment_otherwise": {
            change.__name__: _per_experiment(claude.DEFAULT_MODEL, count(bodies, times, outputs, change), chosen.experiments)
            for change in (as_sent, no_fourth, fourth_for_an_hour, five_minutes, no_history_mark, history_first, no_cache)
        },
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if chosen.write:
        stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        many = f", {chosen.ideas} ideas an answer" if chosen.ideas > 1 else ""
        stored[f"{chosen.experiments} experiments, seed {chosen.seed}{many}"] = figures
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def _per_experiment(model: str, tokens: list[Tokens], experiments: int) -> dict[str, float]:
    """USD: all of it, and the part that is input."""
    whole = sum(prices.cost_usd(model, one) for one in tokens)
    read = sum(prices.cost_usd(model, replace(one, output=0)) for one in tokens)
    return {"all": round(whole / experiments, 4), "input": round(read / experiments, 4)}


if __name__ == "__main__":
    main()
