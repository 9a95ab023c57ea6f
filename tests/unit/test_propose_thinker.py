"""The slow agent's thread, where the system has none for it."""

import threading

from autoresearch.agents.base import View
from autoresearch.propose.thinker import FIRST_WAIT_SECONDS, Thinker


class Never:
    name, thinks = "never", True

    def propose(self, view):
        raise AssertionError("nobody asks it")


def test_without_a_thread_it_is_asked_later(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    thinker = Thinker(Never())
    thinker.think(View("", "", None, ()))
    assert not thinker.thinks and not thinker.may_think and thinker.take() is None
    assert 0 < thinker.wait_seconds < 2 * FIRST_WAIT_SECONDS
