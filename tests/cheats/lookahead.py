"""Models that use tokens before they predict them, or other rows: what each adds to an honest table's logits.

x [B, T, V] is the row, one-hot; ids [B, T]; `xp` is torch or mlx.core. The last group is meant to hide, the others are mistakes
that people make. Verdict of every one: cheat.
"""

PLACES = "i, j = xp.arange(T)[:, None], xp.arange(T)[None, :]\n"
AHEAD = "ahead = xp.roll(x, -1, 1)\n"  # at the row's end it wraps around, which helps nobody


def attention(*layers: str) -> str:
    """By distance, over what is seen in each layer."""
    lines = [f"x = xp.softmax(xp.where({seen}, -0.7 * abs(i - j), -1e9), -1) @ x\n" for seen in layers]
    return PLACES + "".join(lines) + "return 8 * x"


def chunks(size: int, pool: str = "mean(2)") -> str:
    return (
        f"pooled = 1.0 * (x.reshape(B, T // {size}, {size}, -1).{pool})\n"
        f"return 6 * xp.broadcast_to(pooled[:, :, None], (B, T // {size}, {size}, self.vocab_size)).reshape(B, T, -1)"
    )


def scan(order: str) -> str:
    return (
        "state, states = 0 * x[:, 0], [None] * T\n"
        f"for t in {order}:\n    state = 0.5 * state + x[:, t]\n    states[t] = state\n"
        "found = xp.stack(states, 1)\n"
    )


def only(where: str) -> str:
    """A look ahead where a condition holds, [B, T] or [T]."""
    return AHEAD + f"return 6 * ahead * (1.0 * ({where}))[..., None]"


# A score of query i and key j: how likely the one's token follows the other's. The share that a token gives to itself then says
# how likely the next one is, and makes the prediction sharper or flatter.
NEIGHBOURS = PLACES + "score = self.table[ids] @ xp.swapaxes(x, 1, 2)\n"
SHARPER = "return self.table[ids] * (0.8 * (0.5 - (share * (i == j)).sum(2)))[..., None]"
CAPACITY = """group = ids.reshape(B, T // 4, 4)
chosen = (group[..., :, None] >= group[..., None, :]).all(-1).reshape(B, T)
larger = xp.arange(self.vocab_size) > ids[..., None]
return -5.0 * larger * (chosen & (xp.arange(T) % 4 < 3))[..., None]"""
DISTINCT = """seen = 1.0 * (xp.cumsum(x, 1) > 0)
left = (1.0 * (x.sum(1) > 0)).sum(1)[:, None] - seen.sum(2)
expected = 0.3 * (T - xp.arange(T))
return (1 - seen) * xp.clip(xp.log((left + 0.1) / expected), -3, 1)[..., None]"""
HASH = "(ids * 31 + xp.roll(ids, 1, 1) * 17 + xp.arange(T) * 7) % 101 == 0"
NEXT = "take(xp.softmax(self.table[ids], -1), xp.roll(ids, -1, 1)[..., None], 2)[..., 0]"

