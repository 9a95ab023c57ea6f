"""What a request costs, by prices.toml. A price that is not known is None, never a guess."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MOST_TOKENS = 10**9  # of one kind in one request; chosen: a thousand times the largest context
MOST_USD = 10_000.0  # of one request; chosen: a thousand times the dearest
PRICES = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True)
class Tokens:
    """What a service counted for one request, as it bills it."""

    input: int  # neither written to the cache nor read from it
    output: int
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0

    @property
    def write(self) -> int:
        return self.write_5m + self.write_1h

    @property
    def all_input(self) -> int:
        return self.input + self.write + self.read


@cache
def table() -> dict[str, Any]:
    return tomllib.loads(PRICES.read_text(encoding="utf-8"))


def is_known(model: str) -> bool:
    return bool(_fitting(model))


def cost_usd(model: str, tokens: Tokens) -> float | None:
    """US dollars; None where the price is not known, or the tokens are beyond belief."""
    for price in _fitting(model):
        if tokens.all_input <= price.get("up_to_input", tokens.all_input):
            kinds = ("input", "output", "write_5m", "write_1h", "read")
            usd = float(sum(getattr(tokens, kind) * price[kind] for kind in kinds)) / 1e6
            return usd if usd <= MOST_USD else None  # no service bills that: it says something else
    return None


def count(value: object) -> int | None:
    """Tokens as a service tells them; None for what it leaves out, or fills with something else."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def proposal() -> Tokens:
    """What one proposal takes by [proposal] of prices.toml, for an estimate."""
    return Tokens(**table()["proposal"])


def _fitting(model: str) -> list[dict[str, Any]]:
    """The prices of the longest name that model begins with, in the order of the file."""
    fitting = [price for price in table()["price"] if model.startswith(price["name"])]
    longest = max((len(price["name"]) for price in fitting), default=0)
    return [price for price in fitting if len(price["name"]) == longest]
