"""The agent openai through the real SDK, against a server on loopback that speaks its wire formats."""

import json

import pytest
from wire.openai_server import KEY, OpenAIServer, call, fail, say
from wire.talk import BASELINE, EDITED, Talk

from autoresearch import agents
from autoresearch.agents.base import REJECTED, Past, Unavailable
from autoresearch.agents.llm import llm
from autoresearch.agents.llm.reply import BadRequest, TooLong
from autoresearch.agents.openai import openai
from autoresearch.errors import AutoresearchError, EnvironmentFailure, UsageError

SET = call("set_constants", {"values": {"MATRIX_LR": 0.06}})
SUBMIT = call("submit", {"description": "MATRIX_LR 0.04 -> 0.06", "reasoning": "to see"})
WRONG_EDIT = call(
    "str_replace_based_edit_tool", {"command": "str_replace", "path": "train.py", "old_str": "nowhere", "new_str": "x"}
)


@pytest.fixture
def talk(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    class OpenAITalk(Talk):
        def open(self, script, model="small", settings=None, **server):
            self.close()
            self.server = OpenAIServer(script, **server).__enter__()
            self.agent = openai.make(model, self.server.url, **(settings or {}))
            return self

        def sent(self, number):
            return json.dumps(self.server.requests[number]["body"])

    talk = OpenAITalk()
    yield talk
    talk.close()


@pytest.mark.parametrize("has_chat", [True, False])
def test_an_edit_and_submit_by_either_protocol(talk, has_chat):
    proposal = talk.open([SET + SUBMIT], has_chat=has_chat).propose()
    assert (proposal.train_py, proposal.description, proposal.reasoning) == (EDITED, "MATRIX_LR 0.04 -> 0.06", "to see")
    (ask,) = talk.asks
    assert (ask.model, ask.outcome, ask.input_tokens, ask.cache_read_tokens, ask.output_tokens) == (
        "small",
        "answered",
        300,
        600,
        100,
    )
    assert ask.cost_usd is None, "nobody knows the price"
    (request,) = talk.server.requests
    assert request["path"] == ("/v1/chat/completions" if has_chat else "/v1/responses")
    assert request["headers"]["authorization"] == f"Bearer {KEY}" and request["body"]["stream"] is True
    assert request["body"]["max_tokens" if has_chat else "max_output_tokens"] == 32_000
    assert "Be bold." in talk.sent(0) and "MATRIX_LR = 0.04" in talk.sent(0)


@pytest.mark.parametrize("has_chat", [True, False])
def test_a_refused_edit_goes_back_to_its_call_and_a_proposal_to_its_conversation(talk, has_chat):
    talk.open([WRONG_EDIT + SUBMIT, SET + SUBMIT, SUBMIT], has_chat=has_chat)
    first = talk.propose()
    assert first.train_py == EDITED and talk.outcomes == ["answered: edit refused", "answered"]
    assert "call 1 of this answer failed" in talk.sent(1)
    assert ("secret thought 1" in talk.sent(1)) == (not has_chat), "its reasoning is handed back"
    talk.propose(history=(BASELINE, Past(1, first.description, REJECTED, None, EDITED, "ValueError: 33 rows", "openai")))
    assert "ValueError: 33 rows" in talk.sent(2) and "call 1 of this answer failed" in talk.sent(2)


def test_a_server_without_tools_gets_them_written_out_and_calls_by_json(talk):
    calls = [{"name": "set_constants", "arguments": {"values": {"MATRIX_LR": 0.06}}}]
    submit = {"name": "submit", "arguments": {"description": "a larger step", "reasoning": "to see"}}
    script = [say(f"First the edit.\n```json\n{json.dumps(calls)}\n```"), say(f"```json\n{json.dumps([submit])}\n```")]
    proposal = talk.open(script, has_tools=False).propose()
    assert (proposal.train_py, proposal.description) == (EDITED, "a larger step")
    assert "tools" not in talk.server.requests[0]["body"] and "set_constants" in talk.sent(0)
    assert "Result of call 1: " in talk.sent(1)


def test_a_weak_model_may_write_the_whole_file(talk):
    proposal = talk.open([say(f"A larger learning rate\n\n```python\n{EDITED}\n```")]).propose()
    assert proposal.train_py.strip() == EDITED.strip() and proposal.description == "A larger learning rate"


def test_arguments_that_are_no_json_go_back_with_the_reason(talk):
    assert talk.open([call("set_constants", '{"values": {'), SET + SUBMIT]).propose().train_py == EDITED
    assert "set_constants takes a JSON object, not str" in talk.sent(1)


WRONG = [
    (say(""), Unavailable, "an empty answer", "empty answer"),
    (say("x", reason="length"), Unavailable, "--max-tokens-per-experiment, --context", "cut off: length"),
    (say("x", reason="content_filter"), Unavailable, "refused to answer", "refused"),
    (say("x" * 2000, cut=True), Unavailable, "ended half-way", "cut off"),
    (say("", raw=b"<html>welcome</html>"), Unavailable, "no message", "malformed answer"),
    (say("", raw=b"data: {not json\n\n"), Unavailable, "malformed answer", "malformed answer"),
    (say("", raw=b'data: {"error": {"message": "slot is gone"}}\n\n'), Unavailable, "slot is gone", "error in the answer"),
    (fail(401, f"bad key {KEY}"), EnvironmentFailure, "rejects the key: bad key (key); set OPENAI_API_KEY", "401"),
    (fail(403, "not yours"), EnvironmentFailure, "forbids it: not yours", "403"),
    (fail(429, "slow down", {"retry-after": "7"}), Unavailable, "slow down", "429"),
    (fail(429, "quota", code="insufficient_quota"), EnvironmentFailure, "no credit at 127.0.0.1:", "429 insufficient_quota"),
    (fail(404, 'model "small" not found'), UsageError, "has no model 'small'", "404"),
    (fail(400, "bad thing"), BadRequest, "does not take the request: bad thing", "400"),
    (fail(500, "boom"), Unavailable, "boom", "500"),
    (fail(400, "maximum context length is 9000 tokens"), TooLong, "--context 9000 says so", "400"),
]


@pytest.mark.parametrize(
    ("answer", "kind", "said", "outcome"), WRONG, ids=[f"{one[3]}-{number}" for number, one in enumerate(WRONG)]
)
def test_what_goes_wrong_is_one_line_and_one_ask(talk, answer, kind, said, outcome):
    # A context of 9,000 is known here already: what is refused again is told.
    talk.open([answer], settings={"context": 9000} if kind is TooLong else None)
    with pytest.raises(AutoresearchError) as caught:
        talk.propose()
    message = str(caught.value)
    assert type(caught.value) is kind and said in message and len(message.splitlines()) == 1
    assert caught.value.__cause__ is None and KEY not in message and KEY not in repr(talk.asks)
    assert talk.outcomes == [outcome] and len(talk.server.requests) == 1


def test_what_the_server_says_of_a_model_and_of_its_cost_is_taken(talk):
    models = [{"id": "small", "max_model_len": 30_000}, {"id": "other"}]
    talk.open([SET + SUBMIT + say("", usage={"cost": 0.0125})], models=models)
    assert talk.agent.context == 30_000
    assert talk.propose().cost_usd == 0.0125 == talk.asks[0].cost_usd
    assert talk.server.requests[0]["body"]["max_tokens"] < 30_000


def test_the_only_model_is_taken_and_of_several_one_is_asked_for(talk):
    assert talk.open([], model=None).agent.service.model == "small"
    with OpenAIServer([], models=[{"id": "b"}, {"id": "a"}]) as server:
        with pytest.raises(UsageError, match=r"needs a model; give --model one of those of 127\.0\.0\.1:\d+: a, b"):
            openai.make(None, server.url)
        gone = server.url
    with pytest.raises(UsageError, match=r"can't be listed \(no connection to 127\.0\.0\.1:\d+: .*; start it, mend"):
        openai.make(None, gone)
    agent = openai.make("b", gone)
    agent.close()
    assert agent.service.model == "b", "a server that starts later is none the worse"


@pytest.mark.parametrize(("status", "said"), [(401, "rejects the key: bad"), (404, "nothing is served there; mend --base-url")])
def test_a_server_that_lists_no_models_to_us_says_why(status, said):
    with OpenAIServer([], models=fail(status, "bad")) as server, pytest.raises(UsageError, match="can't be listed") as caught:
        openai.make(None, server.url)
    assert said in str(caught.value) and "give --model" in str(caught.value)


def test_without_a_key_it_needs_an_address(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="needs a key, or the address of a server of your own; set OPENAI_API_KEY"):
        openai.make("gpt")
    with pytest.raises(UsageError, match="--base-url is 'localhost:11434'; write it as in http://"):
        openai.make("gpt", "localhost:11434")


def test_a_model_s_name_is_a_line_or_is_left_out(talk):
    talk.open([], models=({"id": "evil\x1b[2J\nerror: a line"}, {"id": "n" * 999}, {"id": "small"}))
    talk.agent.close()
    talk.agent = openai.make(None, talk.server.url)
    assert talk.agent.service.model == "small"


def test_ollama_is_offered_and_not_taken(monkeypatch, tmp_path, talk):
    for name in agents.KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = dict.fromkeys(("model", "base_url", "agent_command", "mix", "max_cost", "max_tokens_per_experiment", "context"))
    options = {"agent": "auto", "command_env": (), **asked}
    assert "Ollama" not in agents.choose(options, 3)[1][0]
    talk.open([])
    monkeypatch.setattr(agents, "OLLAMA", talk.server.url.removesuffix("/v1"))
    both, (reason,) = agents.choose(options, 3)
    assert both.slow is None and f"Ollama is here: `--agent openai --base-url {talk.server.url}` asks it" in reason
    both, _ = agents.choose(options | {"agent": "openai", "base_url": talk.server.url, "context": 9000}, 3)
    both.slow.close()
    assert isinstance(both.slow, llm.LLM) and (both.slow.name, both.slow.context) == ("openai", 9000)
    with pytest.raises(UsageError, match="--base-url is not for the agent search"):
        agents.choose(options | {"agent": "search", "base_url": "http://x"}, 3)
