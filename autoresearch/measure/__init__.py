"""The measuring side, frozen for the agent: the clock, the batches, the score. numpy only; a framework comes from `runtime.py`.

A `train.py` uses one name from here: `measure.start()`, which returns its `Run`.
"""

from autoresearch.measure.run import Run, Spec, start

__all__ = ["Run", "Spec", "start"]
