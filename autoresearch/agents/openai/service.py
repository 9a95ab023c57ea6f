"""One request to a server that speaks OpenAI's protocol, by its SDK: Ollama, llama.cpp, LM Studio, vLLM, OpenRouter, OpenAI itself.

As claude/service.py: every end of a request is one Reply, nothing is raised, no exception of the SDK's is passed on, and the key is
shown nowhere. A server without tools, or without chat completions, says so once; from then on it is asked as it wants it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoresearch.agents.base import Ask, Unavailable
from autoresearch.agents.llm import http, prices, reply
from autoresearch.agents.llm.reply import Asked, Reply
from autoresearch.agents.openai import wires
from autoresearch.errors import AutoresearchError, UsageError

if TYPE_CHECKING:
    from openai import APIStatusError

CONNECT_SECONDS = 10
LIST_SECONDS = 10.0  # for a list of models
LONGEST_NAME = 200  # chosen: of a model
READ_SECONDS, REQUEST_SECONDS = 1800, 7200  # a model at home reads a prompt for minutes before its first word
KEYS = "set OPENAI_API_KEY, or use --agent search"
ADDRESS = "--base-url"
PROXIES = "look at HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE, or use --agent search"
OPENAI = "api.openai.com"


class Service:
    """See llm/reply.py, Service."""

    knows_editor = False

    def __init__(self, model: str | None, base_url: str | None, read_seconds: float = READ_SECONDS):
        """model: None takes the only one that the server has. read_seconds: without a byte. Raises UsageError."""
        import openai

        self._sdk, self._read_seconds, self._watch = openai, read_seconds, http.Watch()
        url = base_url or os.environ.get("OPENAI_BASE_URL") or f"https://{OPENAI}/v1"
        key = os.environ.get("OPENAI_API_KEY")
        is_openai = OPENAI in url
        if not key and is_openai:
            raise UsageError("the agent openai needs a key, or the address of a server of your own", f"{KEYS}, or give {ADDRESS}")
        try:
            self._client = openai.OpenAI(
                api_key=key or "none", base_url=url, max_retries=0, http_client=http.client(openai, self._watch),
                timeout=openai.Timeout(read_seconds, connect=CONNECT_SECONDS),
            )  # fmt: skip
        except Exception as error:  # of its HTTP library: a proxy or a certificate that is not there
            raise UsageError(f"the client can't be made: {reply.shown(str(error) or type(error).__name__)}", PROXIES) from None
        if self._client.base_url.scheme not in ("http", "https") or not self._client.base_url.host:
            raise UsageError(f"{ADDRESS} is {url!r}; write it as in http://127.0.0.1:11434/v1")
        self._wires: list[wires.Chat | wires.Responses] = [wires.Chat(True, "max_tokens"), wires.Responses()]
        if is_openai:
            self._wires = [wires.Responses(), wires.Chat(True, "max_completion_tokens")]
        self.known: dict[str, int | None] = {}  # models, and their context where the server says it
        self.model = model or ""
        self.model = model or self._only_model()

    @property
    def host(self) -> str:
        """Its name, and its port where the address has one."""
        return self._client.base_url.netloc.decode("ascii", "replace").rpartition("@")[2]

    def close(self) -> None:
        """Its connections; no request after this."""
        self._client.close()

    def list_models(self) -> None:
        """Fill `known`. Raises AutoresearchError where nobody answers."""
        self._watch.begin(LIST_SECONDS)
        try:
            listed = self._client.with_options(timeout=LIST_SECONDS).models.list()
            for model in list(listed.data or [])[:10_000]:
                name, extra = str(model.id), model.model_extra or {}
                sizes = (extra.get("max_model_len"), extra.get("context_length"), (extra.get("meta") or {}).get("n_ctx"))
                if name.isprintable() and len(name) <= LONGEST_NAME:
                    self.known[name] = next((size for size in sizes if type(size) is int and size > 0), None)
        except Exception as error:
            raise (ours.error if (ours := reply.ended(error)) else self._translated(error)[1]) from None

    def _only_model(self) -> str:
        try:
            self.list_models()
        except AutoresearchError as error:
            self.close()
            why = f"the models of {self.host} can't be listed ({error})"
            raise UsageError(f"{why}; start it, mend {ADDRESS}, or give --model") from None
        if len(self.known) != 1:
            self.close()
            names = ", ".join(sorted(self.known)[:12]) or "none that it tells"
            raise UsageError(f"the agent openai needs a model; give --model one of those of {self.host}: {names}")
        return next(iter(self.known))

    def ask(self, request: dict[str, Any], wanted: Callable[[], bool] = lambda: True) -> Reply:
        """See llm/reply.py, Service."""
        while True:
            wire, started, answer = self._wires[0], time.monotonic(), wires.Answer()
            error: tuple[str, AutoresearchError] | None = None
            self._watch.begin(REQUEST_SECONDS, wanted)
            try:
                body = wire.request(request)
                api: Any = self._client.responses if isinstance(wire, wires.Responses) else self._client.chat.completions
                with api.create(model=self.model, stream=True, **body) as stream:
                    answer = wire.take(reply.bounded(stream, self.host, request["max_tokens"]))
            except Exception as raised:
                if self._other_wire(raised):
                    continue
                ours = reply.ended(raised)
                error = (ours.outcome, ours.error) if ours else self._translated(raised)
            error = error or self._fault(answer, request["max_tokens"])
            ask = self._ask(answer, "answered" if error is None else error[0], time.monotonic() - started)
            return Reply(ask, error=error[1]) if error else Reply(ask, tuple(answer.blocks))

    def _other_wire(self, error: Exception) -> bool:
        """Whether the server asks for another form of the same request, which it then gets from now on."""
        if not isinstance(error, self._sdk.APIStatusError):
            return False
        message, wire = str(error).lower(), self._wires[0]
        if isinstance(wire, wires.Chat) and wire.has_tools and "tool" in message and "support" in message:
            self._wires = [wires.Chat(False, "max_tokens")]
            return True
        if error.status_code in (404, 405) and "model" not in message and len(self._wires) > 1:
            self._wires = self._wires[1:]
            return True
        return False

    def _ask(self, answer: wires.Answer, outcome: str, seconds: float) -> Ask:
        ask = Ask(self.model, outcome, round(seconds, 3), output_tokens=answer.output_tokens, cost_usd=answer.cost_usd)
        if answer.input_tokens is None:
            return ask
        read = min(answer.cached_tokens or 0, answer.input_tokens)
        ask = replace(ask, input_tokens=answer.input_tokens - read, cache_read_tokens=read)
        if ask.cost_usd is None and answer.output_tokens is not None:
            tokens = prices.Tokens(answer.input_tokens - read, answer.output_tokens, read=read)
            return replace(ask, cost_usd=prices.cost_usd(self.model, tokens))
        return ask

    # ------------------------------------------------------------------------------------------------------ errors

    def _fault(self, answer: wires.Answer, max_tokens: int) -> tuple[str, AutoresearchError] | None:
        if answer.error is not None:
            message = self._shown(answer.error)
            return "error in the answer", reply.refusal(self._asked(), 500, message)
        if answer.reason is None:
            return ("cut off", Unavailable("the answer ended half-way")) if answer.blocks else _NO_MESSAGE
        if answer.reason in ("refusal", "content_filter"):
            return "refused", Unavailable("the model refused to answer")
        if answer.reason == "length":
            return "cut off: length", reply.cut_short(max_tokens)
        if not any(block.type != "raw" for block in answer.blocks):
            return "empty answer", Unavailable("an empty answer")
        return None

    def _translated(self, error: Exception) -> tuple[str, AutoresearchError]:
        """(outcome in a few words, our error). Never raises."""
        if isinstance(error, self._sdk.APIStatusError):
            return self._status(error)
        if isinstance(error, self._sdk.APIError) and not isinstance(error, self._sdk.APIConnectionError):  # an event of the stream
            return "error in the answer", reply.refusal(self._asked(), 500, self._shown(error.message))
        message = self._shown(str(error.__cause__ or error))
        return reply.broken_off(error, self._sdk, self.host, self._read_seconds, message)

    def _status(self, error: "APIStatusError") -> tuple[str, AutoresearchError]:
        body = error.body if isinstance(error.body, dict) else {}
        words = " ".join(str(part) for part in (error.type, error.code) if part and isinstance(part, str))
        message = body.get("message") or body.get("error") or body.get("detail") or error.message
        wait = reply.retry_seconds(error.response.headers)
        return f"{error.status_code} {words}".strip(), reply.refusal(
            self._asked(), error.status_code, self._shown(str(message)), words, wait
        )

    def _asked(self) -> Asked:
        return Asked(self.host, self.model, KEYS, ADDRESS, tuple(sorted(self.known)))

    def _shown(self, text: str) -> str:
        return reply.shown(text, None if self._client.api_key == "none" else self._client.api_key)


_NO_MESSAGE = "malformed answer", Unavailable(f"an answer that is no message; is {ADDRESS} that of an API?")
