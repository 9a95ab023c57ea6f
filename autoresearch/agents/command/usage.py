"""What a program says that it used, read from its output line by line as a recipe's [usage] tells. What is not said is None."""

import json
import re
from typing import Any

from autoresearch.agents.command.recipes import Usage
from autoresearch.agents.llm import prices
from autoresearch.study.events import MOST_USD

NUMBERS = ("cost_usd", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
SAID = ("result", "error", "error.message", "error.data.message", "message", "part.text", "item.text", "item.message")
LONGEST_LINE = 1 << 20  # a longer one is no account of use
LONGEST_TEXT, LONGEST_NUMBER = 4096, 32  # characters for a pattern, whose time may grow faster than they do
MOST = 1e12  # of anything that is counted
_SCALES = {"k": 1e3, "M": 1e6}


class Meter:
    """Takes the output as it comes, from the thread that reads it; `told` once it has ended."""

    def __init__(self, usage: Usage):
        self._usage, self._numbers = usage, dict[str, float]()
        self._pattern = re.compile(usage.pattern) if usage.pattern else None
        self._rest, self.said = b"", ""  # said: the last words that are meant for people

    def feed(self, chunk: bytes) -> None:
        """The next of the output; lines may be torn between two."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.take(line)
        self._rest = self._rest[-LONGEST_LINE:]

    def take(self, line: bytes) -> None:
        """One line of the output; anything may stand there."""
        if self._pattern:
            for match in self._pattern.finditer(line[-LONGEST_TEXT:].decode("utf-8", "replace")):
                self._add({name: _number(text) for name, text in match.groupdict().items()})
        elif line.lstrip().startswith(b"{") and len(line) < LONGEST_LINE:
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):
                return
            self.said = next((text for path in SAID if isinstance(text := _at(data, path), str) and text), self.said)
            if all(_at(data, path) == value for path, value in self._usage.when.items()):
                self._add({name: _number(_at(data, getattr(self._usage, name))) for name in NUMBERS if getattr(self._usage, name)})

    def told(self, model: str | None = None) -> dict[str, Any]:
        """The fields of an Ask, tokens as whole numbers. A cost that is not said is the model's price, where one is known."""
        self.feed(b"\n")
        numbers: dict[str, Any] = {name: int(value) if name != "cost_usd" else value for name, value in self._numbers.items()}
        if self._usage.cached_is_input and "input_tokens" in numbers:
            numbers["input_tokens"] = max(0, numbers["input_tokens"] - numbers.get("cache_read_tokens", 0))
        if not numbers.get("cost_usd"):
            numbers.pop("cost_usd", None)  # 0: it knows no price, or was not asked
        if model and "cost_usd" not in numbers and {"input_tokens", "output_tokens"} <= numbers.keys():
            read, written = numbers.get("cache_read_tokens", 0), numbers.get("cache_write_tokens", 0)
            cost = prices.cost_usd(model, prices.Tokens(numbers["input_tokens"], numbers["output_tokens"], written, 0, read))
            numbers["cost_usd"] = cost
        return {name: value for name, value in numbers.items() if (value or 0) <= (MOST_USD if name == "cost_usd" else MOST)}

    @property
    def output_tokens(self) -> float:
        """So far."""
        return self._numbers.get("output_tokens", 0)

    def _add(self, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                before = self._numbers.get(name, 0.0)
                self._numbers[name] = before + value if self._usage.sums else max(before, value)


def _at(node: Any, path: str) -> Any:
    """The value at that path; a `*` adds up what all keys there have."""
    head, _, rest = path.partition(".")
    if not isinstance(node, dict):
        return None
    if head == "*":
        values = [_number(_at(child, rest)) for child in node.values()]
        return sum(value for value in values if value is not None) if values else None
    return _at(node.get(head), rest) if rest else node.get(head)


def _number(value: Any) -> float | None:
    """A number of at least 0, also as "3.2k"; None for anything else."""
    if isinstance(value, str) and len(value) <= LONGEST_NUMBER and (match := re.fullmatch(r"([\d,]*\.?\d+)([kM]?)", value)):
        value = float(match[1].replace(",", "")) * _SCALES.get(match[2], 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST:
        return None
    return float(value)
