"""Which sizes spend a training time best on a machine: a small law of val_bpb, and every candidate ranked by it.

    val_bpb = (floor + capacity / N^0.34 + data / D^0.28 + steps / S + noise (2048 / B)^0.5)
              * (seq_len / 256)^(t + g ln(D / 1e6)) * (vocab_size / 2048)^v

N: parameters of the matrices; D: tokens seen, those of a text that is seen again at less than their number (`useful_tokens`);
S: optimizer steps made; B: tokens a step. The form and two of the exponents are Hoffmann et al.'s (arXiv 2203.15556). Added for
trainings as short as these are the terms of the steps and of their noise, and that what longer rows are worth grows with the tokens
seen (up to LONGEST). law.toml holds the coefficients with their source; benchmarks/fit_plan.py recomputes them,
docs/design/sizes.md says what they are worth. They are those of the text `stdlib`: on another text the values are others. The law
orders what is tried; what is taken is decided by trials (trials.py).

The tokens of a step are no matter of trials: a short one prefers small steps, which the full time then loses by (20 and 60 s took
2048 tokens where 300 s wanted 8192, and lost 5 %). So many are taken as make about STEPS steps in the full time, and a trial trains
with fewer (`for_trial`).

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
WIDTH_OF_DEPTH = (32, 128)  # channels a layer: ASPECT_RATIO's range in train.py, without its extremes
# Of a full training. Measured on a CPU, 300 s, depth 2 x 128: 460 and 960 steps within 1 %, 1850 2 % and 3200 6 % behind; published
# runs on an H100 make 950 (docs/design/sizes.md).
STEPS = 800
LEAST_STEPS = 400  # of a candidate, or as many as the starting point makes
LEAST_TOKENS = 2048  # of a trial's step, and two rows
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
    judged, least = [], min(LEAST_STEPS, own.value * train_seconds / base.batch_tokens)
    for sizes in candidates(base, machine, train_seconds):
        speed = predict.tokens_per_second(sizes, machine)
        if speed is not None and speed.value * train_seconds >= least * sizes.batch_tokens:
            judged.append(judge(sizes, speed.value, train_seconds, text_bytes))
    return sorted(judged, key=lambda candidate: candidate.val_bpb)


def candidates(base: Sizes, machine: Machine, train_seconds: float) -> Iterator[Sizes]:
    """base, and all others in range: other depth, width, row length and vocabulary, each with its tokens a step."""
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
            for vocab_size, seq_len in product(vocab_sizes, seq_lens):
                sized = with_batch(replace(shape, vocab_size=vocab_size, seq_len=seq_len), machine, train_seconds, base.pass_tokens)
                if sized and sized != base and (fitting := with_rows(sized, base.pass_tokens, machine)) is not None:
                    yield fitting


def with_batch(sizes: Sizes, machine: Machine, train_seconds: float, pass_tokens: int) -> Sizes | None:
    """The sizes with the power of two of tokens that makes about STEPS steps in the time; None where no speed is known."""
    low, high = law().ranges["batch_tokens"]
    sized = replace(sizes, batch_tokens=max(round(low), 2 * sizes.seq_len))
    for _ in range(2):  # the optimizer's share of a step, and with it the speed, depends on the answer
        rows = max(1, min(sized.batch_tokens, pass_tokens) // sizes.seq_len)
        speed = predict.tokens_per_second(replace(sized, rows=rows), machine)
        if speed is None:
            return None
        tokens = _power_of_two(speed.value * train_seconds / STEPS)
        sized = replace(sized, batch_tokens=int(min(max(tokens, low, 2 * sizes.seq_len), high)))
    return sized


def for_trial(sizes: Sizes, share: float) -> Sizes:
    """What a trial of that share of the full time trains: the same model at fewer tokens a step, so that it makes enough steps.

    By the root of the share: in a fifteenth of the time a quarter of the steps, each a quarter as large.
    """
    least = min(sizes.batch_tokens, max(LEAST_TOKENS, 2 * sizes.seq_len))
    tokens = max(least, min(sizes.batch_tokens, _power_of_two(sizes.batch_tokens * math.sqrt(share))))
    return replace(sizes, batch_tokens=tokens, rows=max(1, min(sizes.rows, tokens // sizes.seq_len)))


def _power_of_two(value: float) -> int:
    """The nearest, by ratio."""
    return 1 << round(math.log2(max(value, 1.0)))


def with_rows(sizes: Sizes, pass_tokens: int, machine: Machine) -> Sizes | None:
    """The sizes with as many rows in a pass as the device holds, at most pass_tokens or a step's; None where not one fits."""
    rows = max(1, min(sizes.batch_tokens, max(pass_tokens, 4096)) // sizes.seq_len)
    while rows:
        sized = replace(sizes, rows=rows)
        if fits(sized, machine):
            return sized
        rows //= 2
    return None


def fits(sizes: Sizes, machine: Machine) -> bool:
    """Whether the predicted peak, its error included, leaves some of the device's memory. True where nothing is known."""
    peak = predict.train_memory(sizes, machine)
    if peak is None or machine.memory_bytes is None:
        return True
    return peak.value * (1 + peak.error) <= MEMORY_SHARE * machine.memory_bytes
