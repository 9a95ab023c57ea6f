"""How fast this machine's processors work now: a fixed piece of work, timed again and again for a given time.

A piece is the same on every thread: small matrix products that stay in the cache, then a part of a pass over memory that does not.
It is the harness's own work, so no train.py has a say in the figure. numpy lets go of the interpreter in both; the products are
below the size from which OpenBLAS starts threads of its own, so that none are left spinning beside the training.

The figure is a rate to compare with others of this machine, no benchmark. An accelerator is not measured by it.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from autoresearch.measure.clock import awake_seconds

SIDE, STACK, REPEATS = 48, 16, 120  # of the products: 0.42 GFLOP a thread and piece
PASS_BYTES = 32 * 2**20  # read and written by all threads together: as much as a usual last cache holds, twice
WARM_PIECES = 2  # not counted: pages that are touched for the first time, a clock that is still rising


def piece_times(seconds: float, threads: int) -> list[float]:
    """The seconds that each piece took, of as many as fit into `seconds`, at least three."""
    rng = np.random.default_rng(0)
    parts = [_Part(rng, PASS_BYTES // threads) for _ in range(threads)]
    times: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        end = awake_seconds() + seconds
        while len(times) < WARM_PIECES + 3 or awake_seconds() < end:
            start = time.perf_counter()
            list(pool.map(_Part.work, parts))
            times.append(time.perf_counter() - start)
    return times[WARM_PIECES:]


def rate(times: list[float]) -> float:
    """Pieces a second of these times: by their first quartile, which is steadier than the median and misses no load that stays."""
    return 1 / sorted(times)[len(times) // 4]


class _Part:
    """What one thread works on."""

    def __init__(self, rng: np.random.Generator, pass_bytes: int):
        self._left = rng.standard_normal((STACK, SIDE, SIDE), np.float32)
        self._right = rng.standard_normal((STACK, SIDE, SIDE), np.float32)
        self._product = np.empty_like(self._left)
        self._source = np.ones(pass_bytes, np.uint8)
        self._target = np.empty_like(self._source)

    def work(self) -> None:
        for _ in range(REPEATS):
            np.matmul(self._left, self._right, out=self._product)
        np.copyto(self._target, self._source)
