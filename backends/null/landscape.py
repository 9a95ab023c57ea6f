"""The simulated landscape: how far, in bits per byte, a choice of train.py's constants is from the best one possible.

`excess_bpb(constants)` is 0 at the optimum and smooth nearly everywhere. What it imitates of real training: every learning
rate, ratio and size has an optimum somewhere around its default; a few constants matter a lot, most little, some not at all;
learning rates want to move with the batch, depth against width; some choices of a kind are simply worse; too large a model or
a learning rate falls off a cliff. `LANDSCAPE` among the constants selects one landscape of many (default 0).

How an optimum is drawn, from the landscape's number alone: each numeric constant's offset from its default is normal with
the scale of AXES, so that a move in a known direction is right half of the time; one constant in four has no effect; the
weights of the others are log-uniform over a factor of 30. Nothing is fitted to any search.
"""

import functools
import math
import zlib

import numpy as np

# The spread of val_bpb between seeds. Published: 0.0007 (H100, seed changed) to 0.002 (H100/H200 swarm), karpathy/autoresearch.
NOISE_SIGMA = 0.001

LOG, LINEAR = "log", "linear"
# constant: (default, scale of the axis, one unit: log2 of a ratio, or a difference)
AXES = {
    "DEPTH": (8, LOG, 0.6),
    "ASPECT_RATIO": (64, LOG, 0.6),
    "MLP_RATIO": (4, LOG, 0.6),
    "SHORT_WINDOW": (0.5, LOG, 1.0),
    "ROPE_BASE": (10_000.0, LOG, 3.0),
    "SOFTCAP": (15.0, LOG, 0.7),
    "TOTAL_BATCH_SIZE": (2**17, LOG, 1.0),
    "EMBEDDING_LR": (0.6, LOG, 1.0),
    "UNEMBEDDING_LR": (0.004, LOG, 1.0),
    "MATRIX_LR": (0.04, LOG, 1.0),
    "SCALAR_LR": (0.5, LOG, 1.0),
    "ADAM_BETA1": (0.8, LINEAR, 0.1),
    "ADAM_BETA2": (0.95, LINEAR, 0.03),
    "MUON_MOMENTUM": (0.95, LINEAR, 0.03),
    "MUON_BETA2": (0.95, LINEAR, 0.03),
    "WEIGHT_DECAY": (0.2, LINEAR, 0.1),
    "WARMUP_RATIO": (0.0, LINEAR, 0.03),
    "WARMDOWN_RATIO": (0.5, LINEAR, 0.15),
    "FINAL_LR_FRAC": (0.0, LINEAR, 0.05),
    "MOMENTUM_WARMUP_RATIO": (0.1, LINEAR, 0.1),
    "INIT_SCALE": (1.0, LOG, 0.5),
    "X0_INIT": (0.1, LINEAR, 0.05),
}
KINDS = {"WINDOW_PATTERN": ("L", "SL", "SSL", "SSSL"), "HEAD_DIM": (32, 64, 128), "GQA_RATIO": (1, 2, 4)}
# The optimum of the first moves by a drawn fraction of the second's distance from its default.
COUPLED = (
    ("MATRIX_LR", "TOTAL_BATCH_SIZE"), ("EMBEDDING_LR", "TOTAL_BATCH_SIZE"), ("ASPECT_RATIO", "DEPTH"),
    ("WEIGHT_DECAY", "MATRIX_LR"), ("FINAL_LR_FRAC", "WARMDOWN_RATIO"),
)  # fmt: skip
CLIFF_UNITS = 3.0  # a learning rate of 8 times its best is unstable
UNSTABLE_BPB, TOO_LARGE_BPB = 0.3, 0.1
TOO_LARGE = 4.0  # depth times width squared, relative to the default: too few steps fit the budget


def excess_bpb(constants: dict) -> float:
    """Bits per byte above the optimum, without noise; >= 0. Missing constants count as their defaults, others are ignored."""
    drawn = _draw(int(constants.get("LANDSCAPE", 0)))
    position = {name: _position(name, constants) for name in AXES}
    distance = {name: position[name] - drawn["optimum"][name] for name in AXES}
    for (moved, by), share in drawn["coupling"].items():
        distance[moved] -= share * position[by]
    # Quadratic near the optimum, linear far from it.
    excess = sum(weight * 2 * (math.hypot(1, distance[name]) - 1) for name, weight in drawn["weight"].items())
    excess += sum(drawn["cost"][name].get(constants.get(name), 0.0) for name in KINDS)
    if any(distance[name] > CLIFF_UNITS for name in ("MATRIX_LR", "EMBEDDING_LR") if drawn["weight"][name]):
        excess += UNSTABLE_BPB
    depth, aspect = (constants.get(name, AXES[name][0]) for name in ("DEPTH", "ASPECT_RATIO"))
    if (depth / AXES["DEPTH"][0]) ** 3 * (aspect / AXES["ASPECT_RATIO"][0]) ** 2 > TOO_LARGE:
        excess += TOO_LARGE_BPB
    return excess


def noise_bpb(constants: dict, seed: int) -> float:
    """The luck of one run: normal with NOISE_SIGMA, the same for the same seed and constants, independent otherwise."""
    text = repr(sorted((name, value) for name, value in constants.items()))
    return NOISE_SIGMA * float(np.random.default_rng([seed, zlib.crc32(text.encode())]).standard_normal())


def _position(name: str, constants: dict) -> float:
    default, scale, unit = AXES[name]
    value = constants.get(name, default)
    return (math.log2(max(value, 1e-12) / default) if scale == LOG else value - default) / unit


@functools.lru_cache(maxsize=64)
def _draw(number: int) -> dict:
    rng = np.random.default_rng([20260301, number])
    optimum = {name: float(rng.normal()) for name in AXES}
    weight = {name: float(0.0005 * 30 ** rng.uniform()) * bool(rng.uniform() > 0.25) for name in AXES}
    coupling = {pair: float(rng.uniform(-0.5, 0.5)) for pair in COUPLED}
    cost = {name: dict(zip(kinds, _costs(rng, len(kinds)), strict=True)) for name, kinds in KINDS.items()}
    for name, (default, scale, unit) in AXES.items():
        if scale == LINEAR:  # a share or a ratio: its best value lies in [0, 1] like itself
            optimum[name] = min(max(optimum[name], -default / unit), (1 - default) / unit)
    return {"optimum": optimum, "weight": weight, "coupling": coupling, "cost": cost}


def _costs(rng: np.random.Generator, count: int) -> list[float]:
    """The best kind costs nothing, the others a little more."""
    costs = rng.exponential(0.004, count)
    return [float(cost) for cost in costs - costs.min()]
