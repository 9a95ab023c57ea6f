"""Workers on the machines of a Ray cluster: one a device, wherever Ray has one of the study's class.

Ray is spoken with in a process of its own (ray_driver.py). When that ends, as it does when the cluster's head is gone, every
worker is gone, and it is started again until there is a cluster. The machine that decides has to be a node of it, and of the
study's class: audits are made here.
"""

import math
import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.hardware import slots
from autoresearch.workers.local import Process
from autoresearch.workers.process import END, GO
from autoresearch.workers.ray_words import Call, Joined, Looked, Unreachable
from autoresearch.workers.work import Gone, Here, Note, Order, Said

MODULE = "autoresearch.workers.ray_driver"
JOIN_SECONDS = 15.0  # between two tries to find the cluster again
LATE_SECONDS = 60.0  # chosen: that a first worker waits for the others
AWAY_SECONDS = 600.0  # chosen: without any worker, for a machine to come back
CLOSE_SECONDS = 40.0  # for an orderly end of all


class RayCrew:
    """Use: `RayCrew(address)` joins, `staff` asks for the workers."""

    def __init__(self, address: str | None):
        """address: HOST:PORT; None: a Ray of our own on this machine. UsageError where none can be joined."""
        self._asked = address
        self._call: Call | None = None
        self._said: queue.SimpleQueue[tuple[Process, Any]] = queue.SimpleQueue()
        self._seats: dict[int, int] = {}  # by worker: its seat, while it is here
        self._here: dict[int, Here] = {}
        self._home: set[int] = set()
        self.count = 0
        self._process: Process | None = self._started()
        self._again = 0.0
        self._alone_since: float | None = None
        self._waiting: list[tuple[int, Said]] = []
        self.address: str = self._first(Joined).address

    def staff(self, call: Call, say: Callable[[str], None]) -> None:
        """Returns when the workers are here, or have said why not. UsageError where there is none."""
        self._call = call
        assert self._process is not None, "it has joined"
        self._process.send(call)
        looked: Looked = self._first(Looked)
        say(f"workers   Ray at {self.address}: {looked.seats}")
        for line in looked.left_out:
            say(f"          {line}")
        answered: set[int] = set()
        refused: list[str] = []
        late: float | None = None
        slow = time.monotonic() + LATE_SECONDS
        while len(answered) < looked.seats and (late is None or time.monotonic() < late):
            word = self._next()
            if not self._here and time.monotonic() >= slow:
                slow = math.inf
                say("          Ray has not placed a worker yet: `ray status` says what it waits for")
            if word is None:
                continue
            if isinstance(word.said, Here):
                late = late or time.monotonic() + LATE_SECONDS
            elif isinstance(word.said, Gone):
                refused.append(word.said.reason)
            if word.seat:
                answered.add(word.seat)
            self._waiting += self._taken(word)
        if not self._here:
            reasons = "; ".join(dict.fromkeys([*looked.left_out, *refused]))
            raise UsageError(f"no worker of the Ray cluster at {self.address} can be used: {reasons}")

    def order(self, worker: int, order: Order) -> None:
        self._tell(worker, order)

    def go(self, worker: int) -> None:
        self._tell(worker, GO)

    def end(self, worker: int) -> None:
        self._tell(worker, END)

    def is_home(self, worker: int) -> bool:
        return worker in self._home

    @contextmanager
    def lent(self, worker: int) -> Iterator[None]:
        with slots.bound(self._here[worker].processors):
            yield

    def take(self, seconds: float) -> list[tuple[int, Said]]:
        found, self._waiting = self._waiting, []
        if self._process is None and time.monotonic() >= self._again:
            self._process = self._started()
        with suppress(queue.Empty):
            process, word = self._said.get(timeout=0 if found else seconds)
            while True:
                if process is self._process:
                    found += self._taken(word)
                process, word = self._said.get_nowait()
        return found + self._given_up()

    def close(self) -> None:
        if self._process:
            self._process.close(CLOSE_SECONDS)
            self._process = None

    def _started(self) -> Process:
        own = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
        return Process(0, self._asked, self._said, MODULE, own | {"RAY_USAGE_STATS_ENABLED": "0"})

    def _tell(self, worker: int, word: Order | str) -> None:
        if self._process and worker in self._seats:
            self._process.send((self._seats[worker], word))

    def _first(self, kind: type[Any]) -> Any:
        while not isinstance(word := self._next(), kind):
            pass
        return word

    def _next(self) -> Any:
        """Before the loop begins; None: nothing yet. UsageError where it has ended."""
        try:
            process, word = self._said.get(timeout=1.0)
        except queue.Empty:
            return None
        if isinstance(word, Unreachable):
            self.close()
            raise UsageError(word.problem, word.cure)
        if word is None:
            raise UsageError(f"--workers ray: {process.death()}", "`ray status` says how the cluster is")
        return word

    def _taken(self, word: Any) -> list[tuple[int, Said]]:
        match word:
            case None:
                return self._lost()
            case Unreachable():
                return []  # its end comes next
            case Joined():
                assert self._process is not None, "it was heard"
                self._process.send(self._call)
                return [(0, Note("the Ray cluster is there again"))]
            case Looked():
                return [(0, Note(line)) for line in word.left_out]
        said, worker = word.said, next((known for known, seat in self._seats.items() if seat == word.seat), 0)
        match said:
            case Here():
                worker = worker or min(set(range(1, self.count + 2)) - set(self._here))
                self.count = max(self.count, worker)
                self._seats[worker], self._here[worker] = word.seat, said
                if word.is_home:
                    self._home.add(worker)
            case Gone() if worker:
                self._forget(worker)
                if said.for_good:  # another machine may take its place
                    said = Gone(said.reason)
            case Gone():
                said = Note(f"a worker is left out: {said.reason}")
        return [(worker, said)]

    def _lost(self) -> list[tuple[int, Said]]:
        """Ray's process has ended, and all its workers."""
        assert self._process is not None, "it was heard"
        reason = f"Ray was lost: {self._process.death()}"
        self._process.close()
        self._process, self._again = None, time.monotonic() + JOIN_SECONDS
        lost: list[tuple[int, Said]] = [(worker, Gone(reason)) for worker in sorted(self._here)]
        for worker in list(self._here):
            self._forget(worker)
        return lost

    def _forget(self, worker: int) -> None:
        del self._here[worker], self._seats[worker]
        self._home.discard(worker)

    def _given_up(self) -> list[tuple[int, Said]]:
        """Where there has been no worker for long."""
        if self._here:
            self._alone_since = None
            return []
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since < AWAY_SECONDS:
            return []
        reason = f"no machine of the Ray cluster came back within {AWAY_SECONDS / 60:.0f} minutes; the same command goes on"
        return [(worker, Gone(reason, for_good=True)) for worker in range(1, self.count + 1)]
