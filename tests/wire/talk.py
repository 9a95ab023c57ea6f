"""Talk: an agent that proposes against a server with a script, and the asks that came of it. One for every protocol's tests."""

import dataclasses

from autoresearch import constants, paths
from autoresearch.agents.base import Past, View

BEST = (paths.shipped("backends") / "null" / "train.py").read_text(encoding="utf-8")
EDITED = constants.write(BEST, {"MATRIX_LR": 0.06})
BASELINE = Past(0, "baseline", "baseline", 1.5, BEST)


class Talk:
    def __init__(self):
        self.asks, self.server, self.agent = [], None, None

    def close(self):
        for end in (self.agent and self.agent.close, self.server and self.server.__exit__):
            if end:
                end()
        self.agent = self.server = None

    def propose(self, **changes):
        view = View("Be bold.", BEST, 1.5, (BASELINE,), on_ask=self.asks.append)
        return self.agent.propose(dataclasses.replace(view, **changes))

    @property
    def outcomes(self):
        return [ask.outcome for ask in self.asks]
