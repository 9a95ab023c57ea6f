"""What comes of one request to a model's service, and what its refusals mean, in the words of our options.

    Unavailable          rate limit, overload, no network, time-out, cut or malformed answer: asked again soon
    EnvironmentFailure   rejected key, no credit, a request that the service does not take: asked again much later
    UsageError           no such model: the same

None of them ends a night: the search goes on, and the panel says why it goes on alone (propose/proposer.py).
"""

import email.utils
import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from autoresearch.agents.base import Ask, Unavailable
from autoresearch.errors import AutoresearchError, EnvironmentFailure, UsageError, nearest

NO_CREDIT_WORDS = ("credit balance", "billing", "insufficient_quota")  # an empty account's status has often no code of its own
_NO_MODEL = re.compile(r"model.{0,80}(not found|not exist|unknown|not a valid)|(unknown|invalid|no such) model")
EVENTS_PER_TOKEN, PINGS = 4, 10_000  # of a stream: more than an answer has, with a ping a second for hours
Event = TypeVar("Event")
_WORDS = 300  # characters of what a service says


class BadRequest(EnvironmentFailure):
    """The service does not take the request: the same one again would be refused again."""


class TooLong(BadRequest):
    """The service takes fewer tokens. context: of the request and its answer together; output: of the answer; None: not said."""

    def __init__(self, reason: str, context: int | None, output: int | None):
        super().__init__(reason)
        self.context, self.output = context, output


@dataclass(frozen=True)
class Reply:
    ask: Ask
    content: tuple[Any, ...] = ()  # blocks with a `type`: text, tool_use and others, to be sent back as they are
    error: AutoresearchError | None = None


class Service(Protocol):
    """Asks one model. The request is one of Anthropic's Messages: max_tokens, system, messages, tools."""

    model: str
    knows_editor: bool  # Anthropic's editor by its type, without a schema

    @property
    def host(self) -> str:
        """Its name, and its port where the address has one."""
        ...

    def ask(self, request: dict[str, Any], wanted: Callable[[], bool]) -> Reply:
        """Raises nothing: errors are in the reply."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Asked:
    """Who was asked for what: for the words of a refusal."""

    host: str
    model: str
    keys: str  # what to do about a key
    address: str  # the option or variable that names the server
    known: Sequence[str] = ()  # models that it may have


def is_at_home(host: str) -> bool:
    """Whether a host, with its port or without, is this machine or a neighbour, where answers cost nothing."""
    name = host.rpartition(":")[0].strip("[]") if re.search(r"(^[^:]*|\]):\d+$", host) else host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return "." not in name or name.endswith((".local", ".lan", ".home.arpa"))


def refusal(asked: Asked, status: int, message: str, words: str = "", retry_seconds: float | None = None) -> AutoresearchError:
    """The error for an HTTP status. message: the service's sentence, fit to be shown. words: its kind and code of the error."""
    host, text = asked.host, f"{words} {message}".lower()
    if 300 <= status < 400:
        return EnvironmentFailure(f"{host} sends requests elsewhere ({status}), which is not followed; mend {asked.address}")
    if status == 402 or "billing_error" in words or (status in (400, 403, 429) and any(word in text for word in NO_CREDIT_WORDS)):
        return EnvironmentFailure(f"no credit at {host}: {message}; add credit there, or use --agent search")
    if status == 401 or "authentication_error" in words:
        return EnvironmentFailure(f"{host} rejects the key: {message}; {asked.keys}")
    if status == 403:
        return EnvironmentFailure(f"{host} forbids it: {message}; use another key, or --agent search")
    if status in (400, 413, 422, 500) and any(limits := sizes(message)):
        context, output = limits
        size = f"{context:,} tokens of context" if context else f"{output:,} tokens of an answer"
        option = f"--context {context}" if context else f"--max-tokens-per-experiment {output}"
        return TooLong(f"{host} takes {size} only: {message}; {option} says so from the start", context, output)
    if (status == 404 and "model" in text) or (status == 400 and _NO_MODEL.search(text)):
        others = [model for model in asked.known if model != asked.model]
        close = nearest(asked.model, asked.known) or f"; give --model one that it has{f', such as {others[0]}' if others else ''}"
        return UsageError(f"{host} has no model {asked.model!r} ({message}){close} (--model, {asked.address})")
    if status in (404, 405):
        return EnvironmentFailure(f"{host} answers {status} ({message}): nothing is served there; mend {asked.address}")
    if status in (400, 413, 422):
        return BadRequest(f"{host} does not take the request: {message}; try another --model, or --agent search")
    return Unavailable(f"{host} answers {f'{status} {words}'.strip()}: {message}", retry_seconds)


