"""The agent claude through the real SDK, against a server on loopback that speaks the wire format (tests/wire)."""

import dataclasses
import json
import math
import threading
import time
import typing

import anthropic
import pytest
from anthropic._data import DEPRECATED_MODELS
from wire.server import KEY, WireServer, answers
from wire.talk import BASELINE, BEST, EDITED, Talk

from autoresearch import agents, constants
from autoresearch.agents.base import REJECTED, Past, Unavailable
from autoresearch.agents.claude import claude
from autoresearch.agents.claude.service import Service
from autoresearch.agents.llm import edits, llm, prices, reply
from autoresearch.agents.llm.reply import BadRequest
from autoresearch.errors import AutoresearchError, EnvironmentFailure, UsageError


@pytest.fixture
def talk(monkeypatch):
    """A function that has an agent propose against a script, and the requests and the asks that came of it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)

    class ClaudeTalk(Talk):
        def open(self, script, model=claude.DEFAULT_MODEL, read_seconds=10.0, **settings):
            self.close()
            self.server = WireServer(script).__enter__()
            monkeypatch.setenv("ANTHROPIC_BASE_URL", self.server.url)
            self.agent = llm.LLM("claude", Service(model, read_seconds), **settings)
            return self

        def said(self, number):
            """The last user's turn of a request, as text."""
            blocks = self.server.requests[number]["body"]["messages"][-1]["content"]
            return "\n".join(block.get("text") or block.get("content", "") for block in blocks)

    talk = ClaudeTalk()
    yield talk
    talk.close()


def with_file(name, text):
    return json.loads(json.dumps(answers(name)).replace("FILE", json.dumps(text)[1:-1]))


# ---------------------------------------------------------------------------------------------------------- proposals


def test_an_edit_and_submit_in_one_answer(talk):
    proposal = talk.open(answers("one_answer")).propose()
    assert proposal.train_py == EDITED
    assert proposal.description == "MATRIX_LR 0.04 -> 0.06" and proposal.reasoning.startswith("The last runs")
    (ask,) = talk.asks
    assert (ask.model, ask.outcome, ask.output_tokens) == (claude.DEFAULT_MODEL, "answered", 400)
    usage = talk.server.requests[0]["usage"]
    assert (ask.input_tokens, ask.cache_read_tokens) == (usage["input_tokens"], 0)
    assert ask.cache_write_tokens == usage["cache_creation_input_tokens"] > 2500
    assert 0 < ask.seconds < 10
    written = usage["cache_creation"]
    cost = 4 * ask.input_tokens + 20 * 400 + 8 * written["ephemeral_1h_input_tokens"] + 5 * written["ephemeral_5m_input_tokens"]
    assert proposal.cost_usd == ask.cost_usd == pytest.approx(cost / 1e6)


def test_three_turns_share_their_prefix_and_keep_the_notes(talk, tmp_path):
    proposal = talk.open(answers("three_answers")).propose(folder=tmp_path / "agent")
    assert proposal.train_py == EDITED
    assert talk.outcomes == ["answered: not submitted yet", "answered: not submitted yet", "answered"]
    first, second, third = [request["usage"] for request in talk.server.requests]
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"] and second["input_tokens"] == 0
    assert third["cache_read_input_tokens"] > second["cache_read_input_tokens"]
    assert (tmp_path / "agent" / "notes.md").read_text() == "Muon takes larger steps here."
    assert '1: """Trains nothing' in talk.said(1) and "20: " in talk.said(1) and "21: " not in talk.said(1)
    assert proposal.cost_usd == pytest.approx(sum(ask.cost_usd for ask in talk.asks))
    assert "Muon takes larger steps" not in talk.said(0)
    talk.open(answers("one_answer")).propose(folder=tmp_path / "agent")  # another night, the same folder
    assert "# notes.md, by you\n\nMuon takes larger steps here." in talk.said(0)


