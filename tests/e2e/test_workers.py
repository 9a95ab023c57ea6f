"""Several workers of this machine, as processes: a night, and what kills lose."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import psutil
import pytest
import studies
from machines import Acting, Machine
from test_together import Ideas, sound

from autoresearch.agents.mix import Agents
from autoresearch.hardware import cores, slots
from autoresearch.hardware.slots import Slot
from autoresearch.loop.loop import Until, run_study
from autoresearch.run import experiment
from autoresearch.run.constraints import Constraints
from autoresearch.sandbox import levels
from autoresearch.study import workspace
from autoresearch.study.ledger import read
from autoresearch.workers.local import Local
from autoresearch.workers.process import Post
from autoresearch.workers.work import Done, Ended, Gone, Here, Order, Ready, Refused, Under

pytestmark = pytest.mark.slow

EDITS = [studies.BETTER, *({"MLP_RATIO": n} for n in (3, 5)), studies.WORSE, {"SOFTCAP": 20.0}]


def crew(study, count: int):
    return partial(Local, [Post(study.folder, 0, Slot())] * count)


def night(study, setup, listener, edits=EDITS, workers: int = 3):
    with studies.without_pictures():
        return run_study(study, setup, Agents(Ideas(*edits)), Until(), listener, crew=crew(study, workers))


def test_a_night_is_kept_audited_and_in_line(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus)
    recorder = studies.Recorder()
    ending = night(study, setup, recorder)
    state = studies.state_of(study)
    assert ending.reason == "that was all", ending
    sound(study)
    studies.check_in_line(study)
    assert state.best.audits and not any(audit.reason for audit in state.best.audits)
    assert state.gain.bpb > 0.01 and state.best.tests
    assert {event["worker"] for event in recorder.events if event["event"] == "begin"} == {1, 2, 3}
    assert not any("machine's fault" in note for note in recorder.notes), "what is ended has failed at nothing"
    folders = [event["folder"] for event in recorder.events if event["event"] == "begin"]
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in folders), "what trains beside it could ask for files by their names"
    shown = [event["workers"] for event in recorder.events if event["event"] == "workers at work"]
    assert any(sum(one["state"] == "runs" for one in workers) == 3 for workers in shown)


def test_each_worker_has_a_device_of_its_own(tmp_path, corpus, monkeypatch):
    played = [{"index": n, "id": f"N-{n}", "name": name, "memory_bytes": 2**30} for n, name in enumerate(["A", "A", "B"])]
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps(played))
    monkeypatch.delenv("AUTORESEARCH_NULL_DEVICE", raising=False)
    profile = studies.write_profile(tmp_path)
    words = [
        "run",
        "--workspace",
        "study",
        "--profile",
        str(profile),
        "--backend",
        "null",
        "--corpus",
        str(corpus),
        "--agent",
        "search",
    ]
    command = [sys.executable, "-m", "autoresearch.cli", *words, "--on-battery", "--plain", "--decide", "strict", "--workers"]
    done = subprocess.run([*command, "auto", "--experiments", "4"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "workers   2, one a device (A: 0, 1); of another kind, and left out: 2 B" in done.stdout
    study = workspace.load(tmp_path / "study")
    sound(study)
    begun = [event for event in read(study.events) if event["event"] == "begin"]
    assert {(event["worker"], event["device_id"]) for event in begun} == {(1, "N-0"), (2, "N-1")}
    refused = subprocess.run([*command, "3"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].endswith("left out: 2 B; give 2 or less")
    new = [word if word != "study" else "another" for word in command]
    refused = subprocess.run([*new, "3"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2 and not (tmp_path / "another").exists(), "refused before anything is made"
    refused = subprocess.run([*command, "0"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2 and "number from 1 up" in refused.stderr


TAKES_MORE = """
import os
os.sched_setaffinity(0, range(os.cpu_count()))
if len(os.sched_getaffinity(0)) > 1:
    raise RuntimeError("it has more cores than its worker")
"""


@pytest.mark.skipif(levels.reach().level < 2 or cores.usable() < 2, reason="no sandbox here, or one core")
def test_a_training_stays_on_the_cores_of_its_worker(tmp_path, corpus):
    """Else it would have trained more than what it is compared with, and the others less."""
    study, setup = studies.make(tmp_path / "study", corpus)
    text = studies.text_of(study)
    at = text.index("# Shape")
    with slots.bound(slots.shares(1)[0]):
        result = experiment.execute(replace(setup, sandbox=2), text[:at] + TAKES_MORE + text[at:], 1, tmp_path / "run")
        assert result.ok, (result.reason, (tmp_path / "run" / "log.txt").read_text())
        taken = experiment.execute(replace(setup, sandbox=0), text[:at] + TAKES_MORE + text[at:], 1, tmp_path / "again")
    assert not taken.ok, "without a sandbox nothing holds it"


class Killer(studies.Recorder):
    """Kills a worker's process with SIGKILL while something trains; each of `times` another."""

    def __init__(self, times: int):
        super().__init__()
        self.left, self.killed = times, []

    def progress(self, number, run, progress):
        super().progress(number, run, progress)
        if self.left and progress.phase == "training":
            alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
            found = [one for one in alive if "autoresearch.workers.process" in " ".join(one.cmdline())]
            victim = found[self.left % len(found)]
            self.family = victim.children(recursive=True)
            self.left -= 1
            self.killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)


