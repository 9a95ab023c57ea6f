"""Whether a computer without an accelerator gains by several trainings at once, each on a share of its cores: measured.

One training on all cores is timed against one on each share at the same time, by steps of the train.py that the study begins with.
Where the shares together make no more than the whole, splitting only makes more and smaller trainings of the same work, which a
shorter --train-seconds does as well. Where they make more, the rest of that is free.
"""

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autoresearch import choices
from autoresearch.hardware import slots
from autoresearch.hardware.autotune.stopwatch import Stopwatch
from autoresearch.hardware.planner.plan import Plan
from autoresearch.measure.clock import awake_seconds

WORTH = 1.25  # chosen: times the whole's tokens a second; each experiment then has fewer tokens, and sizes are chosen anew
SECONDS = 8.0  # of steps, of the whole and of the shares
WAIT_SECONDS = 600.0  # for all to be warm: a first compilation


def gain(made: Plan, text: str, shares: list[frozenset[int]]) -> float:
    """Tokens a second of one training on each share at once, over those of one on all cores. text: its train.py. RunFailed."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-", ignore_cleanup_errors=True) as above:
        folder = Path(above).resolve()
        whole = _speed(made, text, folder / "whole", frozenset(), lambda: None)
        gate = threading.Barrier(len(shares))
        with ThreadPoolExecutor(len(shares)) as pool:
            parts = pool.map(
                lambda k: _speed(made, text, folder / str(k), shares[k], lambda: gate.wait(WAIT_SECONDS)), range(len(shares))
            )
            return sum(parts) / whole


def _speed(made: Plan, text: str, folder: Path, processors: frozenset[int], wait: Callable[[], object]) -> float:
    """Tokens a second of steps, once `wait` has returned."""
    profile, facts = made.profile, made.choice.facts
    data = profile.sizes
    variables = choices.settled({**profile.runtime, "threads": len(processors)} if processors else profile.runtime, facts.dtype)
    with (
        slots.bound(processors),
        Stopwatch(made.choice.backend, text, data.vocab_size, data.seq_len, folder, variables=variables) as watch,
    ):
        wait()
        steps, start = 0, awake_seconds()
        while (seconds := awake_seconds() - start) < SECONDS or not steps:
            watch.seconds("step")
            steps += 1
        return steps * watch.tokens_per_step / seconds