def test_all_edits_of_an_answer_are_made_or_none(talk):
    proposal = talk.open(answers("refused_edit")).propose()
    assert proposal.train_py == constants.write(BEST, {"MATRIX_LR": 0.06, "UNEMBEDDING_LR": 0.008})
    assert talk.outcomes == ["answered: edit refused", "answered"]
    results = talk.server.requests[1]["body"]["messages"][-1]["content"]
    assert [result["is_error"] for result in results] == [True] * 3
    assert "34: EMBEDDING_LR = 0.6" in results[1]["content"] and "call 2 of this answer failed" in results[0]["content"]


def test_there_is_no_other_file_and_no_other_tool(talk):
    assert talk.open(answers("other_file")).propose().train_py == EDITED
    assert talk.said(1) == "there is no file '/etc/passwd' here; the only one is train.py"
    assert talk.said(2).startswith("there is no tool 'bash'; the tools are: str_replace_based_edit_tool")
    assert talk.said(3) == "values is [1]; it has to be a JSON object"
    names = [tool["name"] for tool in talk.server.requests[0]["body"]["tools"]]
    assert names == list(edits.NAMES)


def test_a_weak_model_may_write_the_whole_file(talk):
    proposal = talk.open(with_file("prose", EDITED)).propose()
    assert proposal.train_py == EDITED and proposal.description == "A larger learning rate"
    assert talk.outcomes == ["answered"]


def test_an_end_without_submit_counts_when_there_was_an_edit(talk):
    proposal = talk.open(answers("edit_then_prose")).propose()
    assert (proposal.train_py, proposal.description) == (EDITED, "Raise the matrices' learning rate")


@pytest.mark.parametrize("name", ["no_edit", "unchanged"])
def test_an_answer_without_an_edit_gets_a_further_turn(talk, name):
    assert talk.open(answers(name)).propose().train_py == EDITED
    assert talk.outcomes[0] in ("answered without an edit", "answered: edit refused") and talk.outcomes[1] == "answered"
    assert "nothing to t" in talk.said(1)


@pytest.mark.parametrize("script", ["only_talk", "same_file"])
def test_the_best_is_never_returned_as_an_idea(talk, script):
    talk.open(with_file(script, BEST))
    with pytest.raises(Unavailable, match=f"no proposal in {llm.TURNS} answers .*answered without an edit"):
        talk.propose()
    assert talk.outcomes == ["answered without an edit"] * llm.TURNS == ["answered without an edit"] * len(talk.server.requests)


# ------------------------------------------------------------------------------------------------------------- repair


def sent_back(proposal, reason, number=1):
    return Past(number, proposal.description, REJECTED, None, proposal.train_py, reason, "claude")


def test_what_was_sent_back_goes_on_in_the_same_conversation(talk):
    talk.open(answers("repaired"))
    first = talk.propose()
    error = "ValueError: 33 rows\n  do not divide 2048"
    second = talk.propose(history=(BASELINE, sent_back(first, error)))
    assert error in talk.said(1) and "sent back without a training" in talk.said(1)
    bodies = [request["body"] for request in talk.server.requests]
    assert len(bodies[1]["messages"]) == 3 and bodies[1]["system"] == bodies[0]["system"]
    assert talk.server.requests[1]["usage"]["cache_read_input_tokens"] > 2500
    assert second.train_py == constants.write(BEST, {"DEVICE_BATCH_SIZE": 16})
    third = talk.propose(history=(BASELINE, sent_back(first, error), sent_back(second, "out of memory")))
    assert len(talk.server.requests[2]["body"]["messages"]) == 5 and "out of memory" in talk.said(2)
    assert third.description == "DEVICE_BATCH_SIZE 32 -> 8"


@pytest.mark.parametrize("what", ["another text", "another best", "a verdict"])
def test_anything_else_begins_anew(talk, what):
    talk.open(answers("repaired"))
    first = talk.propose()
    rejected = sent_back(first, "ValueError: 33 rows")
    if what == "another text":
        talk.propose(history=(BASELINE, dataclasses.replace(rejected, train_py=EDITED)))
    elif what == "another best":
        talk.propose(history=(BASELINE, rejected), train_py=EDITED)
    else:
        talk.propose(history=(BASELINE, dataclasses.replace(rejected, status="discard", val_bpb=1.6)))
    assert len(talk.server.requests[1]["body"]["messages"]) == 1
    assert ("ValueError: 33 rows" in talk.said(1)) == (what != "a verdict")


