"""Which sizes spend a training time best on a machine: a small law of val_bpb, and every candidate ranked by it.

    val_bpb = (floor + capacity / N^0.34 + data / D^0.28 + steps / S + noise (2048 / B)^0.5)
              * (seq_len / 256)^(t + g ln(D / 1e6)) * (vocab_size / 2048)^v

N: parameters of the matrices; D: tokens seen, those of a text that is seen again at less than their number (`useful_tokens`);
S: optimizer steps made; B: tokens a step. The form and two of the exponents are Hoffmann et al.'s (arXiv 2203.15556). Added for
trainings as short as these are the terms of the steps and of their noise, and that what longer rows are worth grows with the tokens
seen (up to LONGEST). law.toml holds the coefficients with their source; benchmarks/fit_plan.py recomputes them,
docs/design/sizes.md says what they are worth. They are those of the text `stdlib`: on another text the values are others. The law
orders what is tried; what is taken is decided by trials (trials.py).

Nothing is proposed outside of the range of sizes that the law was fitted in, apart from what the starting point has already.
"""

import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

from autoresearch.hardware.planner import predict
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine

CAPACITY_EXPONENT, DATA_EXPONENT = 0.34, 0.28  # alpha and beta of arXiv 2203.15556, equation 10
NOISE_EXPONENT = 0.5  # of the batch: of a mean's spread
LONGEST = 3e7  # tokens
REPEATS = 15.4  # R*_D of arXiv 2305.16264, as published: repeated for ever, a text is worth that many more of its own length
LAW = Path(__file__).with_name("law.toml")
DEPTHS = range(1, 13)
WIDTH_STEP = 64  # whole heads of 64; of 128 where the width allows it, which trains faster (docs/design/cpu-speed.md)
VOCAB_SIZES = (1024, 2048, 4096, 8192)
SEQ_LENS = (256, 512, 1024, 2048)
BATCH_TOKENS = tuple(2**power for power in range(11, 20))
WIDTH_OF_DEPTH = (32, 128)  # channels a layer: ASPECT_RATIO's range in train.py, without its extremes
# Of a full training, or as many as the starting point makes; chosen: a trial of a fifteenth then makes 40, and published runs on an
# H100 make 950.
LEAST_STEPS = 600
MEMORY_SHARE = 0.9  # of the device; chosen: room for what other programs take


@dataclass(frozen=True)
class Law:
    floor: float
    capacity: float
    data: float
    steps: float
    noise: float
    seq_len_exponent: float
    seq_len_growth: float  # of that exponent, with ln(tokens / 1e6)
    vocab_exponent: float
    error: float  # relative, median of runs that were left out of the fit
    ranges: dict[str, tuple[float, float]]  # of the runs that it was fitted to

    def val_bpb(self, sizes: Sizes, tokens: float, unique_tokens: float = math.inf) -> float:
        """Bits per byte of stdlib after a training on that many tokens, of a text that has unique_tokens."""
        useful = useful_tokens(tokens, unique_tokens)
        parts: float = self.floor + self.capacity / capacity_params(sizes) ** CAPACITY_EXPONENT + self.data / useful**DATA_EXPONENT
        parts += self.steps * sizes.batch_tokens / tokens + self.noise * (2048 / sizes.batch_tokens) ** NOISE_EXPONENT
        exponent = self.seq_len_exponent + self.seq_len_growth * math.log(min(tokens, LONGEST) / 1e6)
        parts *= (sizes.seq_len / 256) ** exponent
        parts *= (sizes.vocab_size / 2048) ** self.vocab_exponent
        return parts

    def covers(self, name: str, value: float) -> bool:
        low, high = self.ranges[name]
        return low <= value <= high


@dataclass(frozen=True)
class Candidate:
    sizes: Sizes
    tokens_per_second: float
    val_bpb: float  # by the law, at the end of the training time


