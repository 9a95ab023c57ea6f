"""Workers in virtual time, for the loop of several: orders take the seconds that a function says, and nobody waits for them.

Scores come from a function too. What is real: the loop, its decisions, the ledger, git, the agents. What is not: processes,
weights, and so the audits, which pass (`unaudited`).
"""

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from autoresearch.loop import audits, watch
from autoresearch.measure.summary import RunResult
from autoresearch.run.setup import Progress
from autoresearch.study import session
from autoresearch.workers.work import Done, Ended, Gone, Here, Order, Ready, Refused, Said, Under

MOST_TRAININGS = 10_000
PATIENCE = 20_000  # calls of `take` in a row for nothing: the loop waits for what never comes


class Virtual:
    """A Crew. score(text, seed) is one run's; seconds(order) how long it takes; deaths: at these times a worker dies, gone: for
    good. late: when a worker is there, if not at once. refuses(text): it fails before READY.
    """

    def __init__(
        self, count: int, score: Callable[[str, int], float | None], seconds: Callable[[Order], float] = lambda order: 300.0,
        check_seconds: float = 20.0, deaths: dict[float, int] | None = None, gone: dict[float, int] | None = None,
        late: dict[int, float] | None = None, refuses: Callable[[str], bool] = lambda text: False,
    ):  # fmt: skip
        self._count, self._score, self._seconds, self._check_seconds = count, score, seconds, check_seconds
        self._refuses, self._idle = refuses, 0
        self.now = 0.0
        self.busy_seconds = 0.0  # of all workers, that became results
        self.trainings = 0
        self._order = itertools.count()
        self._events: list[tuple[float, int, int, Any]] = []  # time, tie, worker, what
        self._orders: dict[int, Order] = {}
        for worker in range(1, count + 1):
            self._say((late or {}).get(worker, 0.0), worker, Here("virtual", is_child=True))
        for at, worker in (deaths or {}).items():
            self._say(at, worker, Gone("it was killed"))
        for at, worker in (gone or {}).items():
            self._say(at, worker, Gone("its machine left", for_good=True))

    @property
    def count(self) -> int:
        return self._count

    def order(self, worker: int, order: Order) -> None:
        self._orders[worker] = order
        if order.waits:
            is_refused = self._refuses(order.text)
            self._say(self._check_seconds, worker, Refused(order.id, "crash", "it fell over") if is_refused else Ready(order.id))
        else:
            self._train(worker, order)

    def go(self, worker: int) -> None:
        self._train(worker, self._orders[worker])

    def _train(self, worker: int, order: Order) -> None:
        seconds = self._seconds(order)
        self._say(seconds / 2, worker, Under(order.id, Progress("training", seconds / 2, 0.5)))
        score = self._score(order.text, order.seed)
        result = RunResult("crash", order.seed, "it fell over") if score is None else RunResult("ok", order.seed, None, score)
        self._say(seconds, worker, Done(order.id, result))

    def end(self, worker: int) -> None:
        if order := self._orders.pop(worker, None):
            self._say(0.0, worker, Ended(order.id))

    def take(self, seconds: float) -> list[tuple[int, Said]]:
        """The next thing that is said, at once."""
        if not self._events:
            return self.idle()
        self._idle = 0
        self.now, _, worker, said = heapq.heappop(self._events)
        if isinstance(said, Gone):
            self._orders.pop(worker, None)
            if not said.for_good:
                self._say(10.0, worker, Here("virtual", is_child=True))
            return [(worker, said)]
        if isinstance(said, Here):
            return [(worker, said)]
        order = self._orders.get(worker)
        if isinstance(said, Ended):
            return [(worker, said)]
        if order is None or order.id != said.id:  # it died, or was ended
            return []
        if isinstance(said, Done):
            del self._orders[worker]
            self.trainings += 1
            assert self.trainings < MOST_TRAININGS, "it trains without an end"
        return [(worker, said)]

    def idle(self) -> list[tuple[int, Said]]:
        """Nothing is said."""
        self._idle += 1
        assert self._idle < PATIENCE, "it waits for what never comes"
        return []

    def is_home(self, worker: int) -> bool:
        return True

    @contextlib.contextmanager
    def lent(self, worker: int) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass

    def _say(self, seconds: float, worker: int, said: Said) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), worker, said))


@contextlib.contextmanager
def unaudited(of_keep: Callable[..., Any] = lambda _session, _subject, keep: keep) -> Iterator[None]:
    """Every would-be keep passes, or has what of_keep says: there are no weights to audit. Nor is the machine looked at."""
    with (
        mock.patch.object(audits, "of_keep", of_keep),
        mock.patch.object(audits, "of_end", lambda _session: None),
        mock.patch.object(session.Session, "sync_run", lambda self, folder: None),
        mock.patch.object(watch.RunMonitor, "start", lambda self: None),
        mock.patch.object(watch.RunMonitor, "check", lambda self: None),
    ):
        yield
