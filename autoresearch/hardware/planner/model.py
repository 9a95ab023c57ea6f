"""The sizes of train.py's model as plain numbers: parameters by kind, FLOPs, windows. No framework, no device.

What is counted here is exactly what the GPT of backends/torch/train.py holds and reports; the tests compare both. A train.py
with other constants (a plug-in's, or one whose constants an agent took out) has no sizes, and nothing is predicted for it.

Letters: C width, H query heads, G key/value heads, D head width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from autoresearch import constants, records
from autoresearch.errors import UsageError
from autoresearch.hardware.planner.profile_file import Profile

GATE_CHANNELS = 32  # train.py's own
BLOCK = 256  # queries of a block where attention is made of products: backends/cpu/cpu_kernels.py


Positive = Annotated[int, Meta(gt=0)]


@dataclass(frozen=True)
class _Constants:
    """What is read of train.py's constants."""

    DEPTH: Positive
    ASPECT_RATIO: float
    HEAD_DIM: Positive
    GQA_RATIO: Positive
    MLP_RATIO: float
    WINDOW_PATTERN: str
    SHORT_WINDOW: float
    DEVICE_BATCH_SIZE: Positive
    TOTAL_BATCH_SIZE: Positive
    GATE_CHANNELS: int = GATE_CHANNELS
    PAIR_ROWS: int = 0


@dataclass(frozen=True)
class Sizes:
    """A model and its batch. `dataclasses.replace` makes a candidate; `width` must stay a multiple of `head_dim`."""

    depth: int
    width: int
    head_dim: int
    gqa_ratio: int
    mlp_ratio: float
    window_pattern: str
    short_window: float  # of seq_len
    seq_len: int
    vocab_size: int
    rows: int  # of a device batch
    batch_tokens: int  # of a step: all passes
    gate_channels: int = GATE_CHANNELS
    pair_rows: int = 0  # of the table of token pairs

    @classmethod
    def of(cls, profile: Profile, train_py: str) -> "Sizes | None":
        """What a run with this profile has: its [train] over train.py's constants. None where one is missing or of another kind."""
        try:
            own = {name: constant.value for name, constant in constants.read(train_py).items()}
            values = records.read(_Constants, own | profile.train)
        except (UsageError, ValueError):
            return None
        seq_len = profile.sizes.seq_len
        rows = max(1, min(values.DEVICE_BATCH_SIZE, values.TOTAL_BATCH_SIZE // seq_len))
        passes = max(1, round(values.TOTAL_BATCH_SIZE / (rows * seq_len)))
        return cls(
            depth=values.DEPTH,
            width=width(values.DEPTH, values.ASPECT_RATIO, values.HEAD_DIM),
            head_dim=values.HEAD_DIM,
            gqa_ratio=values.GQA_RATIO,
            mlp_ratio=values.MLP_RATIO,
            window_pattern=values.WINDOW_PATTERN,
            short_window=values.SHORT_WINDOW,
            seq_len=seq_len,
            vocab_size=profile.sizes.vocab_size,
            rows=rows,
            batch_tokens=passes * rows * seq_len,
            gate_channels=values.GATE_CHANNELS,
            pair_rows=values.PAIR_ROWS,
        )

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def groups(self) -> int:
        return max(1, self.heads // self.gqa_ratio)

    @property
    def key_width(self) -> int:
        """Channels of all keys of a token, or of all values: G * D."""
        return self.groups * self.head_dim

    @property
    def mlp_width(self) -> int:
        return int(self.mlp_ratio * self.width)

    @property
    def pass_tokens(self) -> int:
        """Of one forward and backward pass."""
        return self.rows * self.seq_len

    @property
    def passes(self) -> int:
        """In a step: gradients are added up."""
        return max(1, self.batch_tokens // self.pass_tokens)

    @property
    def value_tables(self) -> int:
        """Layers that have a value embedding: every second, counted from the last."""
        return (self.depth + 1) // 2

    @property
    def windows(self) -> list[int]:
        """How many earlier tokens each layer sees."""
        short = max(1, round(self.short_window * self.seq_len))
        pattern = [self.window_pattern[layer % len(self.window_pattern)] for layer in range(self.depth)]
        return [short if letter == "S" and layer < self.depth - 1 else self.seq_len for layer, letter in enumerate(pattern)]


def width(depth: int, aspect_ratio: float, head_dim: int) -> int:
    return max(1, round(aspect_ratio * depth / head_dim)) * head_dim


def matrices(sizes: Sizes) -> dict[tuple[int, int], int]:
    """What Muon trains: {(rows, columns): how many}. The groups are those that Muon stacks."""
    count, heads_width = sizes.depth, sizes.heads * sizes.head_dim
    shapes = [
        ((heads_width, sizes.width), count),  # query
        ((sizes.key_width, sizes.width), 2 * count),  # key, value
        ((sizes.width, heads_width), count),  # out
        ((sizes.groups, sizes.gate_channels), sizes.value_tables),
        ((sizes.mlp_width, sizes.width), count),  # up
        ((sizes.width, sizes.mlp_width), count),  # down
    ]
    counts: dict[tuple[int, int], int] = {}
    for shape, number in shapes:
        counts[shape] = counts.get(shape, 0) + number
    return counts


def matrix_params(sizes: Sizes) -> int:
    return sum(rows * columns * count for (rows, columns), count in matrices(sizes).items())


def table_params(sizes: Sizes) -> int:
    """The token embedding [V, C], the value embeddings [V, G * D] and the table of pairs [rows, C]."""
    return sizes.vocab_size * (sizes.width + sizes.value_tables * sizes.key_width) + sizes.pair_rows * sizes.width


def head_params(sizes: Sizes) -> int:
    """lm_head [V, C]."""
    return sizes.vocab_size * sizes.width


def num_params(sizes: Sizes) -> int:
    scalars = 2 * sizes.depth  # resid_lambdas, x0_lambdas
    return matrix_params(sizes) + table_params(sizes) + head_params(sizes) + scalars


def seen_keys(seq_len: int, window: int) -> int:
    """Of all queries of a row: the sum of min(row, window) + 1."""
    full = min(seq_len, window + 1)  # rows that see everything before them
    return full * (full + 1) // 2 + (seq_len - full) * (window + 1)


def mean_keys(sizes: Sizes) -> float:
    """Of a query, over all layers together."""
    return sum(seen_keys(sizes.seq_len, window) / sizes.seq_len for window in sizes.windows)


def scored_keys(sizes: Sizes, attention: str) -> int:
    """Scores that attention computes for a row and a head, over all layers. Windows only save time where a kernel skips blocks."""
    length, total = sizes.seq_len, 0
    for window in sizes.windows:
        is_full = window >= length - 1
        if attention == "blocks":
            size = BLOCK if window > BLOCK // 2 else BLOCK // 2
            starts = range(0, length, size)
            total += sum(
                (min(start + size, length) - start) * (min(start + size, length) - max(0, start - window) // size * size)
                for start in starts
            )
        elif attention in ("flash3", "flex") or (is_full and attention != "xla"):
            total += seen_keys(length, window)
        else:
            total += length * length  # a mask, and in XLA's plain products any row: everything is computed
    return total


def flops_per_token(sizes: Sizes) -> int:
    """Of a training step: train.py's `flops_per_token`."""
    products = matrix_params(sizes) + head_params(sizes)
    return round(6 * products + 12 * sizes.heads * sizes.head_dim * mean_keys(sizes))