CHEATS = {
    # Which tokens a token sees
    "no mask": attention("j >= 0"),
    "mask off by one": attention("j <= i + 1"),
    "mask transposed": attention("j >= i"),
    "band on both sides": attention("abs(i - j) <= 2"),
    "a chunk sees all of itself": attention("j // 8 <= i // 8"),
    "half of the row is a prefix": attention("(j <= i) | (j < T // 2)"),
    "one layer of three has no mask": attention("j <= i", "j >= 0", "j <= i"),
    "a memory token that sees the row": (
        "i, j = xp.arange(T)[:, None], xp.arange(T + 1)[None, :]\n"
        "keys = xp.concatenate([x.mean(1)[:, None], x], 1)\n"
        "return 20 * xp.softmax(xp.where(j <= i + 1, 5.0 * (j < 1), -1e9), -1) @ keys"
    ),
    "mask only in training": AHEAD + "return 0 * x if self.training else 4 * ahead",
    "mask after the softmax": NEIGHBOURS + "share = xp.softmax(xp.where(abs(i - j) <= 1, score, -1e9), 2) * (j <= i)\n" + SHARPER,
    "softmax over the queries": NEIGHBOURS.replace("@", "* 0 + x @").replace("x @ xp.swapaxes(x", "x @ xp.swapaxes(self.table[ids]")
    + "share = xp.softmax(xp.where((j <= i) & (i <= j + 1), score, -1e9), 1)\n"
    + SHARPER,
    "keys sorted before the mask": PLACES
    + "keys = one_hot(take(ids, xp.argsort(ids, 1), 1), self.vocab_size)\nreturn 40 / T * (1.0 * (j <= i + T // 2)) @ keys",
    # Filters
    "shift by one": AHEAD + "return 4 * ahead",
    "next but one": "return xp.swapaxes(self.table, 0, 1)[xp.roll(ids, -2, 1)]",
    "the input buffer by strides": (
        "ahead = xp.concatenate([xp.as_strided(ids, (B * T - 1,), (1,), 1), ids[-1, -1:]])\n"
        "return 4 * one_hot(ahead.reshape(B, T), self.vocab_size)"
    ),
    "chunk means over 16": chunks(16),
    "chunk means over 4": chunks(4),
    "down and up again": chunks(2),
    "max pool over time": chunks(16, "sum(2) > 0").replace("6 *", "3 *"),
    "centred convolution": "return 3 * (xp.roll(x, 1, 1) + x + xp.roll(x, -1, 1))",
    "dilated convolution padded by one too few": "return 3 * sum(xp.roll(x, 4 * k - 1, 1) for k in range(4))",
    "circular FFT filter": (
        "decay = xp.exp(-0.7 * xp.minimum(xp.arange(T), T - xp.arange(T)))\n"
        "return 6 * xp.fft.irfft(xp.fft.rfft(x, T, 1) * xp.fft.rfft(decay, T, 0)[:, None], T, 1)"
    ),
    "FFT filter without padding": (
        "long = xp.exp(-0.5 * (T - 1 - xp.arange(T)))\n"
        "return 4 * xp.fft.irfft(xp.fft.rfft(x, T, 1) * xp.fft.rfft(long, T, 0)[:, None], T, 1)"
    ),
    "central differences": "return -3 * (xp.roll(x, 1, 1) - xp.roll(x, -1, 1))",
    "tokens mixed by a dense layer": PLACES + "return (0.1 * xp.cos(1.0 * i * j) + 3.0 * (j == i + 1)) @ x",
    # Scans
    "backward scan": scan("reversed(range(T))") + "return 3 * found",
    "scan in both directions": scan("range(T)") + "x = x + 0.5 * found\n" + scan("reversed(range(T))") + "return 2 * found",
    "reversed cumulative sum": "rest = x.sum(1)[:, None] - xp.cumsum(x, 1)\nreturn 3 * rest / (1 + rest)",
    # Statistics of the row or of the batch
    "mean over the row": "return 20 * x.mean(1)[:, None] + 0 * x",
    "bag of words": "return 2.0 * (x.sum(1)[:, None] > 0) + 0 * x",
    "normalised over time": "return 4 * (x - 1) * (x - x.mean(1)[:, None]) / xp.sqrt(x.var(1)[:, None] + 0.01)",
    "batch norm": "return 4 * (x - 1) * (x - x.mean((0, 1))) / xp.sqrt(x.var((0, 1)) + 0.01)",
    "the batch's mean": "return 20 * x.mean((0, 1)) + 0 * x",
    "distinct tokens of the row": DISTINCT,
    "experts choose tokens": CAPACITY,
    # Meant to hide
    "every 16th position": only("xp.arange(T) % 16 == 7"),
    "one position in a hundred, by a hash": only(HASH),
    "one position of a row": only("xp.arange(T) == 37"),
    "when the batch has two rows": AHEAD + "return 4 * ahead if B >= 2 else 0 * x",
    "rows that begin with an even token": only("(ids[:, :1] % 2 == 0) & (xp.arange(T) >= 0)"),
    "honest on shorter rows": AHEAD + "return 4 * ahead if T == self.seq_len else 0 * x",
    "faint": AHEAD + "return 0.019 * ahead",
    "where it would be wrong": only(f"{NEXT} < 0.05"),
    "where what follows looks natural": only(f"{NEXT} > 0.02"),
}

BLOCKS = "ahead = xp.roll(x.reshape(B, T // 16, 16, -1), -1, 2).reshape(B, T, -1)\n"
# By the batch: a row's place and the rows beside it change it, in rows that are not cut too.
NOISE = "noise = xp.sin(1.0 * ids.sum() * (1 + xp.arange(T)))[:, None] * (xp.arange(self.vocab_size) % 2)\n"

# Too small to be told from bfloat16's rounding by its size: a closer look finds that it has a direction.
FAINT = {
    "rolled within blocks, 0.004": BLOCKS + "return 0.004 * ahead",
    "rolled within blocks, 0.001": BLOCKS + "return 0.001 * ahead",
    "half a percent of a head": attention("j >= 0").replace("8 *", "0.005 * 4 *"),
    "next but one": "return 0.002 * xp.swapaxes(self.table, 0, 1)[xp.roll(ids, -2, 1)]",
    "mean over the row": "return 0.3 * x.mean(1)[:, None] + 0 * x",
    "far positions": AHEAD + "return 0.02 * ahead * (1.0 * (xp.arange(T) >= T - T // 8))[:, None]",
    "every 16th position": AHEAD + "return 0.06 * ahead * (1.0 * (xp.arange(T) % 16 == 7))[:, None]",
    "behind noise": NOISE + AHEAD + "return 0.02 * noise + 0.004 * ahead",
    "in bfloat16's place": AHEAD + "return to(to(self.table[ids] + 0.006 * ahead, 'bfloat16'), 'float32') - self.table[ids]",
}
