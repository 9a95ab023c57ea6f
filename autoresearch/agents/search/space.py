"""What the search may try for each constant of a train.py: an axis with positions in [0, 1], or a few kinds.

The annotation beside a constant decides; without one, type, range and scale are inferred from its name and first value:

    0 <= float <= 1, named ..RATIO, ..FRAC.., ..BETA.., ..MOMENTUM, ..DROPOUT    [0..1]
    another positive float                                                   a quarter to four times it, log
    a power of two from 16 on                                                the powers of two in that range
    another positive int                                                     half to twice it
    bool                                                                     both
    str, tuple, zero, negative, ..SEED..                                     left alone: no scale to go by, or not an idea
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from autoresearch.constants import Choices, Constant, Fixed, Number, Range, Value, is_number

_FRACTION = re.compile(r"RATIO|FRAC|BETA|MOMENTUM|DROPOUT")


@dataclass(frozen=True)
class Axis:
    """One constant. Ordered: numbers from low to high, or the numbers in values. Otherwise values are kinds without order."""

    name: str
    ordered: bool
    values: tuple[Value, ...] = ()  # the only values allowed, ascending when ordered; empty: all from low to high
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    is_int: bool = False

    def position(self, value: Value) -> float:
        """In [0, 1] from low to high when ordered (beyond, for a value outside), else the index of the kind, -1 if unknown."""
        if not self.ordered:
            return float(self.values.index(value)) if value in self.values else -1.0
        if not isinstance(value, int | float):
            return 0.5
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low) if low < high else 0.5  # [1, 1.0] are two texts and one number

    def value(self, position: float) -> Value:
        """The allowed value nearest to a position, rounded as people write it: 0.06, 0.0035, 2**15."""
        if not self.ordered:
            return self.values[int(position)]
        if self.values:
            return min(self.values, key=lambda value: abs(self.position(value) - position))
        low, high = self._scaled(self.low), self._scaled(self.high)
        number = low + min(max(position, 0.0), 1.0) * (high - low)
        number = math.exp(number) if self.log else number
        if self.is_int:
            return min(max(round(number), self.low), self.high)
        digits = 2 if self.low <= 0 or self.high >= 2 * self.low else 3  # 0.8..0.95 needs steps finer than 0.01
        return float(min(max(float(f"{number:.{digits}g}"), self.low), self.high))

    def allows(self, value: Value) -> bool:
        if not self.ordered or self.values:
            return value in self.values
        return is_number(value) and self.low <= value <= self.high

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.log else float(value)


def axes(constants: dict[str, Constant], first: dict[str, Value]) -> dict[str, Axis]:
    """The axis of every constant that has one. first: the values that ranges are inferred from, so that they stay put."""
    by_name = {}
    for name, constant in constants.items():
        axis = _axis(name, constant, first.get(name, constant.value))
        if axis is not None:
            by_name[name] = axis
    return by_name


def _axis(name: str, constant: Constant, first: Value) -> Axis | None:
    value, annotation = constant.value, constant.annotation
    is_int = type(value) is int
    match annotation:
        case Fixed():
            return None
        case Choices(values):
            numbers = [choice for choice in values if is_number(choice)]
            if len(numbers) == len(values):
                return _steps(name, numbers)
            return Axis(name, ordered=False, values=values)
        case Range(low, high, log):
            if is_int and log and _is_power_of_two(low) and _is_power_of_two(high):
                return _steps(name, _powers(low, high))
            return Axis(name, True, (), low, high, log, is_int)
    if type(value) is bool:
        return Axis(name, ordered=False, values=(False, True))
    if not is_number(first) or not is_number(value) or "SEED" in name:
        return None
    if not is_int and _FRACTION.search(name) and 0 <= first <= 1:
        return Axis(name, True, (), 0.0, 1.0)
    if first <= 0:
        return None
    if not is_int:
        return Axis(name, True, (), first / 4, first * 4, log=True)
    first = max(1, round(first))  # it may have been a float, of an earlier text
    if first >= 16 and _is_power_of_two(first):
        return _steps(name, _powers(first // 4, first * 4))
    return Axis(name, True, (), max(1, first // 2), first * 2, is_int=True)


def _steps(name: str, numbers: Iterable[Number]) -> Axis:
    values = tuple(sorted(numbers))
    log = values[0] > 0 and values[-1] >= 4 * values[0]
    return Axis(name, True, values, values[0], values[-1], log, all(type(value) is int for value in values))


def _is_power_of_two(value: Number) -> TypeGuard[int]:
    return type(value) is int and value > 0 and value & (value - 1) == 0


def _powers(low: int, high: int) -> tuple[int, ...]:
    return tuple(1 << exponent for exponent in range(low.bit_length() - 1, high.bit_length()))