def test_a_refused_request_in_a_repair_is_no_reason_to_stop(talk):
    talk.open([*answers("repaired")[:1], *answers("bad_request"), *answers("bad_request")])
    first = talk.propose()
    with pytest.raises(Unavailable, match="does not take the request: messages: too many"):
        talk.propose(history=(BASELINE, sent_back(first, "no")))
    with pytest.raises(BadRequest):
        talk.propose(history=(BASELINE, sent_back(first, "no")))
    assert len(talk.server.requests[2]["body"]["messages"]) == 1


# ------------------------------------------------------------------------------------------------- what can go wrong

WRONG = [
    ("empty", Unavailable, "an empty answer", "empty answer"),
    ("blank", Unavailable, "an empty answer", "empty answer"),
    ("refusal", Unavailable, "the model refused to answer (frontier_llm)", "refused (frontier_llm)"),
    ("too_long", Unavailable, "--max-tokens-per-experiment", "cut off: max_tokens"),
    ("malformed_call", Unavailable, "(ValueError)", "malformed answer"),
    ("cut_clean", Unavailable, "ended half-way", "cut off"),
    ("cut_abrupt", Unavailable, "was cut off", "cut off"),
    ("cut_at_once", Unavailable, "no message", "malformed answer"),
    ("overloaded_later", Unavailable, "Overloaded", "overloaded_error"),
    ("garbage", Unavailable, "malformed answer", "malformed answer"),
    ("other_events", Unavailable, "no message", "malformed answer"),
    ("web_page", Unavailable, "no message", "malformed answer"),
    ("rate_limit", Unavailable, "would exceed your rate limit", "429 rate_limit_error"),
    ("overloaded", Unavailable, "Overloaded", "529 overloaded_error"),
    ("server_error", Unavailable, "Internal server error", "500 api_error"),
    ("rejected_key", EnvironmentFailure, "rejects the key: invalid key (key); set ANTHROPIC_API_", "401 authentication_error"),
    ("forbidden", EnvironmentFailure, "may not use this model; use another key", "403 permission_error"),
    ("no_credit", EnvironmentFailure, ": Your credit balance is too low", "400 invalid_request_error"),
    ("payment", EnvironmentFailure, "add credit there, or use --agent search", "402 billing_error"),
    ("spend_limit", EnvironmentFailure, ": Spend limit reached", "429 rate_limit_error"),
    ("bad_request", BadRequest, "messages: too many; try another --model", "400 invalid_request_error"),
    ("no_model", UsageError, "(model: claude-opus-5-55); did you mean claude-opus-5-5? (--model", "404 not_found_error"),
]


@pytest.mark.parametrize(("name", "kind", "said", "outcome"), WRONG)
def test_what_goes_wrong_is_one_line_and_one_ask(talk, name, kind, said, outcome):
    talk.open(answers(name), model="claude-opus-5-55" if name == "no_model" else claude.DEFAULT_MODEL)
    with pytest.raises(AutoresearchError) as caught:
        talk.propose()
    message = str(caught.value)
    assert type(caught.value) is kind and said in message and len(message.splitlines()) == 1
    assert caught.value.__cause__ is None and caught.value.__context__ is None  # the SDK's errors hold the request and its key
    assert talk.outcomes == [outcome] and len(talk.server.requests) == 1  # the SDK itself asks one time only
    assert KEY not in message and KEY not in repr(talk.asks)
    if kind is not Unavailable:
        assert ";" in message


def test_a_cut_answer_tells_what_it_cost_until_then(talk):
    talk.open(answers("cut_abrupt"))
    with pytest.raises(Unavailable):
        talk.propose()
    (ask,) = talk.asks
    assert ask.cache_write_tokens == talk.server.requests[0]["usage"]["cache_creation_input_tokens"]
    assert ask.cost_usd > 0 and ask.output_tokens == 1


