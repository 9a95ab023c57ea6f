"""A whole night with the agent claude, by the real SDK, against a server on loopback: its faults, its slips, its cost, its key."""

import json
import math
import re

import pytest
import studies
from studies import check_in_line, state_of
from wire.server import KEY, WireServer, answers

from autoresearch import agents
from autoresearch.commands import status
from autoresearch.errors import UsageError
from autoresearch.loop.loop import Until, run_study
from autoresearch.propose import thinker
from autoresearch.report import answers as answers_of
from autoresearch.study.ledger import read

OPTIONS = {
    "agent": "auto", "model": None, "agent_command": None, "command_env": (), "mix": None, "max_cost": None,
    "max_tokens_per_experiment": None, "context": None, "base_url": None,
}  # fmt: skip
FAULTS = {
    3: "overloaded", 4: "bad_request", 6: "no_model", 7: "cut_clean", 8: "rejected_key", 9: "garbage", 11: "payment",
    12: "only_talk", 13: "no_credit", 14: "rate_limit", 15: "forbidden", 16: "cut_abrupt", 17: "web_page", 18: "server_error",
    19: "too_long", 20: "empty",
}  # fmt: skip
SPY = "import os\nprint('ENVIRONMENT', sorted(os.environ.items()))\n"


class Model:
    """Answers by the number of the request: mostly a new number, now and then a slip, and the faults of a service."""

    def __init__(self):
        self.number = 0

    def __call__(self, request: dict) -> dict:
        self.number += 1
        if self.number in FAULTS:
            (answer,) = answers(FAULTS[self.number])[:1]
            return answer | {"headers": {"retry-after": "0"}} if answer.get("headers") else answer
        if self.number in (5, 10):  # does not parse; fails when it starts. Sent back, and repaired by the next answer
            code = "x = (" if self.number == 5 else "raise RuntimeError('a slip of the model')"
            return self.edited("insert", {"path": "train.py", "insert_line": 0, "insert_text": f"{code}\n"})
        if self.number == 2:
            return self.edited("insert", {"path": "train.py", "insert_line": 0, "insert_text": SPY}, "a spy")
        return self.tools(("set_constants", {"values": {"ROPE_BASE": 9000.0 + self.number}}))

    def edited(self, command: str, values: dict, what: str = "an insertion") -> dict:
        return self.tools(("str_replace_based_edit_tool", {"command": command, **values}), what=what)

    def tools(self, *calls: tuple[str, dict], what: str = "another base") -> dict:
        calls = (*calls, ("submit", {"description": f"{what} {self.number}", "reasoning": "to see"}))
        content = [{"type": "tool_use", "name": name, "input": given} for name, given in calls]
        return {"content": content, "output_tokens": 500}


@pytest.mark.slow
def test_a_night_of_thirty_experiments(tmp_path, corpus, monkeypatch):
    study, setup = studies.make(tmp_path / "study", corpus)
    monkeypatch.setattr(thinker, "FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 0.1)
    monkeypatch.setattr(thinker, "LONGEST_REST_SECONDS", 0.2)
    monkeypatch.setattr(thinker, "LONGEST_WAIT_SECONDS", 0.2)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("MY_OTHER_TOKEN", "hidden-too")
    recorder = studies.Recorder()
    with WireServer(Model()) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        both, reason = agents.choose(OPTIONS | {"mix": 0.6}, study.seed)
        assert reason[0].startswith("claude: ANTHROPIC_API_KEY is set; it proposes 60%")
        outcome = run_study(study, setup, both, Until(30), recorder)
        requests = list(server.requests)
    assert outcome.exit_status == 0, outcome
    check_in_line(study)
    state = state_of(study)
    assert len(state.experiments) == 31
    by = [one.agent for one in state.experiments[1:]]
    assert by.count("claude") >= 12 and by.count("search") >= 6, by

    asked = [event for event in read(study.events) if event["event"] == "asked"]
    assert len(asked) == len(requests) == state.asked
    assert state.cost_usd == pytest.approx(sum(event["cost_usd"] or 0 for event in asked)) and state.cost_usd > 0.1
    shown = "\n".join(status.lines(answers_of.status(study), study.metric))
    assert f"{state.asked} to an agent's service, {state.cost_usd:.2f} USD" in shown
    answered = [event for event in asked if event["outcome"].startswith("answered")]
    assert len(asked) - len(answered) >= len(FAULTS) - 2, "faults are seen"
    assert max(event["cache_read_tokens"] for event in answered) > 2000
    notes = "\n".join(recorder.notes)
    assert "Overloaded" in notes and "rate limit" in notes

    rejected = [event["reason"] for event in read(study.events) if event["event"] == "rejected" and event["agent"] == "claude"]
    assert any("does not parse" in reason for reason in rejected) and any("a slip of the model" in reason for reason in rejected)
    said = [json.dumps(request["body"]) for request in requests]
    assert any("without a training" in one and "a slip of the model" in one for one in said)
    assert "Known move" in said[-1] or "search" in said[-1], "what the search tried is told"

    spied = [path for path in study.runs.glob("*/log.txt") if "ENVIRONMENT" in path.read_text(encoding="utf-8", errors="replace")]
    assert spied, "the model's code ran"
    for path in study.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert KEY.encode() not in content and b"hidden-too" not in content, path


def test_the_agent_is_chosen_by_what_is_there(monkeypatch, tmp_path):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert agents.choose(OPTIONS, 3)[0].slow is None
    assert agents.choose(OPTIONS, 3)[0].quick.seed == 3
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    both, _ = agents.choose(OPTIONS | {"model": "claude-haiku-5-5", "max_cost": 2.0}, 3)
    assert (both.slow.name, both.slow.service.model, both.slow.max_cost_usd, both.share) == ("claude", "claude-haiku-5-5", 2.0, 0.3)
    assert agents.choose(OPTIONS | {"agent": "search"}, 3)[0].slow is None
    both, said = agents.choose(OPTIONS | {"experiments": 100}, 3, spent_usd=2.0)  # nothing is spent without a limit
    assert both.slow.max_cost_usd == 2.0 + agents.NIGHT_USD
    assert re.search(r"expected 2\.\d\d USD for 27 proposals by claude-opus-5-5; at most 5 USD this time", said[1])
    assert agents.choose(OPTIONS | {"max_cost": math.inf}, 3)[0].slow.max_cost_usd is None
    both, said = agents.choose(OPTIONS | {"model": "a-server-s-own"}, 3)
    assert both.slow.max_asks == agents.NIGHT_ASKS and "at most 60 answers whose cost it does not tell" in said[1]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:11434")
    both, said = agents.choose(OPTIONS | {"model": "a-server-s-own"}, 3)
    assert both.slow.max_asks is None and "no limit holds" in said[1]
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    for wrong, words in (
        ({"agent": "search", "model": "x"}, "--model is not for the agent search"),
        ({"agent": "search", "mix": 0.5}, "--mix is not for the agent search"),
        ({"agent": "claude", "agent_command": "x"}, "--command is not for the agent claude"),
        ({"agent": "search", "max_cost": 1.0}, "--max-cost is not for the agent search"),
        ({"agent": "claude", "agent_fence": "off"}, "--agent-fence is not for the agent claude"),
        ({"agent": "command"}, "--agent command needs a program"),
        ({"agent": "command", "agent_command": "no-such-agent"}, "no program 'no-such-agent' on PATH"),
    ):
        with pytest.raises(UsageError, match=words):
            agents.choose(OPTIONS | wrong, 3)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY"):
        agents.choose(OPTIONS | {"agent": "claude"}, 3)