def test_a_worker_that_is_killed_loses_its_run_and_nothing_else(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=0.5)
    killer = Killer(3)
    ending = night(study, setup, killer)
    state = studies.state_of(study)
    assert ending.reason == "that was all", ending
    assert len(killer.killed) == 3 and sum("is started again" in note for note in killer.notes) == 3
    sound(study)
    studies.check_in_line(study)
    assert len({one.key for one in state.experiments}) == len(state.experiments), "no text twice"
    assert {one.description for one in state.experiments} == {"baseline", *map(str, EDITS)}, "nothing lost"
    _, alive = psutil.wait_procs(killer.family, timeout=20)
    assert not alive, "a training outlived its worker"


def command(study, workers: int) -> list[str]:
    words = ["run", "--workspace", str(study.folder), "--json", "--on-battery", "--agent", "search", "--sandbox", "none"]
    return [sys.executable, "-m", "autoresearch.cli", *words, "--workers", str(workers)]


def test_kill_9_of_the_whole_and_the_same_command_goes_on(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=0.5)
    for count in (4, 3):  # runs that begin, before each kill
        with subprocess.Popen([*command(study, 3), "--experiments", "9"], stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                count -= '"event": "begin"' in line
                if count == 0:
                    break
            family = psutil.Process(child.pid).children(recursive=True)
            child.kill()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, "a worker outlived the process that it worked for"
    begun = len(studies.state_of(study).experiments)
    subprocess.run([*command(study, 3), "--experiments", "4"], check=True, capture_output=True, timeout=200)
    sound(study)
    studies.check_in_line(study)
    state = studies.state_of(study)
    assert state.workers == 3 and len(state.experiments) > begun and state.lost


def test_ctrl_c_lets_the_runs_end_and_twice_does_not(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=3)
    for presses in (1, 2):
        with subprocess.Popen(command(study, 2), stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                if presses and '"phase": "training"' in line:
                    for _ in range(presses):
                        child.send_signal(signal.SIGINT)
                        time.sleep(0.3)
                    pressed, presses = presses, 0
                if '"event": "stop"' in line:
                    last = line
            assert child.wait(60) == 130
        assert "Ctrl-C" in last
        state = studies.state_of(study)
        assert not state.under_way
        assert bool(state.lost) == (pressed == 2)
    sound(study)


# A worker alone


def heard(local: Local, kind: type, seconds: float = 60.0):
    """The first word of that kind; what is said before it is dropped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _, word in local.take(0.1):
            if isinstance(word, kind):
                return word
    raise AssertionError(f"it has not said {kind.__name__}")


def process_of_worker() -> psutil.Process:
    alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return next(one for one in alive if "autoresearch.workers.process" in one.cmdline())


def test_a_worker_heeds_each_order_anew(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=1.5)
    text = studies.text_of(study)
    with contextlib.closing(Local([Post(study.folder, 0, Slot())])) as local:
        heard(local, Here)
        local.order(1, Order(1, text, 1, "a", waits=True))
        heard(local, Ready)
        local.go(1)
        assert heard(local, Done).result.ok
        local.order(1, Order(2, text, 2, "b", waits=True))
        heard(local, Ready)
        assert not [said for _ in range(20) for said in local.take(0.1)], "it waits for a word of its own"
        local.end(1)
        assert heard(local, Ended).id == 2
        local.order(1, Order(3, text, 3, "c", waits=True, constraints=Constraints().changed(["params<=1"])))
        assert heard(local, Refused).kind == "limit"
        local.order(1, Order(4, text, 4, "d", waits=False))
        while heard(local, Under).progress.phase != "training":
            pass
        local.end(1)
        assert heard(local, Ended | Done) == Ended(4)


def test_a_worker_has_its_slot_and_lends_it(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus)
    slot = Slot({"AUTORESEARCH_NULL_DEVICE": "1"}, "N-1", frozenset([min(os.sched_getaffinity(0))]))
    with contextlib.closing(Local([Post(study.folder, 0, slot)])) as local:
        here = heard(local, Here)
        assert (here.device_id, here.variables, here.processors) == ("N-1", slot.variables, slot.processors)
        assert set(process_of_worker().cpu_affinity()) == slot.processors
        before = os.sched_getaffinity(0)
        with local.lent(1):
            assert os.sched_getaffinity(0) == slot.processors
        assert os.sched_getaffinity(0) == before


def test_one_that_dies_three_times_without_a_run_in_between_is_gone_for_good(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus)
    with contextlib.closing(Local([Post(study.folder, 0, Slot())])) as local:

        def dies() -> bool:
            heard(local, Here)
            process_of_worker().kill()
            return heard(local, Gone).for_good

        assert not dies() and not dies()
        heard(local, Here)
        local.order(1, Order(1, studies.text_of(study), 1, "a", waits=False))
        heard(local, Done)
        process_of_worker().kill()
        assert not heard(local, Gone).for_good
        assert not dies() and dies()


def test_one_that_can_not_begin_is_gone_for_good(tmp_path):
    with contextlib.closing(Local([Post(tmp_path / "nowhere", 0, Slot())])) as local:
        gone = heard(local, Gone)
        assert gone.for_good and "nowhere" in gone.reason
        assert not [said for _ in range(20) for said in local.take(0.1)]


def test_a_training_through_which_the_computer_slept_runs_again_with_its_seed(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus)
    machine = Machine(has_checks=False)

    def training(number):
        if number == 1 and not machine.slept:
            machine.slept = 3600.0

    seen = Acting(training=training)
    with studies.without_pictures():
        run_study(study, setup, Agents(Ideas(studies.WORSE)), Until(), seen, machine, crew=crew(study, 2))
    sound(study)
    (invalid,) = seen.of("invalid")
    assert (invalid["n"], invalid["state"]) == (1, "suspended") and (1, 1, "scoring") in seen.phases
    assert [run.seed for run in studies.state_of(study).experiments[1].runs] == [invalid["seed"]]
