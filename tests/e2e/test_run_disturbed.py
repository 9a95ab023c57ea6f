"""Whole studies that are disturbed: a machine, a disk or an agent that fails, signals, files that others hold, a broken limit."""

import errno
import functools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import faults
import pytest
import studies
from scripted import Scripted
from studies import BETTER, CRASH, WORSE, check_in_line, git, play, state_of

from autoresearch import durable
from autoresearch.agents.mix import Agents
from autoresearch.errors import BrokenDisk, StoredStateError, UsageError
from autoresearch.loop import loop, stop
from autoresearch.report import picture
from autoresearch.run import disk
from autoresearch.run.constraints import Constraints
from autoresearch.study import ledger, lock, session, store

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_five_useless_proposals_in_a_row_stop_the_study(begun):
    study, setup = begun
    outcome, recorder = play(study, setup, [f"x = {'(' * n}" for n in range(1, 9)])
    assert outcome.exit_status == 1 and "last 5 proposals" in outcome.reason
    assert sum(event["event"] == "rejected" for event in recorder.events) == 5
    assert len(state_of(study).experiments) == 1


@pytest.mark.slow
def test_three_failures_of_the_machine_in_a_row_stop_and_are_no_experiments(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(stop, "ENVIRONMENT_WAIT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        outcome, _ = play(study, setup, [BETTER])
    assert outcome.exit_status == 1 and "3 times in a row the machine failed" in outcome.reason
    assert state_of(study).pending is None and len(state_of(study).experiments) == 1
    play(study, setup, [BETTER])
    assert state_of(study).experiments[1].verdict == "keep"
    assert [run.seed for run in state_of(study).experiments[1].runs] == [1338]
    check_in_line(study)


@pytest.mark.slow
def test_a_full_disk_pauses_the_study_and_loses_nothing(fresh, tmp_path, corpus, monkeypatch):
    """Every write in turn fails three times: the first time the ballast helps, then the study waits."""
    study, setup = fresh
    monkeypatch.setattr(disk, "POLL_SECONDS", 0.0)
    failures = {}

    def failing(real):
        def write(path, content):
            key = (path.name, bytes(content[:30]) if isinstance(content, bytes) else "")
            failures[key] = failures.get(key, 0) + 1
            if failures[key] <= 3 and path.is_relative_to(study.folder):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(path, content)

        return write

    monkeypatch.setattr(durable, "append", failing(durable.append))
    monkeypatch.setattr(durable, "write", failing(durable.write))
    _, recorder = play(study, setup, [BETTER, WORSE])
    assert any(note.startswith("paused: the disk is full") for note in recorder.notes)
    assert [one.verdict for one in state_of(study).experiments] == ["keep", "keep", "discard"]
    check_in_line(study)


@pytest.mark.slow
def test_a_disk_that_breaks_at_the_last_word_is_told(begun):
    study, setup = begun

    def broken(kind: str, _, *detail) -> None:
        if kind == "write" and b'"event":"stop"' in detail[1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with faults.armed(broken), pytest.raises(BrokenDisk, match="Input/output error; mend that and run again"):
        play(study, setup, [], experiments=0)
    assert state_of(study).best.number == 0
    assert play(study, setup, [], experiments=0)[0].exit_status == 0


@pytest.mark.slow
def test_a_disk_without_room_for_a_run_is_waited_for(fresh, monkeypatch):
    study, setup = fresh
    rooms = iter([1 << 60, 1 << 60])
    real = disk.Disk.has_room.fget
    monkeypatch.setattr(disk, "POLL_SECONDS", 0.0)

    def has_room(self):
        monkeypatch.setattr(disk, "ROOM_BYTES", next(rooms, 1 << 20))
        return real(self)

    monkeypatch.setattr(disk.Disk, "has_room", property(has_room))
    _, recorder = play(study, setup, [], experiments=0)
    assert "MB free on the disk" in recorder.notes[0]
    assert state_of(study).best is not None


@pytest.mark.skipif(os.name == "nt", reason="a console signal can't be sent to one process there")
def test_ctrl_c_ends_a_pause_between_runs(fresh, monkeypatch):
    study, setup = fresh
    monkeypatch.setattr(disk, "ROOM_BYTES", 1 << 60)

    class Presser(studies.Recorder):
        def event(self, event):
            super().event(event)
            if event["event"] == "note" and event["reason"].startswith("paused"):
                signal.raise_signal(signal.SIGINT)

    recorder = Presser()
    started = time.monotonic()
    outcome = loop.run_study(study, setup, Agents(Scripted([])), loop.Until(), recorder)
    assert (outcome.reason, outcome.exit_status) == ("Ctrl-C", 130)
    assert time.monotonic() - started < disk.POLL_SECONDS / 2
    assert state_of(study).results == 0


@pytest.mark.slow
def test_a_second_process_is_refused(fresh):
    study, setup = fresh
    with lock.hold(study.lock), pytest.raises(UsageError, match="is at work in process"):
        play(study, setup, [])


@pytest.mark.skipif(os.name == "nt", reason="a console signal can't be sent to one process there")
@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_after_this_run_or_ends_this_run(tmp_path, corpus, presses):
    # strict: the baseline is one run. One press is followed by the rest of it, two end it.
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds={1: 1.0, 2: 5.0}[presses])
    command = [sys.executable, "-m", "autoresearch.cli", "run", "--workspace", str(study.folder), "--json", "--on-battery"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with child:
        line = ""
        while '"phase": "training"' not in line:
            line = child.stdout.readline()
        for _ in range(presses):
            child.send_signal(signal.SIGINT)
            time.sleep(0.3)
        rest = child.stdout.read()
    assert child.returncode == 130, rest
    state = state_of(study)
    assert (state.lost, state.results) == ((0, 1) if presses == 1 else (1, 0))
    assert len(state.experiments) == 1, "nothing was proposed after it"
    assert state.last_stop == "Ctrl-C" and '"exit_status": 130' in rest


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_stop_from_outside_ends_this_run_and_writes_the_last_word(tmp_path, corpus, name):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=5.0)
    command = [sys.executable, "-m", "autoresearch.cli", "run", "--workspace", str(study.folder), "--json", "--on-battery"]
    number = getattr(signal, name)
    heard = functools.partial(signal.signal, number, signal.SIG_DFL)  # under nohup a hang-up is ignored, by its children too
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as child:
        line = ""
        while '"phase": "training"' not in line:
            line = child.stdout.readline()
        sent = time.monotonic()
        for _ in range(3):  # a closing terminal sends it more than once
            child.send_signal(number)
        rest = child.stdout.read()
    assert child.returncode == 128 + number and time.monotonic() - sent < 4.5, rest
    state = state_of(study)
    assert (state.lost, state.results, state.last_stop) == (1, 0, name)
    assert f'"exit_status": {128 + number}' in rest
    assert not (study.runs / "0000-1" / "work").exists(), "no process of the run is left"


@pytest.mark.slow
def test_what_others_hold_is_drawn_later_and_ends_no_night(begun, monkeypatch):
    """An editor's git holds the index's lock at a keep; a table is a folder (as good as one that a spreadsheet holds open)."""
    study, setup = begun
    monkeypatch.setattr(session, "HELD_WAITS_SECONDS", (0.01,))
    monkeypatch.setattr(store.time, "sleep", lambda seconds: None)
    lock, rows = study.folder / ".git" / "index.lock", study.folder / "results.tsv"

    class InTheWay(studies.Recorder):
        def event(self, event):
            super().event(event)
            if event["event"] == "verdict" and event["n"] == 1:
                lock.touch()
                rows.unlink()
                rows.mkdir()
            if event["event"] == "verdict" and event["n"] == 2:
                lock.unlink()

    recorder = InTheWay()
    outcome = loop.run_study(study, setup, Agents(Scripted([BETTER, WORSE])), loop.Until(), recorder)
    assert outcome.exit_status == 0 and [one.verdict for one in state_of(study).experiments] == ["keep", "keep", "discard"]
    told = [note for note in recorder.notes if "can't be brought in line now" in note]
    assert len(told) == 2 and told[0].startswith("the branch and train.py ") and told[1].startswith("results.tsv ")
    assert git(study.folder, "rev-parse", "autoresearch/t") == state_of(study).best.commit, "as soon as the lock was gone"
    rows.rmdir()
    play(study, setup, [BETTER, WORSE])
    check_in_line(study)


@pytest.mark.slow
def test_a_limit_may_be_changed_and_the_change_stands_in_the_ledger(fresh, typed):
    """One that the baseline breaks locked the study: the same call without it was refused, too."""
    study, _ = fresh
    call = ("run", "--workspace", str(study.folder), "--sandbox", "none", "--experiments", "0", "--agent", "search", "--plain")
    status, out, _ = typed(*call, "--max-params", "1")
    assert status == 1 and "limits from now on: --max-params 1" in out and "run again with a limit that the baseline keeps" in out
    assert typed(*call)[0] == 1, "it holds without being typed again"
    status, out, _ = typed(*call, "--max-params", "1000000")
    assert status == 0 and "limits from now on: --max-params 1,000,000" in out
    state = state_of(study)
    assert state.best.verdict == "keep" and state.limits == Constraints.from_dict({"max_params": 1_000_000}) and not state.skipped
    status, out, _ = typed(*call, "--min-tok-s", "0.5", "--max-params", "1000000")
    assert status == 0 and state_of(study).limits == Constraints.from_dict({"max_params": 1_000_000, "min_tok_s": 0.5})
    status, out, _ = typed(*call, "--max-params", "none")
    assert status == 0 and state_of(study).limits == Constraints.from_dict({"min_tok_s": 0.5})
    assert "limits from now on: --min-tok-s 0.5" in out
    status, out, _ = typed(*call, "--max-params", "2")
    assert "the best itself breaks a limit (it has 320 parameters" in out
    typed(*call, "--max-params", "none")
    written = [entry for entry in ledger.read(study.events) if entry["event"] == "limits"]
    assert len(written) == 6, "a limit that stays as it is is no change"
    assert typed("train", "--workspace", str(study.folder), "--sandbox", "none")[0] == 0


@pytest.mark.slow
def test_a_failed_baseline_says_what_helps_and_is_the_same_everywhere(fresh, typed):
    study, setup = fresh
    too_small = replace(setup, constraints=Constraints.from_dict({"max_params": 1}))
    outcome, _ = play(study, too_small, [])
    assert outcome.exit_status == 1 and "run again with a limit that the baseline keeps" in outcome.reason
    (study.folder / "train.py").write_text(CRASH, encoding="utf-8")
    outcome, _ = play(study, setup, [])
    assert outcome.exit_status == 1 and "mend train.py and run again; `git -C " in outcome.reason
    names = ("--workspace", str(study.folder))
    assert "baseline   failed (crash)" in typed("status", *names)[1] and "crash         baseline" in typed("results", *names)[1]
    assert picture.compose(state_of(study)).figure.axes[0].texts[0].get_text() == "the baseline failed (crash)"
    command = outcome.reason.partition("`git ")[2].partition("`")[0]
    git(study.folder, *command.split())
    outcome, _ = play(study, setup, [])
    assert outcome.exit_status == 0, "what the advice brings back works"


@pytest.mark.slow
@pytest.mark.parametrize("gone", [True, False])
def test_a_lost_ledger_is_no_new_study(tmp_path, corpus, gone, typed):
    study, setup = studies.played(tmp_path / "study", corpus, BETTER)
    kept = study.events.read_bytes()
    study.events.unlink() if gone else study.events.write_bytes(b"")
    with pytest.raises(
        StoredStateError, match="git has 2 experiments of the study t; put a copy of it back, or `autoresearch repair"
    ):
        play(study, setup, [WORSE])
    status, _, complaint = typed("results", "--workspace", str(study.folder))
    assert status == 3 and "put a copy of it back" in complaint
    study.events.write_bytes(kept)
    play(study, setup, [BETTER, WORSE])
    check_in_line(study)


@pytest.mark.skipif(os.name == "nt", reason="a POSIX pipe")
@pytest.mark.slow
@pytest.mark.parametrize("lines", [0, 2])
def test_a_reader_that_goes_away_ends_no_night(begun, lines):
    """`autoresearch run --plain | head -2`"""
    study, _ = begun
    command = [
        sys.executable,
        "-m",
        "autoresearch",
        "run",
        "--plain",
        "--workspace",
        str(study.folder),
        "--experiments",
        "1",
        "--on-battery",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        for _ in range(lines):
            child.stdout.readline()
        child.stdout.close()
        complaint = child.stderr.read()
    assert child.returncode == 0 and "Traceback" not in complaint, complaint
    assert state_of(study).last_stop == "1 experiment done"


@pytest.mark.slow
def test_a_study_at_work_is_told_before_the_machine_is_looked_at(fresh, typed, monkeypatch):
    study, _ = fresh
    monkeypatch.setattr("autoresearch.study.terms.ready", None)
    with lock.hold(study.lock):
        status, _, complaint = typed("run", "--workspace", str(study.folder), "--sandbox", "none", "--agent", "search", "--plain")
    assert status == 2 and "is at work in process" in complaint
