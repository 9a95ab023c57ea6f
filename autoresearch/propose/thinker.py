"""A slow agent at work in a thread of its own, one proposal at a time, while the machine trains.

The thread only thinks: it gets a View and gives a Proposal, or the error that ended it. Ledger, git and the study are the main
thread's, which looks in now and then (`take`, `asks`). The machine does not wait for it.
"""

import queue
import random
import threading
import time
from dataclasses import replace

from autoresearch.agents.base import Agent, Ask, Proposal, Unavailable, View
from autoresearch.errors import AutoresearchError

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10.0, 600.0  # chosen: of the back-off, which doubles; give or take JITTER of it
# The same where waiting mends nothing by itself (a rejected key, no such model) or what is proposed is no use: each try may cost.
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 3600.0
JITTER = 0.3
ABANDON_SECONDS = 3 * 3600.0  # chosen: an agent that gives no word for longer is asked anew; the longest request takes two hours
LEAVE_SECONDS = 5.0  # that an agent has to end once nobody wants its answer


class Thinker:
    """Use: `think`, then `take` until it gives something. After an Unavailable `may_think` is False for a while."""

    def __init__(self, agent: Agent, seed: int = 0):
        self.agent = agent
        self.asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Proposal | BaseException] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wanted = True
        self._failures = 0
        self._begun = self._not_before = 0.0  # time.monotonic
        self._random = random.Random(seed)

    @property
    def thinks(self) -> bool:
        return self._thread is not None

    @property
    def may_think(self) -> bool:
        return not self.thinks and self._wanted and time.monotonic() >= self._not_before

    @property
    def wait_seconds(self) -> float:
        """Until it may be asked again; 0 when it may be now."""
        return max(0.0, self._not_before - time.monotonic())

    def think(self, view: View) -> None:
        assert self._thread is None, "one proposal at a time"
        answers: queue.SimpleQueue[Proposal | BaseException] = queue.SimpleQueue()
        self._answers, self._begun = answers, time.monotonic()
        view = replace(view, wanted=lambda: self._wanted and self._answers is answers, on_ask=self.asks.put)
        # A daemon: an agent that does not end keeps no program alive.
        thread = threading.Thread(target=self._work, args=(view, answers), name=f"agent {self.agent.name}", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError:  # this machine runs as many threads as it can
            self._back_off(0.0)

    def take(self, wait_seconds: float = 0.0) -> Proposal | BaseException | None:
        """The proposal, or the error that ended its making, once it is there."""
        if self._thread is None:
            return None
        answer: Proposal | BaseException
        try:
            answer = self._answers.get(timeout=wait_seconds) if wait_seconds else self._answers.get_nowait()
            self._thread.join()
        except queue.Empty:
            if time.monotonic() - self._begun < ABANDON_SECONDS:
                return None
            answer = Unavailable(f"no word from it for {ABANDON_SECONDS / 3600:g} hours")
            self._answers = queue.SimpleQueue()  # what that thread still brings, nobody reads
        self._thread = None
        if isinstance(answer, Unavailable):
            self._back_off(min(answer.retry_seconds or 0.0, LONGEST_REST_SECONDS))
        elif isinstance(answer, Proposal):
            self._failures = 0
        else:
            self.rest(self._failures)
            self._failures += 1
        return answer

    def rest(self, earlier: int) -> None:
        """Ask it again much later. earlier: how often it had to rest before, in a row."""
        seconds = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2.0 ** min(earlier, 20))
        self._not_before = time.monotonic() + seconds * self._random.uniform(1 - JITTER, 1 + JITTER)

    def close(self) -> None:
        """Nobody wants an answer any more."""
        self._wanted = False
        if self._thread is not None:
            self._thread.join(LEAVE_SECONDS)
        if (self._thread is None or not self._thread.is_alive()) and hasattr(self.agent, "close"):
            self.agent.close()

    def _back_off(self, asked_seconds: float) -> None:
        own = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 20))
        self._failures += 1
        seconds = max(own, asked_seconds) * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._not_before = time.monotonic() + max(seconds, asked_seconds)

    def _work(self, view: View, answers: "queue.SimpleQueue[Proposal | BaseException]") -> None:
        answer: Proposal | BaseException
        try:
            answer = replace(self.agent.propose(view), agent=self.agent.name)
        except AutoresearchError as error:
            answer = error
        except Exception as error:  # a bug of the agent's ends no night: the machine goes on with the search
            answer = Unavailable(f"{type(error).__name__}: {error}")
        answers.put(answer)
