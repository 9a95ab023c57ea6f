"""What the owner allows a train.py to be, beyond the score: enforced by the harness, not by the words of program.md.

A limit is `quantity<=number` or `quantity>=number` of what quantities.py measures. Three have options of their own:
--max-params, --max-memory-gb (of the training) and --min-tok-s.

What is known before the training (READY) is checked there, so that it costs no training time; speed from a tenth of the training
on; what is known when the weights are saved then, before they are scored. What scoring measures is judged by the median of an
experiment's runs (loop/next_step.py; docs/design/limits.md).
Not covered: a train.py that lies about its memory (the runtime's figure comes out of the process that agent code runs in), or that
asks for text and does not train on it.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from autoresearch import records
from autoresearch.errors import UsageError, nearest
from autoresearch.hardware.devices import accelerator
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.now.energy import Meter
from autoresearch.run.quantities import OF_COMMANDS, QUANTITIES, SCORING, Quantity, figure

Bound = Annotated[float, Meta(gt=0, description="a number above 0")]

BROKEN = "limit"  # the ledger's state of a run that broke one, and of such an experiment
NAMED = {  # with an option of their own; their names in study.toml and the ledger are older than the others
    "max_params": ("params", "<="),
    "max_memory_gb": ("train_memory_gb", "<="),
    "min_tok_s": ("tokens_per_second", ">="),
}
WARN = "warn"
_TEXT = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]{0,31})\s*(<=|>=|=<|=>|≤|≥|=|<|>)\s*(\S+?)(?:\s+(warn|discard))?\s*")
_SENSES = {"<=": "<=", "=<": "<=", "≤": "<=", ">=": ">=", "=>": ">=", "≥": ">="}
_FORM = "it is written `latency_ms<=5` or `num_steps>=100`, and `latency_ms=none` lifts one; in a shell in quotation marks"


@dataclass(frozen=True)
class Limit:
    quantity: str
    sense: str  # <= or >=
    value: float
    warns: bool = False  # what is beyond it is kept all the same, and said

    def __str__(self) -> str:
        return f"{self.quantity}{self.sense}{self._number}{f' {WARN}' * self.warns}"

    @property
    def _number(self) -> str:
        return short if float(short := f"{self.value:.10g}") == self.value else repr(self.value)

    @property
    def key(self) -> tuple[str, str]:
        return self.quantity, self.sense

    @property
    def name(self) -> str | None:
        """In NAMED."""
        return None if self.warns else next((name for name, key in NAMED.items() if key == self.key), None)

    @property
    def option(self) -> str:
        """As it is typed."""
        return f"{self._option} {self.value:,.10g}" if self.name else f"--limit '{self}'"

    @property
    def _option(self) -> str:
        return f"--{(self.name or '').replace('_', '-')}"

    def is_broken_by(self, value: float, slack: float = 0.0) -> bool:
        """slack: how far beyond is let pass."""
        return value > self.value + slack if self.sense == "<=" else value < self.value - slack

    def objection(self, value: float) -> str:
        """In words with both numbers."""
        quantity = QUANTITIES.get(self.quantity, Quantity("", f"its {self.quantity} is {{}}"))
        named = f"{self._option} {'allows' if self.sense == '<=' else 'asks for'} {figure(self.value, value)}"
        return f"{quantity.says.format(figure(value, self.value))}, and {named if self.name else f'the limit is {self}'}"


def parse(text: str) -> tuple[str, Limit | None]:
    """(the quantity, its limit or None: it has none any more) of `latency_ms<=5`. UsageError says what is wrong with it."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"--limit {text[:80]!r} is no limit: {_FORM}")
    name, sign, number, beyond = match.groups()
    if number.lower() == "none":
        return name, None
    if sign not in _SENSES:
        raise UsageError(f"--limit {text[:80]!r}: a limit is <= or >=: {_FORM}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e300:  # NaN is not, either
        raise UsageError(f"--limit {text[:80]!r}: {number[:40]!r} is no number that can be reached: {_FORM}")
    return name, Limit(name, _SENSES[sign], value, beyond == WARN)


def asked(options: Mapping[str, Any]) -> list[str]:
    """What a command line names, as `parse` takes it: the options of NAMED (infinity lifts one), then --limit's."""
    given = [(NAMED[name], options.get(name)) for name in NAMED]
    named = [f"{key[0]}=none" if value == math.inf else f"{key[0]}{key[1]}{value!r}" for key, value in given if value is not None]
    return [*named, *(options.get("limit") or ())]


def check(texts: Iterable[str], backend: Backend, scoring: str = "answers", own: Iterable[str] = ()) -> None:
    """UsageError for a limit on what neither the backend nor the task can tell. scoring, own: the task's, and its quantities."""
    measured = QUANTITIES if scoring == "answers" else OF_COMMANDS
    unknown = {}
    if not backend.peak_memory:
        unknown["train_memory_gb"] = f"the backend {backend.name} does not know how much memory a training took"
    if not (backend.folder / accelerator.FILE).is_file() and Meter().look() is None:
        unknown["joules"] = "nothing that this user may read counts energy here"
    known = [name for name in (*measured, *own) if name not in unknown]
    for text in texts:
        name, limit = parse(text)
        if name in known or (limit is None and name in QUANTITIES):
            continue
        what = unknown.get(name, f"nothing here measures {name!r}{nearest(name, known)}")
        raise UsageError(f"{limit.option if limit else text}: {what}", f"leave it out, or limit another: {', '.join(known)}")


@dataclass(frozen=True)
class Constraints:
    limits: tuple[Limit, ...] = ()

    def changed(self, texts: Iterable[str]) -> "Constraints":
        """With what a command line names (`asked`). UsageError for a text that is none."""
        limits = {limit.key: limit for limit in self.limits}
        for name, limit in map(parse, texts):
            if limit:
                limits[limit.key] = limit
            else:
                limits = {key: one for key, one in limits.items() if key[0] != name}
        return Constraints(tuple(sorted(limits.values(), key=_order)))

    def to_dict(self) -> dict[str, Any]:
        """Those that are set, as study.toml and the ledger hold them."""
        named = {name: limit.value for limit in self.limits if (name := limit.name)}
        others = [str(limit) for limit in self.limits if not limit.name]
        return named | ({"limits": others} if others else {})

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Constraints":
        """UsageError for an unknown name or a value that is no number above 0."""
        try:
            file = records.read_own(_File, table, "the constraint ", "the constraints")
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls().changed(asked(vars(file) | {"limit": file.limits}))

    def objection(self, known: Mapping[str, float | None], slack: Callable[[Limit], float] = lambda limit: 0.0) -> str | None:
        """The first one that is broken, in words with both numbers; None when none is, or nothing is known of it yet.

        known: quantities by name. slack: how far beyond a limit is let pass.
        """
        for limit in self.limits:
            value = known.get(limit.quantity)
            if value is not None and not limit.warns and limit.is_broken_by(value, slack(limit)):
                return limit.objection(value)
        return None

    def objection_before_scoring(self, known: Mapping[str, float], knows_memory: bool = True) -> str | None:
        """Of what a training alone tells; what is not known by now never will be. knows_memory: whether the backend can tell it."""
        for limit in self.limits:
            if limit.quantity == "train_memory_gb" and limit.quantity not in known and knows_memory and not limit.warns:
                return f"it does not tell how much memory it took, and the limit is {limit.option}"
        return self.objection({name: value for name, value in known.items() if name not in SCORING})

    def objection_of_all(self, known: Mapping[str, float], slack: Callable[[Limit], float] = lambda limit: 0.0) -> str | None:
        """As `objection`, once all is known that ever will be: what is not passes no limit."""
        for limit in self.limits:
            if limit.quantity not in known and not limit.warns and _is_of_scoring(limit.quantity):
                return f"its {limit.quantity} could not be measured, and the limit is {limit}"
        return self.objection(known, slack)

    def warnings(self, known: Mapping[str, float]) -> list[str]:
        """Of those that are let pass all the same."""
        return [
            limit.objection(value) for limit in self.limits
            if limit.warns and (value := known.get(limit.quantity)) is not None and limit.is_broken_by(value)
        ]  # fmt: skip


@dataclass(frozen=True)
class _File:
    max_params: Bound | None = None
    max_memory_gb: Bound | None = None
    min_tok_s: Bound | None = None
    limits: list[str] | None = None


def _order(limit: Limit) -> tuple[int, str]:
    """The named ones first, as they were always written."""
    keys = list(NAMED.values())
    return keys.index(limit.key) if limit.key in keys else len(keys), str(limit)


def _is_of_scoring(quantity: str) -> bool:
    """Or of the task."""
    return quantity in SCORING or quantity not in QUANTITIES
