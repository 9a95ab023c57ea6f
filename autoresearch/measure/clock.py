"""Seconds that stand still while the computer sleeps, so that a closed lid costs an experiment nothing.

Linux: CLOCK_MONOTONIC stops in suspend (clock_gettime(2)). macOS: CLOCK_UPTIME_RAW does (clock_gettime(3)).
Windows: QueryUnbiasedInterruptTime does, in units of 100 ns; QueryPerformanceCounter does not.
"""

import sys
import time

if sys.platform == "win32":
    import ctypes

    def awake_seconds() -> float:
        """Seconds awake since an arbitrary moment. Never goes back."""
        ticks = ctypes.c_ulonglong()
        ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(ticks))
        return ticks.value * 1e-7

elif sys.platform == "darwin":

    def awake_seconds() -> float:
        """Seconds awake since an arbitrary moment. Never goes back."""
        return time.clock_gettime(time.CLOCK_UPTIME_RAW)

else:

    def awake_seconds() -> float:
        """Seconds awake since an arbitrary moment. Never goes back."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)
