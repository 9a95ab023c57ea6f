"""The scripted agent: its place in the list follows from the history."""

import pytest
from scripted import Scripted

from autoresearch.agents.base import Exhausted, Past, View

START = "DEPTH = 4\n"


def view(count: int) -> View:
    past = [Past(number, "", "baseline" if number == 0 else "discard", 1.0, START) for number in range(count + 1)]
    return View("", START, 1.0, tuple(past))


def test_texts_and_edits_in_order_then_the_end():
    agent = Scripted(["DEPTH = 9\n", {"DEPTH": 6}])
    assert agent.propose(view(0)).train_py == "DEPTH = 9\n"
    assert agent.propose(view(1)).train_py == "DEPTH = 6\n"
    assert agent.propose(view(1)).description == "DEPTH = 6"
    with pytest.raises(Exhausted, match="2 steps are done"):
        agent.propose(view(2))