@pytest.mark.parametrize(("name", "seconds"), [("rate_limit", 7.0), ("rate_limit_date", 0.0), ("overloaded", None)])
def test_how_long_the_service_asks_to_wait(talk, name, seconds):
    talk.open(answers(name))
    with pytest.raises(Unavailable) as caught:
        talk.propose()
    assert caught.value.retry_seconds == seconds


def test_no_word_for_too_long_is_a_time_out(talk):
    talk.open(answers("slow"), read_seconds=0.3)
    with pytest.raises(Unavailable, match=r"no word from 127\.0\.0\.1:\d+ within 0\.3 s"):
        talk.propose()
    assert talk.outcomes == ["timed out"]


def test_a_slow_answer_is_an_answer(talk):
    assert talk.open(answers("trickle"), read_seconds=5.0).propose().train_py == EDITED


def test_no_network(talk):
    talk.open([])
    talk.server.__exit__()
    with pytest.raises(Unavailable, match=r"no connection to 127\.0\.0\.1:\d+: "):
        talk.propose()
    assert talk.outcomes == ["no connection"] and talk.asks[0].input_tokens is None and talk.asks[0].cost_usd is None


def test_it_ends_early_when_nobody_waits(talk):
    talk.open([{**answers("one_answer")[0], "event_seconds": 0.2}])
    wanted = threading.Event()
    threading.Timer(0.5, wanted.set).start()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="nobody waits"):
        talk.propose(wanted=lambda: not wanted.is_set())
    assert talk.outcomes == ["ended early"] and time.monotonic() - started < 2.5  # the whole answer takes 3.4 s
    with pytest.raises(Unavailable, match="nobody waits"):
        talk.propose(wanted=lambda: False)
    assert len(talk.server.requests) == 1


SAID = [  # as Anthropic, OpenAI, vLLM, llama.cpp and LM Studio say it
    ("max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku", (None, 8192)),
    ("prompt is too long: 203125 tokens > 200000 maximum", (200000, None)),
    ("input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length", (200000, None)),
    ("max_tokens is too large: 64000. This model supports at most 16384 completion tokens, whereas you gave 64000.", (None, 16384)),
    (
        "This model's maximum context length is 32768 tokens. However, you requested 41000 tokens",
        (32768, None),
    ),
    ("the request exceeds the available context size (4096 tokens), try increasing it", (4096, None)),
    ("the model is loaded with context length of only 4096 tokens, which is not enough", (4096, None)),
    ("messages: too many", (None, None)),
    ("tools.3.type: 400 is not a type", (None, None)),
]


@pytest.mark.parametrize(("said", "found"), SAID)
def test_a_service_says_how_much_it_takes(said, found):
    assert reply.sizes(said) == found


def size_of(body):
    return len(json.dumps(body)) // 3


def test_a_server_with_a_small_context_is_asked_again_with_what_fits(talk):
    context = 24_000

    def serve(body):
        wanted = size_of(body) + body["max_tokens"]
        if wanted > context:
            said = f"This model's maximum context length is {context} tokens. However, you requested {wanted} tokens"
            return {"status": 400, "error": {"type": "invalid_request_error", "message": said}}
        return answers("one_answer")[0]

    discards = [Past(n, f"idea {n} " + "x" * 150, "discard", 1.5 + n / 1000, EDITED) for n in range(2, 302)]
    kept = Past(1, "the one that was kept", "keep", 1.4, EDITED)
    talk.open(serve)
    assert talk.propose(history=(BASELINE, kept, *discards), best_val_bpb=1.4).train_py == EDITED
    assert talk.outcomes == ["400 invalid_request_error", "answered"]
    told = talk.said(1)
    assert "the one that was kept" in told and "idea 301 " in told and "idea 300 " in told, "the kept and the newest stay"
    assert "tell less are left out" in told and "idea 290 " not in told and "idea 3 " in told, "the near misses stay"
    talk.propose(history=(BASELINE, kept, *discards), best_val_bpb=1.4)
    assert talk.outcomes[2:] == ["answered"], "it is learnt"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("max_tokens is too large: 64000. This model supports at most 512 completion tokens", r"answers of 512 tokens at most"),
        ("This model's maximum context length is 3000 tokens.", "a context of 3000 tokens has no room"),
    ],
)
def test_a_size_in_which_nothing_fits_is_forgotten(talk, said, words):
    refused = {"status": 400, "error": {"type": "invalid_request_error", "message": said}}
    talk.open([refused, *answers("one_answer")])
    with pytest.raises(Unavailable, match=words):
        talk.propose()
    assert talk.propose().train_py == EDITED, "and the next time it is asked again"