# What a context or an answer may have at most, as services say it: Anthropic, OpenAI, vLLM, llama.cpp, LM Studio.
_OUTPUT = (
    r"> ?([\d,]+), which is the maximum allowed number of output tokens",
    r"at most ([\d,]+) completion tokens",
    r"max_(?:completion_|output_)?tokens\W.{0,80}?(?:at most|less than or equal to|<=|maximum of|maximum is)\D{0,20}?([\d,]+)",
)
_CONTEXT = (
    r"> ?([\d,]+)(?: maximum|, decrease input)",
    r"context (?:length|size|window)\D{0,40}?([\d,]+)",
    r"maximum (?:input|prompt|sequence) length\D{0,20}?([\d,]+)",
)


def sizes(message: str) -> tuple[int | None, int | None]:
    """(context, output) in tokens, as far as a refusal names them."""
    return _first(_CONTEXT, message), _first(_OUTPUT, message)


def _first(patterns: Iterable[str], message: str) -> int | None:
    for pattern in patterns:
        if match := re.search(pattern, message, re.IGNORECASE):
            return int(match[1].replace(",", "")) or None
    return None


def shown(text: str, *secrets: str | None) -> str:
    """What a service says, as a part of one line and without our key."""
    for secret in secrets:
        text = text.replace(secret, "(key)") if secret else text
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line[:_WORDS] or "no reason given"


def retry_seconds(headers: Mapping[str, str]) -> float | None:
    """What the service asks to wait: a number of seconds or a date."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    date = email.utils.parsedate_tz(value)
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def cut_short(max_tokens: int) -> Unavailable:
    return Unavailable(f"the answer was longer than the {max_tokens} tokens left (--max-tokens-per-experiment, --context)")


class Ended(Exception):
    """We ended an answer. outcome: in a few words."""

    def __init__(self, outcome: str, error: Unavailable):
        super().__init__(outcome)
        self.outcome, self.error = outcome, error


def broken_off(error: Exception, sdk: Any, host: str, read_seconds: float, message: str) -> tuple[str, AutoresearchError]:
    """(outcome in a few words, our error) of what ended a request without a status.

    sdk: Anthropic's or OpenAI's, whose errors have the same names. read_seconds: without a byte. message: the error's text, fit to
    be shown.
    """
    import httpx2  # the SDKs' HTTP library, whose own errors come through while a stream is read

    if isinstance(error, sdk.APITimeoutError | httpx2.TimeoutException):
        return "timed out", Unavailable(f"no word from {host} within {read_seconds:g} s")
    if isinstance(error, sdk.APIConnectionError):
        return "no connection", Unavailable(f"no connection to {host}: {message}")
    if isinstance(error, httpx2.TransportError):
        return "cut off", Unavailable(f"the answer of {host} was cut off")
    return "malformed answer", Unavailable(f"a malformed answer of {host} ({type(error).__name__})")


def bounded(events: Iterable[Event], host: str, max_tokens: int) -> Iterator[Event]:
    """The events of a stream. Raises Ended for a stream without an end."""
    for number, event in enumerate(events):
        if number > EVENTS_PER_TOKEN * max_tokens + PINGS:
            raise Ended("endless answer", Unavailable(f"{host} answers without an end"))
        yield event


def ended(error: Exception) -> Ended | None:
    """Where we ended it: while its head is read the SDK makes it the cause of an error of its own."""
    return next((one for one in (error, error.__cause__) if isinstance(one, Ended)), None)
