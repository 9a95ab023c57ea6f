"""One request to a service that speaks Anthropic's Messages API, by its SDK: what was answered, what it cost, what went wrong.

Every end of a request is one Reply with an Ask for the ledger; an error in it is ours, in words that end in what to do:

    Unavailable          rate limit, overload, no network, time-out, cut or malformed answer: the loop asks again later
    EnvironmentFailure   rejected key, no credit, a request that the service does not take: no waiting helps
    UsageError           no such model

The SDK alone reads the key, from the environment. Its exceptions hold the request with the key: none is passed on or chained,
and what the service says is shown without the key, whatever it says.
"""

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from autoresearch.agents.base import Ask, Unavailable
from autoresearch.agents.claude import prices
from autoresearch.errors import AutoresearchError, EnvironmentFailure, UsageError, nearest

if TYPE_CHECKING:
    from anthropic import APIStatusError, MessageStream
    from anthropic.types import ParsedMessage

CONNECT_SECONDS = 10  # chosen: a name look-up and a handshake on a slow line
READ_SECONDS = 120  # without a byte; the service sends pings while a model thinks
REQUEST_SECONDS = 900  # in all; chosen: three experiments of 300 s
KEYS = "set ANTHROPIC_API_KEY (for a local server, with ANTHROPIC_BASE_URL, to any word), or use --agent search"
# Codes of refused credit that come with a status that would say otherwise (anthropic/_error_classes.py of the SDK).
NO_CREDIT_CODES = ("contract_spend_limit_reached", "enforced_spend_limit_reached", "organization_on_hold")
NO_CREDIT_WORDS = ("credit balance", "billing")  # the status 400 of an empty account has no code of its own


class BadRequest(EnvironmentFailure):
    """The service does not take the request: the same one again would be refused again."""


@dataclass(frozen=True)
class Reply:
    ask: Ask
    content: tuple[Any, ...] = ()  # the SDK's blocks, to be sent back as they are
    error: AutoresearchError | None = None


class Service:
    def __init__(self, model: str, read_seconds: float = READ_SECONDS):
        import anthropic

        self.model, self._sdk = model, anthropic
        self._read_seconds = read_seconds
        try:
            timeout = anthropic.Timeout(read_seconds, connect=CONNECT_SECONDS)
            self._client = anthropic.Anthropic(max_retries=0, timeout=timeout)  # the loop backs off, and trains meanwhile
        except anthropic.AnthropicError as error:
            reason = str(error)
            raise UsageError(f"the key can't be read: {reason}", KEYS) from None
        if not (self._client.api_key or self._client.auth_token or self._client.credentials):
            raise UsageError("the agent claude needs a key", KEYS)

    @property
    def host(self) -> str:
        return self._client.base_url.host

    @property
    def is_anthropic(self) -> bool:
        return self.host == "anthropic.com" or self.host.endswith(".anthropic.com")

    def close(self) -> None:
        """Its connections; no request after this."""
        self._client.close()

    def ask(self, request: dict[str, Any], wanted: Callable[[], bool] = lambda: True) -> Reply:
        """request: what messages.stream takes besides the model. Raises nothing: errors are in the reply."""
        started, stream, ended = time.monotonic(), None, False
        error: tuple[str, AutoresearchError] | None = None
        try:
            with self._client.messages.stream(model=self.model, **request) as stream:
                for event in stream:
                    ended = ended or event.type == "message_stop"
                    if not wanted():
                        error = "ended early", Unavailable("nobody waits for the answer any more")
                        break
                    if time.monotonic() - started > REQUEST_SECONDS:
                        error = "timed out", Unavailable(f"no whole answer within {REQUEST_SECONDS} s")
                        break
        except Exception as raised:  # not only the SDK's: what its parser and its HTTP library raise comes through as it is
            error = self._translated(raised)
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
        import httpx2  # the SDK's HTTP library, whose own errors come through while a stream is read

        sdk, host = self._sdk, self.host
        if isinstance(error, sdk.APIStatusError):
            return self._status(error)
        if isinstance(error, sdk.APITimeoutError | httpx2.TimeoutException):
            return "timed out", Unavailable(f"no word from {host} within {self._read_seconds:g} s")
        if isinstance(error, sdk.APIConnectionError):
            why = self._shown(str(error.__cause__ or error))
            return "no connection", Unavailable(f"no connection to {host}: {why}")
        if isinstance(error, httpx2.TransportError):
            return "cut off", Unavailable(f"the answer of {host} was cut off")
        kind = type(error).__name__
        return "malformed answer", Unavailable(f"a malformed answer of {host} ({kind})")

    def _status(self, error: "APIStatusError") -> tuple[str, AutoresearchError]:
        status, kind, code = error.status_code, error.type, error.error_code
        said = self._shown(error.api_message or error.message)
        outcome = " ".join(str(part) for part in (status if status != 200 else "", kind or "") if part) or "error"
        words = said.lower()
        if (
            status == 402
            or kind == "billing_error"
            or code in NO_CREDIT_CODES
            or (status == 400 and any(word in words for word in NO_CREDIT_WORDS))
        ):
            return outcome, EnvironmentFailure(f"no credit at {self.host}: {said}; add credit there, or use --agent search")
        if status == 401 or kind == "authentication_error":
            return outcome, EnvironmentFailure(f"{self.host} rejects the key: {said}; {KEYS}")
        if status == 403:
            return outcome, EnvironmentFailure(f"{self.host} forbids it: {said}; use another key, or --agent search")
        if status == 404:
            known = get_args(get_args(self._sdk.types.Model)[0])
            close = nearest(self.model, known) or f"; give --model one that it has, such as {known[0]}"
            return outcome, UsageError(f"{self.host} has no model {self.model!r} ({said}){close} (--model, ANTHROPIC_BASE_URL)")
        if status in (400, 413, 422):
            return outcome, BadRequest(f"{self.host} does not take the request: {said}; try another --model, or --agent search")
        return outcome, Unavailable(f"{self.host} answers {outcome}: {said}", _retry_seconds(error.response.headers))

    def _shown(self, text: str) -> str:
        """What a service says, as a part of one line and without our key."""
        for secret in (self._client.api_key, self._client.auth_token):
            text = text.replace(secret, "(key)") if secret else text
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line[:300] or "no reason given"


def _count(usage: object, name: str) -> int | None:
    """None for what a server leaves out, or fills with something else."""
    value = getattr(usage, name, None)
    return value if type(value) is int and value >= 0 else None


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
        longer = f"the answer was longer than the {max_tokens} tokens left (--max-tokens-per-experiment)"
        return f"cut off: {message.stop_reason}", Unavailable(longer)
    if not any(block.type == "tool_use" or (block.type == "text" and block.text.strip()) for block in message.content):
        return "empty answer", Unavailable("an empty answer")
    return None


def _retry_seconds(headers: Mapping[str, str]) -> float | None:
    """What the service asks to wait: a number of seconds or a date."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    date = email.utils.parsedate_tz(value)
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