@cache
def law() -> Law:
    table = tomllib.loads(LAW.read_text(encoding="utf-8"))
    return Law(**table | {"ranges": {name: tuple(ends) for name, ends in table["ranges"].items()}})


def capacity_params(sizes: Sizes) -> int:
    """N: 12 width^2 a layer, the matrices of a layer with full key/value heads and an MLP of ratio 4."""
    return 12 * sizes.depth * sizes.width**2


def useful_tokens(tokens: float, unique_tokens: float) -> float:
    """How many new tokens are worth as much as that many of a text that has unique_tokens: arXiv 2305.16264, equation 5."""
    if tokens <= unique_tokens:
        return tokens
    repeats = tokens / unique_tokens - 1
    return unique_tokens * (1 + REPEATS * (1 - math.exp(-repeats / REPEATS)))


def judge(sizes: Sizes, tokens_per_second: float, train_seconds: float, text_bytes: float = math.inf) -> Candidate:
    """text_bytes: of the training text."""
    unique_tokens = text_bytes / predict.bytes_per_token(sizes.vocab_size)
    return Candidate(sizes, tokens_per_second, law().val_bpb(sizes, tokens_per_second * train_seconds, unique_tokens))


def ranked(base: Sizes, machine: Machine, train_seconds: float, text_bytes: float = math.inf) -> list[Candidate]:
    """Every candidate that fits the device, the best first; empty where the machine's speed is not known."""
    own = predict.tokens_per_second(base, machine)
    if own is None:
        return []
    found, least = [], min(LEAST_STEPS, own.value * train_seconds / base.batch_tokens)
    for sizes in candidates(base, machine):
        speed = predict.tokens_per_second(sizes, machine)
        if speed is not None and speed.value * train_seconds >= least * sizes.batch_tokens:
            found.append(judge(sizes, speed.value, train_seconds, text_bytes))
    return sorted(found, key=lambda one: one.val_bpb)


def candidates(base: Sizes, machine: Machine) -> Iterator[Sizes]:
    """base and all its neighbours in range, which differ from it in depth, width, row length, vocabulary and batch."""
    yield base
    known = law()
    vocab_sizes = [value for value in VOCAB_SIZES if known.covers("vocab_size", value)]
    seq_lens = [value for value in SEQ_LENS if known.covers("seq_len", value)]
    for depth in DEPTHS:
        if not known.covers("depth", depth):
            continue
        for width in range(WIDTH_STEP, 32 * WIDTH_STEP, WIDTH_STEP):
            low, high = (channels * depth for channels in WIDTH_OF_DEPTH)
            if not (known.covers("width", width) and low <= width <= high):
                continue
            shape = replace(base, depth=depth, width=width, head_dim=128 if width % 128 == 0 else 64)
            for vocab_size, seq_len, batch_tokens in product(vocab_sizes, seq_lens, BATCH_TOKENS):
                if batch_tokens < 2 * seq_len or not known.covers("batch_tokens", batch_tokens):
                    continue
                sized = replace(shape, vocab_size=vocab_size, seq_len=seq_len, batch_tokens=batch_tokens)
                if sized != base and (fitting := with_rows(sized, base.pass_tokens, machine)) is not None:
                    yield fitting


def with_rows(sizes: Sizes, pass_tokens: int, machine: Machine) -> Sizes | None:
    """The sizes with as many rows in a pass as the device holds, at most pass_tokens or a step's; None where not one fits."""
    rows = max(1, min(sizes.batch_tokens, max(pass_tokens, 4096)) // sizes.seq_len)
    while rows:
        found = replace(sizes, rows=rows)
        if fits(found, machine):
            return found
        rows //= 2
    return None


def fits(sizes: Sizes, machine: Machine) -> bool:
    """Whether the predicted peak, its error included, leaves some of the device's memory. True where nothing is known."""
    peak = predict.train_memory(sizes, machine)
    if peak is None or machine.memory_bytes is None:
        return True
    return peak.value * (1 + peak.error) <= MEMORY_SHARE * machine.memory_bytes
