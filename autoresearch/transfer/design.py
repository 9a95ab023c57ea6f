"""Which combinations of edits to train so that each edit's own share is known, and what their scores say. Pure.

A two-level screening design: every run has about half of the edits, so that every run tells of every edit. The rows are those of
a Hadamard matrix (Plackett and Burman, Biometrika 33, 1946) and their mirror images: with the mirrors, what two edits do to each
other falls out of every edit's own effect (Box, Hunter and Hunter, Statistics for Experimenters, chapter 12). A row and its mirror
are trained one after the other, so that a slow drift of the machine falls out too. The rows with all edits and with none are the
stack and the base, which have their runs already.

Leaving out one edit after the other was measured beside it: for about as many runs it misses half of what gains 2 sigma, also where
there are few edits (docs/design/transfer.md).

Whether an edit does anything is tested by Student's t with Holm's correction (Scandinavian Journal of Statistics 6, 1979): over all
edits together, the chance to call any that does nothing one that carries or reverses is FAMILY at most (benchmarks/transfer.py
simulates it).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FAMILY = 0.05  # of wrongly calling any edit one that does something
LEAST_ORDER = 8  # chosen: 8 runs and more, so that few edits are known as well as many
MOST_EDITS = 120  # chosen: 250 runs

Levels = tuple[bool, ...]  # which edits a row has
Share = Literal["carries", "reverses", "not told"]


@dataclass(frozen=True)
class Effect:
    """What one edit gains, in the unit of the score; above 0 is better."""

    gain: float
    error: float  # its standard error
    p: float  # two-sided, of this edit alone
    share: Share  # after the correction for all of them


@dataclass(frozen=True)
class Analysis:
    effects: list[Effect]
    sigma: float  # between runs
    dof: int
    rows: int  # that were used


def rows(edits: int) -> list[Levels]:
    """What is to be trained beside the base and the stack, once each, in order. edits: 2 or more."""
    assert 2 <= edits <= MOST_EDITS
    matrix = hadamard(max(edits + 1, LEAST_ORDER))
    found: list[Levels] = []
    for line in matrix[:, 1 : edits + 1]:  # the first column is all 1: the mean
        levels = tuple(bool(level > 0) for level in line)
        found += [levels, tuple(not level for level in levels)]
    return [levels for levels in found if any(levels) and not all(levels)]


def hadamard(least: int) -> np.ndarray:
    """The smallest Hadamard matrix of that order or more that is made here, int [n, n]; its first row and column are 1.

    By Sylvester's doubling and Paley's two constructions for primes: all orders up to 88 but 52 and 76.
    """
    order = 4 * math.ceil(max(least, 4) / 4)
    while (matrix := _hadamard(order)) is None:
        order += 4
    matrix = matrix * matrix[0]
    found: np.ndarray = matrix * matrix[:, :1]
    return found


def analyse(edits: int, levels: Sequence[Levels], scores: Sequence[Sequence[float]], floor: float = 0.0) -> Analysis | None:
    """What each edit gains, from the scores of combinations (lower is better). None where they don't tell.

    levels, scores: of the base, of the stack, and of every row; a row without scores is missing. floor: the smallest noise that is
    believed. The noise is what runs of one combination differ by, and what combinations differ by from the sum of the edits'
    effects, which is noise and what edits do to each other: so it is not too small.
    """
    taken = [k for k in range(len(scores)) if len(scores[k])]
    counts = np.array([len(scores[k]) for k in taken])
    means = np.array([np.mean(scores[k]) for k in taken])
    squares = sum(float(((np.asarray(scores[k]) - mean) ** 2).sum()) for k, mean in zip(taken, means, strict=True))
    dof = int((counts - 1).sum())
    chosen = np.array([levels[k] for k in taken], dtype=float).reshape(len(taken), edits)
    # Weighted least squares of an effect for each edit: base and stack have more runs than a row.
    model = np.column_stack([np.ones(len(means)), 2 * chosen - 1])
    weighted = model * counts[:, None]
    information = model.T @ weighted
    if len(means) <= model.shape[1] or np.linalg.matrix_rank(information) < model.shape[1]:
        return None
    inverse = np.linalg.inv(information)
    fitted = inverse @ (weighted.T @ means)
    squares += float((counts * (means - model @ fitted) ** 2).sum())
    dof += len(means) - model.shape[1]
    gains, variances = -2 * fitted[1:], 4 * np.diag(inverse)[1:]  # from -1 to 1 is twice the coefficient
    sigma = max(math.sqrt(squares / dof), floor)
    errors = sigma * np.sqrt(variances)
    chances = [two_sided(gain / error if error else math.inf * gain, dof) for gain, error in zip(gains, errors, strict=True)]
    told = holm(chances, FAMILY)
    effects = [
        Effect(float(gain), float(error), p, ("carries" if gain > 0 else "reverses") if is_told else "not told")
        for gain, error, p, is_told in zip(gains, errors, chances, told, strict=True)
    ]
    return Analysis(effects, sigma, dof, len(taken))


def holm(chances: Sequence[float], family: float) -> list[bool]:
    """Which of the hypotheses fall, with the chance of any wrong one at most `family`."""
    told = [False] * len(chances)
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        if chances[place] > family / (len(chances) - rank):
            break
        told[place] = True
    return told


def two_sided(t: float, dof: int) -> float:
    """The chance that Student's t lies farther out, exact (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    if math.isinf(t):
        return 0.0
    angle = math.atan2(abs(t), math.sqrt(dof))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, cosine) if dof % 2 else (1.0, 1.0)
    for k in range(3 if dof % 2 else 2, dof, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    inside = sine * total
    if dof % 2:
        inside = 2 / math.pi * (angle + (inside if dof > 1 else 0.0))
    return min(1.0, max(0.0, 1 - inside))


@functools.cache
def _hadamard(order: int) -> np.ndarray | None:
    if order in (1, 2):
        return np.array([[1]]) if order == 1 else np.array([[1, 1], [1, -1]])
    if order % 4:
        return None
    if _is_prime(order - 1):
        return _paley(order - 1)
    if order % 8 == 4 and _is_prime(order // 2 - 1):
        return _paley_doubled(order // 2 - 1)
    half = _hadamard(order // 2)
    return None if half is None else np.kron(_hadamard(2), half)


def _paley(prime: int) -> np.ndarray:
    """Of order prime + 1, where prime is 3 modulo 4."""
    bordered = np.zeros((prime + 1, prime + 1), dtype=int)
    bordered[0, 1:], bordered[1:, 0], bordered[1:, 1:] = 1, -1, _jacobsthal(prime)
    return np.eye(prime + 1, dtype=int) + bordered


def _paley_doubled(prime: int) -> np.ndarray:
    """Of order 2 (prime + 1), where prime is 1 modulo 4."""
    bordered = np.zeros((prime + 1, prime + 1), dtype=int)
    bordered[0, 1:], bordered[1:, 0], bordered[1:, 1:] = 1, 1, _jacobsthal(prime)
    one = np.eye(prime + 1, dtype=int)
    return np.kron(bordered, np.array([[1, 1], [1, -1]])) + np.kron(one, np.array([[1, -1], [-1, -1]]))


def _jacobsthal(prime: int) -> np.ndarray:
    """Whether the difference of row and column is a square modulo prime: 1 or -1, and 0 on the diagonal."""
    squares = {k * k % prime for k in range(1, prime)}
    character = np.array([0, *(1 if k in squares else -1 for k in range(1, prime))])
    places = np.arange(prime)
    found: np.ndarray = character[(places[:, None] - places[None, :]) % prime]
    return found


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
