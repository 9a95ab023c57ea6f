"""Any sequence of proposals, runs, kills, power cuts to the file's end, full and broken disks, suspends and Ctrl-C, by hypothesis.

The study under test is real. What must hold after each step: no line of the ledger that was promised is gone; no run and no seed
counts twice; every commit of the ledger has its ref; and after a whole run, branch and files say what the ledger says.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import faults
import hypothesis
import studies
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from autoresearch.errors import BrokenDisk, StoredStateError
from autoresearch.loop import stop
from autoresearch.run import disk
from autoresearch.study import lines, repair

from . import nights
from .forked import each, fork, interruptible, quick_workers
from .kills import Figures
from .nights import Night, Stage

PROPOSALS = [*({"DEPTH": depth} for depth in range(3, 18)), studies.CRASH, studies.BROKEN, studies.OUT_OF_MEMORY]
OPERATIONS = some.integers(1, 60)


def machine(stage: Stage, examples: int, steps: int, seed: int = 0) -> Figures:
    figures = Figures("state machine")
    started = time.monotonic()
    stage.setup("strict")

    class Bound(Study):
        on = stage

        def teardown(self):
            figures.cases += 1
            super().teardown()

    settings = hypothesis.settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )  # fmt: skip
    try:
        with quick_workers():
            run_state_machine_as_test(hypothesis.seed(seed)(Bound), settings=settings)
    except AssertionError as error:
        notes = "\n".join(getattr(error, "__notes__", []))
        figures.failures.append(f"{error}\n{notes}")
    figures.seconds = time.monotonic() - started
    return figures


class Study(RuleBasedStateMachine):
    on: Stage
    count = 0

    @initialize()
    def begin(self):
        Study.count += 1
        self.folder = self.on.fresh(Night("strict", [], set()), f"machine-{os.getpid()}-{Study.count}")
        self.steps: list = []
        self.promised: list[dict] = []

    @property
    def night(self) -> Night:
        return Night("strict", list(self.steps), set())

    @property
    def events(self) -> Path:
        return self.folder / ".autoresearch" / "events.jsonl"

    @rule(step=some.sampled_from(PROPOSALS))
    def propose(self, step):
        if step not in self.steps:
            self.steps.append(step)

    @rule()
    def run(self):
        self._do(lambda: self.on.play(self.night, self.folder))
        self._whole()

    @rule(k=OPERATIONS, half=some.booleans())
    def kill(self, k, half):
        pid = fork()
        if pid == 0:
            with faults.armed(faults.Fault("half" if half else "kill", k)):
                try:
                    self.on.play(self.night, self.folder)
                finally:
                    os._exit(0)
        os.waitpid(pid, 0)

    @rule(k=OPERATIONS, repeats=some.integers(1, 5))
    def full_disk(self, k, repeats):
        def play():
            with faults.armed(faults.Fault("ENOSPC", k, repeats=repeats)):
                try:
                    self.on.play(self.night, self.folder)
                except OSError as error:  # at the start, before there is a study that could wait
                    assert disk.is_full(error), error

        self._do(play)

    @rule(k=OPERATIONS)
    def broken_disk(self, k):
        def play():
            with faults.armed(faults.Fault("EIO", k)):
                try:
                    self.on.play(self.night, self.folder)
                except (OSError, BrokenDisk) as error:
                    assert "Input/output error" in str(error), error

        self._do(play)

    @rule(seconds=some.floats(0, 0.4))
    def suspend(self, seconds):
        pid = self._started()
        time.sleep(seconds)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.1)
        os.kill(pid, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        self._whole()

    @rule(seconds=some.floats(0, 0.4), presses=some.integers(1, 3))
    def ctrl_c(self, seconds, presses):
        pid = self._started()
        time.sleep(seconds)
        for _ in range(presses):
            os.kill(pid, signal.SIGINT)
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 130)

    @precondition(lambda self: self.promised)
    @rule(tail=some.sampled_from([b'{"seq":7,"ti', b"\0\0\0\0\0\0", b'{"seq":\0\0\0\0\0"}\n', b"\xff\xfe"]))
    def torn_tail(self, tail):
        with open(self.events, "ab") as file:
            file.write(tail)
        self._do(lambda: self.on.play(self.night, self.folder))
        self._whole()

    @precondition(lambda self: len(self.promised) > 2)
    @rule(share=some.floats(0, 0.9), bit=some.integers(0, 7))
    def damaged_line(self, share, bit):
        """Noticed, and repaired on request: then the ledger is what it was up to there."""
        data = bytearray(self.events.read_bytes())
        at = int(share * data.rindex(b"\n", 0, -1))
        data[at] ^= 1 << bit
        self.events.write_bytes(data)
        whole = bytes(data)

        def refused():
            try:
                self.on.play(self.night, self.folder)
            except StoredStateError as error:
                assert error.exit_status == 3 and "autoresearch repair" in str(error)
            else:
                raise AssertionError("a damaged ledger was taken for a good one")
            assert self.events.read_bytes() == whole, "a damaged ledger was changed"
            aside = repair.repair(repair.damage(self.events))
            assert aside.read_bytes() == whole

        self._do(refused)
        number = data[:at].count(b"\n")
        assert self._events() == self.promised[:number]
        self.promised = self.promised[:number]

    @invariant()
    def nothing_is_lost(self):
        if not hasattr(self, "folder"):
            return
        events = self._events()
        assert events[: len(self.promised)] == self.promised, "the ledger lost lines"
        self.promised = events
        runs = [(event["n"], event["k"]) for event in events if event["event"] == "run" and event["n"]]
        assert len(runs) == len(set(runs)), "a run counted twice"
        seeds = [event["seed"] for event in events if event["event"] == "run"]
        assert len(seeds) == len(set(seeds)), "a seed counted twice"

    def teardown(self):
        if hasattr(self, "folder"):
            self.run()
            shutil.rmtree(self.folder)

    def _whole(self):
        if self.folder.joinpath("results.tsv").exists():
            self._do(lambda: nights.check(self.folder, {}, self.promised))

    def _events(self) -> list[dict]:
        return lines.parse(lines.content(self.events), self.events).events

    def _do(self, work) -> None:
        """In a process of its own."""

        def quickly(_):
            disk.POLL_SECONDS = stop.ENVIRONMENT_WAIT_SECONDS = 0.0
            work()

        [(_, _, trouble)] = each(quickly, [None])
        assert trouble is None, trouble

    def _started(self) -> int:
        return interruptible(lambda: self.on.outcome(self.night, self.folder).exit_status)
