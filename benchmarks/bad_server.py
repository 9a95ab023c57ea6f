"""A night with a model server that misbehaves in every way that is known: whether it goes on, and what it does with the model.

    python benchmarks/bad_server.py [--experiments 130] [--out benchmarks/results/bad_server.json]

130 experiments are twelve hours of trainings of 300 s. Here they are the null backend's of 0.3 s, and all waits of the thinker are
shortened by as much (SCALE), so that the night takes minutes; everything else is what `run` does: the real SDK, real processes, the
study's own checks. The server (tests/wire/) gives an idea to every fourth request, and to the others the next of WRONG, again and
again. One night by Anthropic's protocol and one by OpenAI's.
"""

import argparse
import collections
import itertools
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from wire import openai_server, server

from autoresearch import agents
from autoresearch.agents.mix import Agents
from autoresearch.commands.bars import bars
from autoresearch.loop.loop import Until, run_study
from autoresearch.propose import thinker
from autoresearch.report.panel import PlainLines
from autoresearch.sandbox import levels
from autoresearch.study import ledger, new
from autoresearch.study.state import State

TRAIN_SECONDS, SCALE, GOOD = 0.3, 1000.0, 4
ENDLESS = "endless " * 40_000
# Of Anthropic's: transcripts. A stream that never stops talking and one that stops in the middle of a word are among them.
CLAUDE = (
    "empty", "blank", "refusal", "too_long", "malformed_call", "cut_clean", "cut_abrupt", "cut_at_once", "overloaded_later",
    "garbage", "other_events", "web_page", "rate_limit", "overloaded", "server_error", "rejected_key", "forbidden", "no_credit",
    "payment", "spend_limit", "bad_request", "no_model", "no_edit", "other_file", "only_talk",
)  # fmt: skip
OPENAI = (
    openai_server.say(""), openai_server.say("x", reason="length"), openai_server.say("x", reason="content_filter"),
    openai_server.say("x" * 2000, cut=True), openai_server.say("", raw=b"<html>welcome</html>"),
    openai_server.say("", raw=b"data: {not json\n\n"),
    openai_server.say("", raw=b'data: {"error": {"message": "slot is gone"}}\n\n'), openai_server.say(ENDLESS),
    openai_server.say("El ritmo de aprendizaje es demasiado alto. " * 500), openai_server.say("", raw=b"\xff\xfe" * 5000),
    *(openai_server.fail(status, "no") for status in (400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 500, 502, 503, 504, 529)),
    openai_server.fail(400, "maximum context length is 9000 tokens"), openai_server.fail(400, "max_tokens must be at most 512"),
    openai_server.fail(404, 'model "small" not found'), openai_server.fail(429, "later", {"retry-after": "86400"}),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=130)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bad_server.json")
    options = parser.parse_args()
    for name in ("FIRST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS", "FIRST_REST_SECONDS", "LONGEST_REST_SECONDS"):
        setattr(thinker, name, getattr(thinker, name) / SCALE)
    os.environ |= {"ANTHROPIC_API_KEY": server.KEY, "OPENAI_API_KEY": openai_server.KEY}
    table = {"experiments": options.experiments, "train_seconds": TRAIN_SECONDS, "nights": {}}
    with tempfile.TemporaryDirectory() as folder:
        for agent, night in (("claude", _anthropics), ("openai", _openais)):
            found = table["nights"][agent] = night(Path(folder) / agent, options.experiments)
            print(json.dumps(found, indent=1), flush=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _anthropics(folder: Path, experiments: int) -> dict:
    number, wrong = itertools.count(1), itertools.cycle(CLAUDE)

    def script(body: dict) -> dict:
        if (turn := next(number)) % GOOD == 0:
            edit = {"type": "tool_use", "name": "set_constants", "input": {"values": _idea(turn)}}
            submit = {"description": f"idea {turn}", "reasoning": "to see"}
            return {"content": [edit, {"type": "tool_use", "name": "submit", "input": submit}]}
        return server.answers(next(wrong))[0]

    with server.WireServer(script) as service:
        os.environ["ANTHROPIC_BASE_URL"] = service.url
        return _night(folder, agents.make("claude", max_cost_usd=None), experiments)


def _openais(folder: Path, experiments: int) -> dict:
    number, wrong = itertools.count(1), itertools.cycle(OPENAI)

    def script(path: str, body: dict) -> openai_server.Answer:
        if (turn := next(number)) % GOOD == 0:
            edit = openai_server.call("set_constants", {"values": _idea(turn)})
            return edit + openai_server.call("submit", {"description": f"idea {turn}", "reasoning": "to see"})
        return next(wrong)

    with openai_server.OpenAIServer(script) as service:
        return _night(folder, agents.make("openai", base_url=service.url, model="small"), experiments)


def _idea(turn: int) -> dict:
    return {"MATRIX_LR": round(0.02 + turn / 10_000, 5)}


def _night(folder: Path, slow, experiments: int) -> dict:
    chosen = {
        "backend": "null", "profile": "null", "autotune": "off", "corpus": "stdlib", "decide": "strict",
        "train_seconds": TRAIN_SECONDS,
    }  # fmt: skip
    study, setup = new.make(folder, chosen, print, partial(bars, quiet=True, plain=True), levels.reach().level)
    started = time.monotonic()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, PlainLines(nowhere, "", State()) as listener:
        ending = run_study(study, setup, Agents(agents.make("search", seed=1), slow), Until(experiments), listener)
    entries = list(ledger.read(study.events))
    state = State.from_events(entries)
    asks = [entry for entry in entries if entry["event"] == "asked"]
    late = next(entry["seq"] for entry in entries if entry["event"] == "start" and entry["n"] == 3 * experiments // 4)
    return {
        "exit_status": ending.exit_status, "reason": ending.reason, "seconds": round(time.monotonic() - started, 1),
        "experiments": len(state.experiments) - 1, "undecided": len(state.experiments) - len(state.decided),
        "ledger_lines_skipped": len(state.skipped), "kept": state.counts()["keep"],
        "by": dict(collections.Counter(one.agent for one in state.experiments[1:])), "asks": len(asks),
        "asks_in_the_last_quarter": sum(ask["seq"] > late for ask in asks),
        "outcomes": dict(collections.Counter(entry["outcome"] for entry in asks)), "sent_back": state.rejected,
    }  # fmt: skip


if __name__ == "__main__":
    main()
