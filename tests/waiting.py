"""Waiting for what other processes do. No measure of time: what has not come within a minute does not come."""

import time


def wait_for(condition, seconds: float = 60.0):
    """What the condition gives, once it holds. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"not within {seconds:g} s")