def test_a_context_that_holds_no_train_py_is_said(talk):
    talk.open([], context=8000)
    with pytest.raises(Unavailable, match=r"a context of 8000 tokens has no room .* say so by --context"):
        talk.propose(train_py=BEST + "# " + "x " * 12_000)
    assert talk.server.requests == []


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (400, "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens", "--max-tokens-per-experiment 8192"),
        (404, "File Not Found", "nothing is served there; mend ANTHROPIC_BASE_URL"),
        (404, 'model "claude-opus-5-5" not found, try pulling it first', "has no model 'claude-opus-5-5'"),
        (400, "registry.ollama.ai/library/gemma3 does not support tools", "does not take the request"),
    ],
)
def test_a_refusal_names_what_to_change(status, said, words):
    asked = reply.Asked("127.0.0.1", "claude-opus-5-5", "set a key", "ANTHROPIC_BASE_URL", ["claude-opus-5-5"])
    told = str(reply.refusal(asked, status, said))
    assert words in told and "did you mean claude-opus-5-5?" not in told


def test_an_answer_without_an_end_is_ended(talk, monkeypatch):
    monkeypatch.setattr(reply, "EVENTS_PER_TOKEN", 0)
    monkeypatch.setattr(reply, "PINGS", 3)
    talk.open(answers("one_answer"))
    with pytest.raises(Unavailable, match="answers without an end"):
        talk.propose()
    assert talk.outcomes == ["endless answer"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ANTHROPIC_BASE_URL", "localhost:11434", "ANTHROPIC_BASE_URL is 'localhost:11434'; write it as in http://"),
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "the client can't be made: .*; look at HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/no/such/file.pem", "the client can't be made: .*; look at HTTPS_PROXY"),
    ],
)
def test_a_client_that_can_not_be_made_is_one_line(monkeypatch, name, value, words):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        claude.make()


