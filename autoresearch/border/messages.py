"""Every message that a worker sends: bounded in length and number, of a known kind, with known fields, in an allowed order.

A worker runs hostile code, so what it says is taken from here alone. Whatever breaks the protocol is RunFailed("invalid"), which
is an ordinary discard; `Conversation.take` raises nothing else, whatever the bytes are, and keeps none of them.

A protocol is data: for each kind of message its fields, how many may come, and from which state of the conversation to which it
leads. What the harness says moves the state too (`move`): logits can only come after rows were asked for.
"""

import builtins
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoresearch.errors import RunFailed
from autoresearch.text import one_line

LINE_BYTES = 1 << 16  # of a training's or a scoring's message: the longest honest one has some hundred
REASON_CHARACTERS = 400
MOST_FACTS = 100
STEPS_A_SECOND, MOST_STEPS = 100, 2000  # reports of the loss: measure/run.py sends 4 a second
MOST_ROWS, MOST_TOKENS = 1 << 20, 1 << 25  # of one batch; the largest shipped profile asks for 2^18 tokens

Check = Callable[[object], bool]


def number(low: float, high: float, whole: bool = False) -> Check:
    """A number in [low, high], which are finite; NaN is in no such range. True and False are no numbers."""
    return lambda value: (type(value) is int or (type(value) is float and not whole)) and low <= value <= high


def text(longest: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= longest


def word(*allowed: str) -> Check:
    return lambda value: isinstance(value, str) and value in allowed


def flag(value: object) -> bool:
    return isinstance(value, bool)


def many(check: Check, most: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def known(value: object) -> bool:
    """A table under short names. What is in it is read one by one, by `count`."""
    return isinstance(value, dict) and len(value) <= 64 and all(len(name) <= 64 for name in value)


def count(value: object) -> int | None:
    """A number that agent code reported, or None when it is not one."""
    if (type(value) is int or type(value) is float) and 0 <= value < 2**63:  # neither NaN nor beyond what a float can divide
        return int(value)
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of message. moves: state -> the state after it; where a state is not named it may not come."""

    moves: Mapping[str, str]
    fields: Mapping[str, Check] = field(default_factory=dict)  # all must be there
    spare: Mapping[str, Check] = field(default_factory=dict)  # may be there
    most: float = 1


@dataclass(frozen=True)
class Protocol:
    start: str
    kinds: Mapping[str, Kind]
    line_bytes: int = LINE_BYTES


OUTSIDE, ENDED = "outside", "ended"
KINDS_OF_FAILURE = ("crash", "oom", "diverged")
EXCEPTIONS = tuple(name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException))
_WHERE = {"error": word(*EXCEPTIONS), "line": number(0, 1 << 20, whole=True)}


def failed(*states: str, kinds: tuple[str, ...] = KINDS_OF_FAILURE) -> Kind:
    return Kind(dict.fromkeys(states, ENDED), {"kind": word(*kinds), "reason": text(REASON_CHARACTERS)}, spare=_WHERE)


def training(budget_seconds: float) -> Protocol:
    """starting -> (ready) -> ready -> [go] -> going -> (batch) -> fed -> (saved) -> saved -> (ended)."""
    everywhere = ("starting", "ready", "going", "fed", "saved")
    size = number(1, MOST_ROWS, whole=True)
    return Protocol("starting", {
        "facts": Kind({state: state for state in everywhere}, {"facts": known}, most=MOST_FACTS),
        "ready": Kind({"starting": "ready"}),
        "batch": Kind({"going": "fed", "fed": "fed"}, {"rows": size, "seq_len": size, "ahead": flag}, most=math.inf),
        "step": Kind(
            {"going": "going", "fed": "fed"}, {"loss": number(-1e9, 1e9), "progress": number(0, 1)},
            most=MOST_STEPS + STEPS_A_SECOND * budget_seconds,
        ),
        "saved": Kind({"fed": "saved"}, {"steps": number(1, 1e12, whole=True)}),
        "ended": Kind(dict.fromkeys(everywhere, ENDED)),
        "failed": failed(*everywhere),
    })  # fmt: skip


def scoring(slots: int) -> Protocol:
    """starting -> (built) -> built -> [weights] -> loading -> (ready) -> ready -> [rows] -> asked -> (scored) -> asked ...

    From `asked` on the process has seen held-out text: of what it says when it fails, only the kind is listened to.
    """
    before, after = ("starting", "built", "loading", "ready"), "asked"
    return Protocol("starting", {
        "built": Kind({"starting": "built"}),
        "ready": Kind({"loading": "ready"}),
        "scored": Kind({after: after}, {"slot": number(0, slots - 1, whole=True)}, most=math.inf),
        "failed": failed(*before, after),
    })  # fmt: skip


class Conversation:
    """What a worker has said so far, and what it may say next."""

    def __init__(self, protocol: Protocol, is_inside: bool = True):
        """is_inside: else its first word must be that it has entered its cell, or why not."""
        kinds = dict(protocol.kinds)
        if not is_inside:
            kinds |= {
                "entered": Kind({OUTSIDE: protocol.start}),
                "refused": Kind({OUTSIDE: ENDED}, {"reason": text(REASON_CHARACTERS)}),
            }
        self.line_bytes = protocol.line_bytes
        self.state = protocol.start if is_inside else OUTSIDE
        self._kinds = kinds
        self._counts: Counter[str] = Counter()

    def move(self, state: str) -> None:
        """The harness has said something, after which other messages may come."""
        self.state = state

    def take(self, line: bytes) -> dict[str, Any]:
        """The message in a line. RunFailed("invalid") for anything else."""
        if len(line) > self.line_bytes:
            raise invalid(f"a message of more than {self.line_bytes} bytes")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise invalid("something that is no message") from None
        if not (isinstance(message, dict) and isinstance(name := message.get("type"), str) and (kind := self._kinds.get(name))):
            raise invalid("a message of no known kind")
        if self.state not in kind.moves:
            raise invalid(f"the message `{name}` where it can't come")
        self._counts[name] += 1
        if self._counts[name] > kind.most:
            raise invalid(f"more than {kind.most:.0f} messages `{name}`")
        self._check_fields(name, kind, message)
        was, self.state = self.state, kind.moves[self.state]
        if name in ("failed", "refused"):
            return _last_words(message, bare=was == "asked")
        return message

    def _check_fields(self, name: str, kind: Kind, message: dict[str, Any]) -> None:
        for key, check in kind.fields.items():
            if key not in message or not check(message[key]):
                raise invalid(f"the message `{name}` without a good `{key}`")
        for key, value in message.items():
            if key != "type" and key not in kind.fields and not (key in kind.spare and kind.spare[key](value)):
                raise invalid(f"the message `{name}` with something that does not belong there")


def lines(read: Callable[[], bytes], most_bytes: int) -> Iterator[bytes]:
    """The lines of what read() gives in blocks, until it gives nothing. One that grows longer than most_bytes is the last: it is
    given cut, longer than it may be. Never more than a line and a block is in memory.
    """
    held = b""
    while data := read():
        *whole, held = (held + data).split(b"\n")
        yield from whole
        if len(held) > most_bytes:
            yield held
            return


def invalid(what: str) -> RunFailed:
    return RunFailed("invalid", f"its process sent {what}")


def _last_words(message: dict[str, Any], bare: bool) -> dict[str, Any]:
    """Why a worker failed: its own words made harmless; bare: none of them."""
    if not bare:
        return message | {"reason": one_line(message["reason"], REASON_CHARACTERS)}
    return message | {"reason": "an error, while it scored held-out text"}
