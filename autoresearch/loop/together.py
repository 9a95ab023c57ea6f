"""The ratchet with several workers: the same steps as in loop.py, several experiments at once, one writer of the ledger.

What an experiment needs next is asked of next_step.py as with one worker. A free worker gets, in this order, a further run of what
is in doubt, a check of the best, an edit whose base is no longer the best, a new proposal. An experiment is judged against the best
that it was an edit of; where another was kept meanwhile, its edit is made again on that and tested from its first run on
(next_step.py), so no score over another base keeps anything. Which worker does what is in memory alone: the ledger knows the runs
that are under way, so whatever is killed, the same commits run again.

Audits need the study's own machine and weights: they are made here, in the place of a worker of this machine that is free.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from msgspec import UNSET

from autoresearch.child import RunFailed
from autoresearch.loop import audits, baseline, runs
from autoresearch.loop.begin import start
from autoresearch.loop.candidates import Candidates
from autoresearch.loop.jobs import Job, Jobs
from autoresearch.loop.next_step import Audit, RunNext, Verdict, next_step
from autoresearch.loop.steering import PAUSED, Steering
from autoresearch.loop.stop import ENVIRONMENT_TRIES, ENVIRONMENT_WAIT_SECONDS, Ending, Stop
from autoresearch.loop.watch import Disturbed, RunMonitor
from autoresearch.propose.proposer import Proposer
from autoresearch.propose.views import draw_lessons
from autoresearch.run.setup import Progress
from autoresearch.study import decide, events
from autoresearch.study.events import REBASED
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session
from autoresearch.study.validity import SUSPENDED_SECONDS, Watched
from autoresearch.workers.work import LAST, Crew, Done, Ended, Failed, Gone, Here, Note, Order, Ready, Refused, Said, Under

LISTEN_SECONDS = 0.2
LOOK_SECONDS = 60.0  # between two looks at the machine's conditions, which all runs in between began under
MOST_BASELINE_RUNS = 8  # chosen: more workers than the baseline needs runs would stand still beside it


class Together:
    """Use: `run`, once. reached: the limit of the call that is reached, in words, after so many experiments."""

    def __init__(
        self, session: Session, proposer: Proposer, crew: Crew, steering: Steering, reached: Callable[[int], str | None],
        most: int | None,
    ):  # fmt: skip
        """most: experiments of this call."""
        self.session, self.proposer, self.crew, self._steering, self._reached = session, proposer, crew, steering, reached
        self._most = most
        self._jobs = Jobs(crew)
        self._candidates = Candidates(session, proposer, self._jobs)
        self._also: Counter[int] = Counter()  # runs that an audit wants
        self._done = self._orders = 0
        self._looked, self._conditions = -LOOK_SECONDS, dict[str, object]()
        self._paused = False

    def run(self) -> Ending:
        session = self.session
        if session.state.workers != self.crew.count:
            session.record(events.Workers(count=self.crew.count))
        if session.state.best is None and session.state.pending is None:
            baseline.start(session, work_tree=True)
        try:
            while True:
                self._listen()
                self._decide()
                self._fill()
                if not self._jobs.by_worker and (ending := self._ending()):
                    return ending
        finally:
            self._end_all()

    # What was said

    def _listen(self) -> None:
        session = self.session
        with session.interrupts.breakable():
            said = self.crew.take(LISTEN_SECONDS)
            session.interrupts.speak()
        self._steering.attend()
        self.proposer.tick()
        for worker, word in said:
            self._take(worker, word)
        session.show_workers(self._jobs.slots())

    def _take(self, worker: int, word: Said) -> None:
        match word:
            case Here():
                self._jobs.come(worker, word)
                if self.crew.count > self.session.state.workers:
                    self.session.record(events.Workers(count=self.crew.count))
            case Note():
                self.session.note(word.text)
            case Gone():
                self._lose(worker, word)
            case _:
                if job := self._jobs.of(worker, word.id):  # else it is of an order that is over
                    self._take_of(worker, job, word)

    def _take_of(self, worker: int, job: Job, word: Under | Ready | Refused | Done | Ended | Failed) -> None:
        if isinstance(word, LAST):
            self._leave(worker)
        match word:
            case Under():
                self._follow(job, word.progress)
            case Ready():
                self._ready(worker, job)
            case Refused():
                if job.is_wanted:
                    self._candidates.refuse(job, RunFailed(word.kind, word.reason))
            case Done():
                self._finished(job, word)
            case Ended():
                self._candidates.give_back(job)
            case Failed():
                self._failed(worker, job, word.reason)

    def _leave(self, worker: int) -> Job:
        """What a worker was at and is no more: its folder is nobody's now."""
        job = self._jobs.by_worker.pop(worker)
        self.session.in_use.discard(job.order.folder)
        self._candidates.tell()
        return job

    def _follow(self, job: Job, progress: Progress) -> None:
        job.progress = progress
        if monitor := job.monitor:
            if progress.phase == "training":
                monitor.tick() if monitor.is_on else monitor.start()
            elif monitor.is_on:
                self._judge(job, monitor.check)
        if job.number is not None:
            self.session.progress_to(job.number, job.k)(progress)

    @staticmethod
    def _judge(job: Job, look: Callable[[], None]) -> None:
        """Whether the run counts, which is known before its score is."""
        try:
            look()
        except Disturbed as disturbed:
            job.disturbed = disturbed.watched

    def _ready(self, worker: int, job: Job) -> None:
        """A proposal is an experiment from now on, and trains, unless the best is another one by now."""
        session, proposal = self.session, job.proposal
        assert proposal is not None, "only a proposal waits"
        if not job.is_wanted or session.interrupts.requested:
            return self._unwant(worker, job)
        job.number = start(session, proposal, None, job.base)
        job.proposal = None
        self._candidates.tell()
        self.proposer.accepted(proposal)
        if self._is_of_another_base(session.state.experiments[job.number]):
            return self._unwant(worker, job)  # _decide ends it
        self._begin(worker, job)
        self.crew.go(worker)

    def _begin(self, worker: int, job: Job) -> None:
        session, number = self.session, job.number
        assert number is not None, "it is an experiment"
        here = self._jobs.here[worker]
        session.record(events.Begin(
            n=number, k=job.k, seed=job.order.seed, folder=job.order.folder, sandbox=session.setup.sandbox,
            conditions=self._look() if self.crew.is_home(worker) else UNSET,
            device_id=here.device_id or UNSET, worker=worker,
        ))  # fmt: skip
        if here.is_child:  # else its worker tells of a sleep, and nobody of others' load
            job.monitor = RunMonitor(session, session.state.experiments[number], job.k, is_alone=False)

    def _look(self) -> dict[str, object]:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked, self._conditions = time.monotonic(), self.session.look()
        return self._conditions

    def _finished(self, job: Job, word: Done) -> None:
        session, number, result = self.session, job.number, word.result
        if not job.is_wanted or number is None:
            return
        if (monitor := job.monitor) and monitor.is_on:
            self._judge(job, monitor.check if result.ok else partial(monitor.failed, result.status))
        watched = monitor.watched if monitor else Watched()
        subject = session.state.experiments[number]
        if monitor is None and word.asleep_seconds >= SUSPENDED_SECONDS:
            why = f"the computer slept for {word.asleep_seconds:.0f} s while it trained"
            job.disturbed = Watched("suspended", why, round(word.asleep_seconds, 3), None, None, None)
        if job.disturbed:
            session.record(events.Invalid(n=number, k=job.k, seed=job.order.seed, **job.disturbed.to_dict()))
        elif failure := runs.record(session, subject, job.k, session.study.runs / job.order.folder, result, watched):
            self._note_failure(str(failure))
        else:
            session.machine_failures = 0

    def _failed(self, worker: int, job: Job, reason: str) -> None:
        if not job.is_wanted:
            return
        self._lost(job, reason)
        self._jobs.rest(worker, ENVIRONMENT_WAIT_SECONDS)
        self._note_failure(reason)

    def _note_failure(self, reason: str) -> None:
        session = self.session
        if session.disk_is_full:
            return session.wait_for_room()
        session.machine_failures += 1
        if session.machine_failures >= ENVIRONMENT_TRIES * max(1, len(self._jobs.here)):
            raise Stop(f"{session.machine_failures} times in a row the machine failed, not the experiment: {reason}", 1)
        session.note(f"a run failed by the machine's fault, and is done again: {reason}")

    def _lose(self, worker: int, word: Gone) -> None:
        session = self.session
        self._jobs.here.pop(worker, None)
        if worker in self._jobs.by_worker:
            self._lost(self._leave(worker), f"worker {worker} is gone: {word.reason}; the same commit runs again")
        if not word.for_good:
            return session.note(f"worker {worker} is started again as soon as it can be: {word.reason}")
        self._jobs.gone.add(worker)
        session.note(f"worker {worker} is no more: {word.reason}")
        if len(self._jobs.gone) == self.crew.count:
            raise Stop(f"no worker is left; the last one: {word.reason}", 1)

    def _lost(self, job: Job, reason: str) -> None:
        if job.is_wanted and job.number is not None:
            self.session.record(events.Lost(n=job.number, k=job.k, reason=reason))
        self._candidates.give_back(job)

    def _unwant(self, worker: int, job: Job, reason: str | None = None) -> None:
        """End a worker's job. reason: of the loss of a run that the ledger knows."""
        if job.is_wanted:
            job.is_wanted = False
            if reason and job.number is not None:
                self.session.record(events.Lost(n=job.number, k=job.k, reason=reason))
            self.crew.end(worker)

    # What comes next

    def _decide(self) -> None:
        """Verdicts, and audits where a worker of this machine is free, of all whose scores say so."""
        session = self.session
        for subject in list(session.state.open):
            while subject.verdict is None:
                step: RunNext | Audit | Verdict | None
                step = next_step(session.state, subject.number, session.study.decide, session.setup.constraints)
                if isinstance(step, RunNext) or self._waits_for_a_run(subject, step):
                    break
                if isinstance(step, Audit):
                    step = self._audited(subject, step.keep)
                if step is None:
                    break
                if isinstance(step, Verdict):
                    self._give(subject, step)
                elif not self._is_of_another_base(subject):  # else the audit has revoked the best
                    self._also[subject.number] += 1
                    break

    def _waits_for_a_run(self, subject: Experiment, step: Audit | Verdict) -> bool:
        """The first run of what began on another base goes on: most lose to their own base too, and need not be made again. So do
        all of the baseline's, since one keep or none hangs on them; and a run that an audit has asked for.
        """
        if not self._jobs.running(subject.number):
            return self._also[subject.number] > 0
        if isinstance(step, Verdict) and step.state == REBASED:
            return not subject.results
        return self.session.state.best is None or self._also[subject.number] > 0

    def _audited(self, subject: Experiment, keep: Verdict) -> Verdict | RunNext | None:
        """None: no worker of this machine is free for it. Where it has none, nobody trains on it."""
        session = self.session
        if not any(map(self.crew.is_home, self._jobs.here)):
            return audits.of_keep(session, subject, keep)
        worker = next((worker for worker in self._jobs.free() if self.crew.is_home(worker)), None)
        if worker is None:
            return None
        with self.crew.lent(worker), session.on_device(self._jobs.here[worker].variables):
            return audits.of_keep(session, subject, keep)

    def _give(self, subject: Experiment, verdict: Verdict) -> None:
        session = self.session
        for worker, job in self._jobs.by_worker.items():
            if job.number == subject.number:
                self._unwant(worker, job, "its experiment was decided")
        session.record(events.Verdict(
            n=subject.number, commit=subject.commit, verdict=verdict.verdict, state=verdict.state, reason=verdict.reason,
            val_bpb=verdict.val_bpb, scores=list(verdict.scores),
        ))  # fmt: skip
        session.follow()
        draw_lessons(session, self.proposer.views)
        if subject.number == 0:
            baseline.check(session)
            session.note_users_edit()
        elif verdict.state != REBASED:
            self._done += 1
            session.draw_now_and_then(self._done)

    def _fill(self) -> None:
        """Give the free workers what there is to do."""
        session = self.session
        if session.interrupts.requested or not self._all_here():
            return
        if session.state.paused != self._paused:
            self._paused = session.state.paused
            session.note(PAUSED if self._paused else "it goes on")
        wanted = self._wanted()
        for worker in self._jobs.free():
            if session.state.paused:
                return
            if (number := next(wanted, None)) is not None:
                self._run_again(worker, number)
            elif not self._propose(worker):
                return

    def _all_here(self) -> bool:
        """The first run begins when each worker is here: the baseline's would have the machine for themselves otherwise."""
        return self._jobs.are_all_here or bool(self.session.state.results) or bool(self._jobs.by_worker)

    def _wanted(self) -> Iterator[int]:
        """The experiments that want a further run, each as often as it does."""
        session, state = self.session, self.session.state
        best = state.best
        wanted: Counter[int] = Counter()
        for subject in state.open:
            step = next_step(state, subject.number, session.study.decide, session.setup.constraints)
            if self._also[subject.number]:
                wanted[subject.number] = 1
            elif isinstance(step, RunNext) and step.number == subject.number:
                wanted[subject.number] = self._at_once(subject)
            elif isinstance(step, RunNext) and best is not None:
                missing = len(subject.results) + decide.BEST_EXTRA - len(best.counted)
                wanted[best.number] = max(wanted[best.number], missing, 1)
        if best is not None and best.number > 0 and best.can_rerun:
            wanted[best.number] = max(wanted[best.number], decide.CHECK_RUNS[session.study.decide] - len(best.again))
        for number, count in wanted.items():
            yield from [number] * (count - self._jobs.running(number))

    def _at_once(self, subject: Experiment) -> int:
        """How many runs of one experiment. Most losers cost one; what is in doubt has all that a keep needs at once, since keeps
        come one after another (docs/design/workers.md).
        """
        known = len(subject.results)
        if self.session.state.best is None:
            needed = decide.BASELINE_RUNS[self.session.study.decide]
            return (max(needed, min(self.crew.count, MOST_BASELINE_RUNS)) if needed > 1 else needed) - known
        return max(1, decide.LEAST_RUNS - known) if known else 1

    def _run_again(self, worker: int, number: int) -> None:
        session = self.session
        subject = session.state.experiments[number]
        session.wait_for_room()
        self._also[number] -= self._also[number] > 0
        job = self._job(session.store.text(subject.commit), False, number)
        job.k = subject.next_k
        self._begin(worker, job)
        self._jobs.by_worker[worker] = job
        self.crew.order(worker, job.order)

    def _propose(self, worker: int) -> bool:
        """Whether something is checked now that may become an experiment."""
        session = self.session
        if session.state.best is None or self._enough() or (candidate := self._candidates.next()) is None:
            return False
        proposal, base = candidate
        session.wait_for_room()
        session.show_check(len(session.state.experiments), proposal.description)
        job = self._job(proposal.train_py, True)
        job.proposal, job.base = proposal, base
        self._jobs.by_worker[worker] = job
        self._candidates.tell()
        self.crew.order(worker, job.order)
        return True

    def _job(self, text: str, waits: bool, number: int | None = None) -> Job:
        """Its folder's name tells nothing and can't be guessed: what trains beside it could ask for its files' sizes."""
        session, setup = self.session, self.session.setup
        folder = session.empty_folder(secrets.token_hex(16)).name
        session.in_use.add(folder)
        self._orders += 1
        seed = session.state.next_seed(but=[job.order.seed for job in self._jobs.by_worker.values()])
        early = runs.futility(session) if waits else None
        order = Order(self._orders, text, seed, folder, waits, setup.constraints, setup.baseline, setup.bounds, early)
        return Job(order, number=number)

    def _is_of_another_base(self, subject: Experiment) -> bool:
        best = self.session.state.best
        return best is not None and subject.base not in (None, best.number)

    def _enough(self) -> bool:
        """Whether no new experiment is begun in this call."""
        state = self.session.state
        begun = self._done + sum(one.number > 0 for one in state.open) + len(self._jobs.checked())
        is_over = self._reached(self._done) is not None or (self._most is not None and begun >= self._most)
        self.proposer.expect_last(is_over)
        return is_over

    # Ends

    def _ending(self) -> Ending | None:
        """Why it is over, where nothing is under way."""
        session = self.session
        if session.interrupts.requested:
            return Ending(session.interrupts.word, session.interrupts.exit_status)
        if session.state.open or session.state.best is None or not self._all_here():
            return None
        if over := self._reached(self._done):
            return Ending(over)
        return self._candidates.over if not (session.state.to_rebase or session.state.paused) else None

    def _end_all(self) -> None:
        """Whatever ends it: what a worker was at is lost, and the next call does it again."""
        session = self.session
        word = f"ended by {session.interrupts.word}" if session.interrupts.requested else "the study was stopped"
        for worker, job in self._jobs.by_worker.items():
            self._unwant(worker, job, f"{word}; the same commit runs again" if job.number is not None else None)