def test_a_model_at_home_may_take_its_time(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:11434")
    assert Service("m")._client.timeout.read == 1800
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    assert Service("m")._client.timeout.read == 120


def test_a_key_that_the_server_does_not_know(talk, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-another")
    with pytest.raises(EnvironmentFailure, match="rejects the key: invalid API key"):
        talk.open(answers("one_answer")).propose()


# -------------------------------------------------------------------------------------------------------------- limits


def test_the_money_is_counted_before_each_request(talk):
    talk.open(answers("three_answers"), max_cost_usd=1.0)
    with pytest.raises(llm.BudgetSpent, match=r"1\.02 USD are spent, and --max-cost is 1; raise it"):
        talk.propose(spent_usd=1.02)
    assert talk.server.requests == []
    with pytest.raises(llm.BudgetSpent):
        talk.propose(spent_usd=0.999)
    assert len(talk.server.requests) == 1 and talk.asks[0].cost_usd > 0.001


def test_a_figure_beyond_belief_is_no_cost_and_an_answer_without_one_counts_at_most(talk):
    """One number of a server's once ended the night, and answers that told none were free."""
    huge = [{**answer, "output_tokens": 2**62} for answer in answers("one_answer")]
    talk.open(huge, max_cost_usd=1.0)
    assert talk.propose().cost_usd is None and talk.asks[0].cost_usd is None and talk.asks[0].output_tokens is None
    with pytest.raises(llm.BudgetSpent, match=r"1\.\d\d USD are spent \(up to 0\.\d\d by answers that do not say what they took\)"):
        talk.propose(spent_usd=0.6)
    assert len(talk.server.requests) == 1
    talk.open(huge * 2, model="some-other-model")
    talk.agent.max_asks = 1
    talk.propose()
    with pytest.raises(llm.BudgetSpent, match="it gave 1 answers whose cost is not known; `--max-cost none`"):
        talk.propose()


def test_the_tokens_of_an_experiment_are_shared_by_its_answers_and_its_repair(talk):
    steps = [{**answer, "output_tokens": 3000} for answer in answers("three_answers")]
    talk.open([*steps, *answers("repaired")], max_tokens_per_experiment=9500)
    first = talk.propose()
    assert [request["body"]["max_tokens"] for request in talk.server.requests] == [9500, 6500, 3500]
    with pytest.raises(Unavailable, match="the 9500 tokens of --max-tokens-per-experiment brought no proposal"):
        talk.propose(history=(BASELINE, sent_back(first, "no")))
    talk.propose()
    assert talk.server.requests[-1]["body"]["max_tokens"] == 9500


def test_a_limit_of_money_needs_a_price(talk):
    with pytest.raises(UsageError, match="--max-cost needs a price, and qwen3-coder has none"):
        talk.open([], model="qwen3-coder", max_cost_usd=1.0)
    assert talk.open(answers("one_answer"), model="qwen3-coder").propose().cost_usd is None
    assert talk.asks[0].cost_usd is None and talk.asks[0].output_tokens == 400


def test_without_a_key_it_says_what_to_do(monkeypatch, tmp_path):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"the agent claude needs a key; set ANTHROPIC_API_KEY .*, or use --agent search"):
        claude.make()
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    with pytest.raises(UsageError, match=r"the key can't be read: Config file not found .*, or use --agent search"):
        claude.make()


def test_make_takes_the_default_model_which_the_sdk_knows(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    agent = claude.make(seed=3)
    assert (agent.name, agent.thinks, agent.max_tokens) == ("claude", True, llm.TOKENS_PER_EXPERIMENT)
    assert agent.service.model == claude.DEFAULT_MODEL
    known = typing.get_args(typing.get_args(anthropic.types.Model)[0])
    assert claude.DEFAULT_MODEL in known and claude.DEFAULT_MODEL not in DEPRECATED_MODELS
    assert claude.make(model="claude-sonnet-5-5").service.model == "claude-sonnet-5-5"
    assert all(prices.is_known(model) for model in known if "mythos" not in model)
    assert agent.service.knows_editor


def test_the_limit_of_a_call_counts_from_what_the_study_has_spent(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    options = dict.fromkeys(("model", "mix", "max_tokens_per_experiment", "context", "agent_command"))
    limits = ((None, 8.0, "5 USD this time"), (4.0, 4.0, "4 USD for the whole study"), (math.inf, None, "no limit"))
    for asked, most, words in limits:
        both, lines = agents.choose(options | {"agent": "claude", "max_cost": asked}, 1, spent_usd=3.0)
        both.slow.close()
        assert both.slow.max_cost_usd == most and words in lines[-1]


def test_the_editor_is_the_newest_that_the_sdk_knows():
    kinds = [getattr(anthropic.types, name) for name in dir(anthropic.types) if name.startswith("ToolTextEditor")]
    hints = [typing.get_type_hints(kind) for kind in kinds]  # {"type": Literal["text_editor_20250728"], ...}
    newest = max(typing.get_args(hint["type"])[0] for hint in hints)
    assert edits.tools(with_schema=False)[0] == {"type": newest, "name": edits.EDITOR}


@pytest.mark.parametrize(
    ("url", "is_anthropic"),
    [("https://api.anthropic.com", True), ("https://anthropic.com.evil.org", False), ("https://notanthropic.com", False)],
)
def test_only_anthropic_itself_knows_the_editor_without_a_schema(monkeypatch, url, is_anthropic):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    assert Service("m").knows_editor == is_anthropic
