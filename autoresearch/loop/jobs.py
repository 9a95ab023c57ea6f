"""Which of several workers is at what, and who is free: what their loop keeps in memory alone (together.py)."""

import time
from dataclasses import dataclass

from autoresearch.agents.base import Proposal
from autoresearch.loop.watch import RunMonitor
from autoresearch.run.setup import Progress
from autoresearch.study.validity import Watched
from autoresearch.workers.work import Crew, Here, Order


@dataclass
class Job:
    """What a worker is at."""

    order: Order
    k: int = 1
    number: int | None = None  # of the experiment; None: a proposal that is checked
    proposal: Proposal | None = None
    base: int | None = None  # of the proposal
    monitor: RunMonitor | None = None
    disturbed: Watched | None = None
    is_wanted: bool = True
    progress: Progress | None = None


class Jobs:
    def __init__(self, crew: Crew):
        self._crew = crew
        self.by_worker: dict[int, Job] = {}
        self.here: dict[int, Here] = {}
        self.gone: set[int] = set()  # for good
        self._rests: dict[int, float] = {}  # workers whose machine failed: until when, by time.monotonic

    def come(self, worker: int, word: Here) -> None:
        self.here[worker] = word
        self.gone.discard(worker)

    def rest(self, worker: int, seconds: float) -> None:
        """It is given nothing so long."""
        self._rests[worker] = time.monotonic() + seconds

    @property
    def are_all_here(self) -> bool:
        """But for those that are gone."""
        return len(self.here) + len(self.gone) >= self._crew.count

    def free(self) -> list[int]:
        now = time.monotonic()
        return [worker for worker in sorted(self.here) if worker not in self.by_worker and now >= self._rests.get(worker, 0.0)]

    def of(self, worker: int, order: int) -> Job | None:
        """What it is at, where that is this order."""
        job = self.by_worker.get(worker)
        return job if job and job.order.id == order else None

    def running(self, number: int) -> int:
        """The runs of an experiment that are under way."""
        return sum(job.number == number and job.is_wanted for job in self.by_worker.values())

    def checked(self) -> list[Proposal]:
        """What is no experiment yet."""
        return [job.proposal for job in self.by_worker.values() if job.proposal]

    def slots(self) -> list[dict[str, object]]:
        """For the listener: what each worker is at."""
        slots: list[dict[str, object]] = []
        for worker in range(1, self._crew.count + 1):
            job = self.by_worker.get(worker)
            if job is None:
                slots.append({"worker": worker, "state": self._without_job(worker)})
            elif not job.is_wanted:
                slots.append({"worker": worker, "state": "ending"})
            else:
                description = job.proposal.description if job.proposal else None
                told = {"n": job.number, "k": job.k, "description": description, "progress": job.progress}
                slots.append({"worker": worker, "state": "runs", **told})
        return slots

    def _without_job(self, worker: int) -> str:
        return "free" if worker in self.here else "gone" if worker in self.gone else "starting"
