"""Two clocks: one stands still while the computer sleeps, so that a closed lid costs an experiment nothing; the other runs on.

            stands still in sleep           runs on
    Linux   CLOCK_MONOTONIC                 CLOCK_BOOTTIME              clock_gettime(2)
    macOS   CLOCK_UPTIME_RAW                CLOCK_MONOTONIC_RAW         clock_gettime(3); not CLOCK_MONOTONIC, which is adjusted
    Windows QueryUnbiasedInterruptTime      QueryInterruptTime          units of 100 ns; QueryPerformanceCounter runs on too

Not covered: a virtual machine that its host stops. Both clocks of the guest stop, or both run on.
"""

import sys
import time
from collections.abc import Callable

if sys.platform == "win32":
    import ctypes

    def _ticks(query: Callable[..., object]) -> float:
        ticks = ctypes.c_ulonglong()
        query(ctypes.byref(ticks))
        return ticks.value * 1e-7

    def awake_seconds() -> float:
        """Seconds awake since an arbitrary moment. Never goes back."""
        return _ticks(ctypes.windll.kernel32.QueryUnbiasedInterruptTime)

    def elapsed_seconds() -> float:
        """Seconds since an arbitrary moment, asleep or awake."""
        return _ticks(ctypes.windll.kernelbase.QueryInterruptTime)

else:
    if sys.platform == "darwin":
        _AWAKE, _ELAPSED = time.CLOCK_UPTIME_RAW, time.CLOCK_MONOTONIC_RAW
    else:
        _AWAKE, _ELAPSED = time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME

    def awake_seconds() -> float:
        """Seconds awake since an arbitrary moment. Never goes back."""
        return time.clock_gettime(_AWAKE)

    def elapsed_seconds() -> float:
        """Seconds since an arbitrary moment, asleep or awake."""
        return time.clock_gettime(_ELAPSED)


def asleep_seconds(awake: Callable[[], float] = awake_seconds, elapsed: Callable[[], float] = elapsed_seconds) -> float:
    """How far the two are apart. Only differences mean something: their growth is the time asleep.

    The process may lose the processor between two readings, so of a few tries the one counts that took least time.
    """
    tries = []
    for _ in range(3):
        before, middle, after = awake(), elapsed(), awake()
        tries.append((after - before, middle - (before + after) / 2))
    return min(tries)[1]
