"""Waiting until the machine is itself, and looking on while a run trains: the effects around validity.py.

Before a run `await_steady` checks the machine's speed, and waits, checks again, and at last takes it as it is. A `RunMonitor` looks
at the clocks and at other processes each second of the training, and at the speed once more when it is over, before the score: so
no score has a say in whether its run counts. Both see the machine through the session's observer only.
"""

import math

from autoresearch.hardware.devices.accelerator import Question
from autoresearch.hardware.now.observer import Observer, Reading
from autoresearch.measure.clock import asleep_seconds
from autoresearch.run import experiment
from autoresearch.study import events
from autoresearch.study.experiments import Experiment
from autoresearch.study.session import Session
from autoresearch.study.validity import (
    NEW_NORMAL,
    SHORTEST_SECONDS,
    SUSPENDED_SECONDS,
    TRIES,
    Disturbance,
    Reference,
    Watched,
    explain,
    wait_seconds,
)

BEFORE_SHARE, AFTER_SHARE = 0.006, 0.003  # of the training: 1.8 and 0.9 s of 300
REPEATS = 3  # a check that is off is done again at once; the best of all counts
SAY_SECONDS = 30.0  # between two lines while nothing trains
LOOK_SECONDS = 1.0
LEAST_READINGS = 3  # of the power that a device draws, spread over a training, to call its energy measured
DEVICE_SECONDS = 60.0  # between two questions to an accelerator's driver, each a process of its own for a moment
SPEED_FAILURES = ("timeout", "limit", "futile")  # what a run may fail by because the machine is slow


class Disturbed(Exception):
    """The run does not count; the same commit runs again."""

    def __init__(self, watched: Watched):
        super().__init__(watched.reason)
        self.watched = watched


def await_steady(session: Session) -> None:
    """Return when a run may begin: the machine's speed is the usual one, or has become so, or can't be checked."""
    observer, off = session.observer, session.state.reference.off["before"]
    with session.interrupts.breakable():
        while _check_speed(session, "before", BEFORE_SHARE, is_last=len(off) + 1 >= NEW_NORMAL):
            end, due = observer.awake() + wait_seconds(len(off)), observer.awake() + SAY_SECONDS
            while (now := observer.awake()) < end:
                if now >= due:
                    due = now + SAY_SECONDS
                    session.show_wait(f"waiting for a machine that is as fast as usual: the next check in {end - now:.0f} s")
                session.interrupts.speak()
                if session.interrupts.requested:  # between two runs the first Ctrl-C is enough
                    raise KeyboardInterrupt
                session.tick()
                observer.sleep(0.5)


def _check_speed(session: Session, place: events.Place, share: float, is_last: bool) -> Disturbance | None:
    """One check, recorded. None: it is the usual speed, or nothing can be said. is_last: what is off is normal from now on."""
    reference, seconds = session.state.reference, share * session.setup.train_seconds
    reading = session.observer.throughput(seconds)
    if reading is None:
        return None
    for _ in range(REPEATS):
        if not reference.is_off(place, reading):
            break
        again = session.observer.throughput(seconds)
        reading = reading if again is None or again.rate <= reading.rate else again
    finding = explain(reading, place, reference) if reference.is_off(place, reading) else None
    if finding is None:
        _record(session, place, reading, "steady", None)
    elif finding.state == "helped" or (finding.state == "contended" and place == "after"):
        _record(session, place, reading, finding.state, finding.reason)
        return None
    elif is_last:
        _record(session, place, reading, "normal", f"{finding.reason}; from now on this counts as normal")
        return None if place == "before" else finding
    else:
        wait = wait_seconds(len(reference.off[place]) + 1) if place == "before" else None
        _record(session, place, reading, finding.state, finding.reason, wait)
    return finding


def _record(
    session: Session, place: events.Place, reading: Reading, state: events.Steadiness, reason: str | None, wait: float | None = None
) -> None:
    session.record(events.Speed(
        place=place, rate=round(reading.rate, 3), median=session.state.reference.median(place), state=state, reason=reason,
        taken=reading.taken, helpers=reading.helpers, clock_mhz=reading.clock_mhz, wait_seconds=wait,
    ))  # fmt: skip


