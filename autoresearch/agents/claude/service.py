"""One request to a service that speaks Anthropic's Messages API, by its SDK: what was answered, what it cost, what went wrong.

Every end of a request is one Reply (llm/reply.py) with an Ask for the ledger. The SDK alone reads the key, from the environment.
Its exceptions hold the request with the key: none is passed on or chained, and what the service says is shown without the key.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from autoresearch.agents.base import Ask, Unavailable
from autoresearch.agents.llm import http, prices, reply
from autoresearch.agents.llm.reply import Asked, Reply
from autoresearch.errors import AutoresearchError, UsageError

if TYPE_CHECKING:
    from anthropic import APIStatusError, MessageStream
    from anthropic.types import ParsedMessage

CONNECT_SECONDS = 10  # chosen: a name look-up and a handshake on a slow line
# Without a byte. Anthropic sends pings while a model thinks; a model at home reads a prompt of 20,000 tokens for minutes first, at
# 20 to 100 tokens/s without a GPU.
READ_SECONDS, READ_SECONDS_AT_HOME = 120, 1800
REQUEST_SECONDS, REQUEST_SECONDS_AT_HOME = 900, 7200  # in all; chosen: the first is three experiments of 300 s
KEYS = "set ANTHROPIC_API_KEY (for a local server, with ANTHROPIC_BASE_URL, to any word), or use --agent search"
PROXIES = "look at HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE, or use --agent search"
# Codes of refused credit that come with a status that would say otherwise (anthropic/_error_classes.py of the SDK).
NO_CREDIT_CODES = ("contract_spend_limit_reached", "enforced_spend_limit_reached", "organization_on_hold")


class Service:
    def __init__(self, model: str, read_seconds: float | None = None):
        """read_seconds: without a byte; None: as the host is."""
        import anthropic

        self.model, self._sdk, self._watch = model, anthropic, http.Watch()
        try:
            # The loop backs off, and trains meanwhile. The SDK's own HTTP client complains from its __del__ if it can't be made.
            self._client = anthropic.Anthropic(max_retries=0, http_client=http.client(anthropic, self._watch))
        except anthropic.AnthropicError as error:
            raise UsageError(f"the key can't be read: {reply.shown(str(error))}", KEYS) from None
        except Exception as error:  # of its HTTP library: a proxy or a certificate that is not there
            raise UsageError(f"the client can't be made: {reply.shown(str(error) or type(error).__name__)}", PROXIES) from None
        if self._client.base_url.scheme not in ("http", "https") or not self._client.base_url.host:
            address = str(self._client.base_url).rstrip("/")
            raise UsageError(f"ANTHROPIC_BASE_URL is {address!r}; write it as in http://127.0.0.1:11434")
        if not (self._client.api_key or self._client.auth_token or self._client.credentials):
            raise UsageError("the agent claude needs a key", KEYS)
        self.knows_editor = self.host == "anthropic.com" or self.host.endswith(".anthropic.com")
        own = READ_SECONDS if self.knows_editor else READ_SECONDS_AT_HOME
        self._read_seconds = own if read_seconds is None else read_seconds
        self._request_seconds = REQUEST_SECONDS if self.knows_editor else REQUEST_SECONDS_AT_HOME
        self._client = self._client.with_options(timeout=anthropic.Timeout(self._read_seconds, connect=CONNECT_SECONDS))

    @property
    def host(self) -> str:
        """Its name, and its port where the address has one."""
        return self._client.base_url.netloc.decode("ascii", "replace").rpartition("@")[2]

    def close(self) -> None:
        """Its connections; no request after this."""
        self._client.close()

    def ask(self, request: dict[str, Any], wanted: Callable[[], bool] = lambda: True) -> Reply:
        """request: what messages.stream takes besides the model. Raises nothing: errors are in the reply."""
        started, stream, ended = time.monotonic(), None, False
        error: tuple[str, AutoresearchError] | None = None
        self._watch.begin(self._request_seconds, wanted)
        try:
            with self._client.messages.stream(model=self.model, **request) as stream:
                for event in reply.bounded(stream, self.host, request["max_tokens"]):
                    ended = ended or event.type == "message_stop"
        except Exception as raised:  # not only the SDK's: what its parser and its HTTP library raise comes through as it is
            ours = reply.ended(raised)
            error = (ours.outcome, ours.error) if ours else self._translated(raised)
        message = _snapshot(stream)
        if error is None:
            error = _fault(message, ended, request["max_tokens"])
        ask = self._ask(message, "answered" if error is None else error[0], time.monotonic() - started)
        if error is not None:
            return Reply(ask, error=error[1])
        assert message is not None, "of none there is a fault"
        return Reply(ask, tuple(block for block in message.content if not (block.type == "text" and not block.text)))

    def _ask(self, message: "ParsedMessage[None] | None", outcome: str, seconds: float) -> Ask:
        usage = getattr(message, "usage", None)
        ask = Ask(self.model, outcome, round(seconds, 3))
        fresh, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        read, write = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        ask = replace(ask, input_tokens=fresh, output_tokens=output, cache_read_tokens=read, cache_write_tokens=write)
        if fresh is None or output is None:
            return ask
        # Of an answer that was cut off, the output is what was counted until then: the cost is a lower bound.
        short = _count(getattr(usage, "cache_creation", None), "ephemeral_5m_input_tokens") or 0
        tokens = prices.Tokens(fresh, output, write_5m=short, write_1h=max(0, (write or 0) - short), read=read or 0)
        return replace(ask, cost_usd=prices.cost_usd(self.model, tokens))

    # ------------------------------------------------------------------------------------------------------ errors

    def _translated(self, error: Exception) -> tuple[str, AutoresearchError]:
        """(outcome in a few words, our error). Never raises."""
        if isinstance(error, self._sdk.APIStatusError):
            return self._status(error)
        message = self._shown(str(error.__cause__ or error))
        return reply.broken_off(error, self._sdk, self.host, self._read_seconds, message)

    def _status(self, error: "APIStatusError") -> tuple[str, AutoresearchError]:
        status, kind = error.status_code, error.type or ""
        outcome = " ".join(part for part in (str(status) if status != 200 else "", kind) if part) or "error"
        words = "billing_error" if error.error_code in NO_CREDIT_CODES else kind
        asked = Asked(self.host, self.model, KEYS, "ANTHROPIC_BASE_URL", get_args(get_args(self._sdk.types.Model)[0]))
        message, wait = self._shown(error.api_message or error.message), reply.retry_seconds(error.response.headers)
        return outcome, reply.refusal(asked, status, message, words, wait)

    def _shown(self, text: str) -> str:
        return reply.shown(text, self._client.api_key, self._client.auth_token)


def _count(usage: object, name: str) -> int | None:
    return prices.count(getattr(usage, name, None))


def _snapshot(stream: "MessageStream[None] | None") -> "ParsedMessage[None] | None":
    """The message as far as it came; None before its beginning."""
    try:
        return stream.current_message_snapshot if stream else None
    except AssertionError:  # the SDK's, for a stream without a beginning
        return None


def _fault(message: "ParsedMessage[None] | None", ended: bool, max_tokens: int) -> tuple[str, AutoresearchError] | None:
    """What is wrong with a message that came without an error."""
    if message is None:
        return "malformed answer", Unavailable("an answer that is no message")
    if not ended:
        return "cut off", Unavailable("the answer ended half-way")
    if message.stop_reason == "refusal":
        kind = getattr(message.stop_details, "category", None) or "no category"
        return f"refused ({kind})", Unavailable(f"the model refused to answer ({kind})")
    if message.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        return f"cut off: {message.stop_reason}", reply.cut_short(max_tokens)
    if not any(block.type == "tool_use" or (block.type == "text" and block.text.strip()) for block in message.content):
        return "empty answer", Unavailable("an empty answer")
    return None
