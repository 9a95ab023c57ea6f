"""An agent that proposes a fixed list, for tests of the loop.

A step is a whole train.py (str), or values for constants of the best one so far ({"DEPTH": 6}). Which step is next follows from
the history alone: the number of experiments after the baseline. So a killed study goes on where it was.
"""

from collections.abc import Iterable

from autoresearch import constants
from autoresearch.agents.base import Exhausted, Proposal, View


class Scripted:
    name = "scripted"
    thinks = False

    def __init__(self, steps: Iterable[str | dict[str, constants.Value]]):
        self.steps = tuple(steps)

    def propose(self, view: View) -> Proposal:
        number = sum(past.status != "baseline" for past in view.history)
        if number >= len(self.steps):
            raise Exhausted(f"the script's {len(self.steps)} steps are done; give it more steps, or another agent")
        step = self.steps[number]
        reasoning = f"step {number + 1} of {len(self.steps)} of the script"
        if isinstance(step, str):
            return Proposal(step, f"scripted text {number + 1}", reasoning)
        edits = ", ".join(f"{name} = {value!r}" for name, value in step.items())
        return Proposal(constants.write(view.train_py, step), edits, reasoning)