class RunMonitor(experiment.Monitor):
    """Of one training. Use: `start` at its clock's start, `tick` a few times a second, then `check` or `failed`.

    is_alone: nothing else trains beside it, so that the machine's speed can be looked at.
    """

    def __init__(self, session: Session, subject: Experiment, k: int, is_alone: bool = True):
        self._is_alone = is_alone
        self._session, self._observer = session, session.observer
        self._reference: Reference = session.state.reference
        self._is_paired = session.study.task.is_paired  # what slows it down slows down what it is measured beside
        self.is_last_try = sum(failure.k == k for failure in subject.invalid) + 1 >= TRIES
        self.is_on = False
        self.watched = Watched()

    def start(self) -> None:
        observer = self._observer
        self.is_on = True
        self._asleep_before, self._asleep_seconds = _apart(observer), 0.0
        self._first = self._usage = observer.usage(names=True)
        self._seconds = self._taken = 0.0  # of the looks that had a usage, and the sum of share times seconds
        self._last_look = self._device_asked = observer.awake()
        self._question: Question | None = None
        self._throttled: list[bool] = []
        self._started, self._watts = observer.awake(), list[float]()
        self._meter = observer.meter()
        self._joules: float | None = None

    def tick(self) -> None:
        now = self._observer.awake()
        if now - self._last_look >= LOOK_SECONDS:
            self._look(now)

    def check(self) -> None:
        """The training is over: raises Disturbed when it does not count. At the last try it counts, and `watched` tells why not."""
        finding = self._end()
        if finding is None and self._is_alone:
            finding = _check_speed(self._session, "after", AFTER_SHARE, self.is_last_try)
        self._judge(finding)

    def failed(self, kind: str) -> None:
        """As `check`, of a run that failed: after a sleep whatever it was (a driver may lose its device), else by being slow."""
        if self.is_on:
            finding = self._end()
            if finding and (finding.state == "suspended" or kind in SPEED_FAILURES):
                self._judge(finding)

    def _judge(self, finding: Disturbance | None) -> None:
        throttled = sum(self._throttled) * 2 > len(self._throttled) if self._throttled else None
        taken = self._taken / self._seconds if self._seconds else None
        state, reason = (finding.state, finding.reason) if finding else (None, None)
        asleep, joules = round(self._asleep_seconds, 3), None if self._joules is None else round(self._joules, 1)
        self.watched = Watched(state, reason, asleep, taken and round(taken, 4), throttled, joules)
        if finding and not self.is_last_try:
            raise Disturbed(self.watched)

    def _look(self, now: float) -> None:
        self._last_look = now
        apart = _apart(self._observer)
        if apart - self._asleep_before >= SUSPENDED_SECONDS:
            self._asleep_seconds += apart - self._asleep_before
        self._asleep_before = apart
        before, self._usage = self._usage, self._observer.usage()
        # Where a tree of ours ended in between, which has taken its seconds along (another worker's), nobody can tell.
        is_known = before is not None and self._usage is not None and (self._is_alone or self._usage.own >= before.own)
        if is_known and before and self._usage and (seconds := self._usage.time - before.time) > 0:
            self._taken += seconds * self._observer.taken(before, self._usage)
            self._seconds += seconds
        if self._meter:
            self._joules = self._meter.look()
        self._ask_device(now)

    def _ask_device(self, now: float) -> None:
        if self._question is None and now - self._device_asked >= DEVICE_SECONDS:
            self._device_asked, self._question = now, self._observer.ask_device()
        elif self._question is not None and self._question.is_ready:
            self._take_answer(self._question)

    def _take_answer(self, question: Question) -> None:
        answer, self._question = question.answer(), None
        if answer.throttled is not None:
            self._throttled.append(answer.throttled)
        if answer.watts is not None:
            self._watts.append(answer.watts)

    def _end(self) -> Disturbance | None:
        self.is_on = False
        last = self._observer.usage(names=True)
        self._look(self._observer.awake())
        if self._question is not None:
            self._take_answer(self._question)
        if len(self._watts) >= LEAST_READINGS:
            self._joules = math.fsum(self._watts) / len(self._watts) * (self._last_look - self._started)
        if self._asleep_seconds:
            return Disturbance("suspended", f"the computer slept for {self._asleep_seconds:.0f} s while it trained")
        taken = self._taken / self._seconds if self._seconds >= SHORTEST_SECONDS else 0.0
        if self._reference.is_contended(taken) and not self._is_paired:
            name = self._observer.largest(self._first, last) if self._first and last else None
            most = f", {name} most" if name else ""
            usual = f", usually {self._reference.taken:.0%}" if self._reference.taken else ""
            return Disturbance("contended", f"others took {taken:.0%} of the cores while it trained{usual}{most}")
        if self._throttled and sum(self._throttled) * 2 > len(self._throttled) and not self._reference.throttled:
            return Disturbance("throttled", "the accelerator's driver said so while it trained")
        return None


def _apart(observer: Observer) -> float:
    return asleep_seconds(observer.awake, observer.elapsed)
