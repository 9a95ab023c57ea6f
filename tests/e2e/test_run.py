"""Whole studies: what is kept, rolled back, sent back and recorded, and what a user may do to a study in between."""

import errno
import functools
import os
import shutil
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
from studies import BETTER, BROKEN, CRASH, NEVER_ASKS, OUT_OF_MEMORY, WORSE, check_in_line, git, play, state_of

from autoresearch import constants, durable, paths
from autoresearch.agents.mix import Agents
from autoresearch.errors import BrokenDisk, StoredStateError, UsageError
from autoresearch.loop import loop, stop
from autoresearch.loop.edit import try_edit
from autoresearch.report import picture, table
from autoresearch.run import disk
from autoresearch.run.constraints import Constraints
from autoresearch.study import ledger, lock, session, store, terms, workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh(tmp_path, corpus):
    return studies.make(tmp_path / "study", corpus)


@pytest.fixture
def begun(tmp_path, corpus):
    """With its baseline."""
    return studies.played(tmp_path / "study", corpus)


def text_of(study) -> str:
    return (study.folder / "train.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_night_in_small(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, startup_limit_seconds=4)
    first = text_of(study)
    steps = [BETTER, WORSE, CRASH, "x = (", first, OUT_OF_MEMORY, NEVER_ASKS, BROKEN, {"DEPTH": 18}]
    outcome, recorder = play(study, setup, steps, experiments=5, pictures=True)
    assert outcome.exit_status == 0
    state = state_of(study)
    assert [(one.verdict, one.state) for one in state.experiments] == [
        ("keep", "baseline"), ("keep", "keep"), ("discard", "discard"), ("crash", "crash"), ("crash", "oom"),
        ("discard", "discard"),
    ]  # fmt: skip
    reasons = [event["reason"] for event in recorder.events if event["event"] == "rejected"]
    assert "does not parse" in reasons[0] and "line 1" in reasons[0]
    assert "tried before, as experiment 0" in reasons[1]
    never_asked, broken = state.rejections
    assert (never_asked.state, broken.state) == ("timeout", "crash") and never_asked.n == broken.n == 5
    assert "broken from the start" in broken.reason and "Traceback" in broken.log
    assert git(study.folder, "show", "refs/autoresearch/t/rejected-2:train.py") == BROKEN.strip()
    assert "a broken idea" in state.experiments[3].reason
    assert [run.seed for one in state.experiments for run in one.runs] == [1337 + n for n in range(6)]
    check_in_line(study)
    rows = (study.folder / "results.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[3] for row in rows[1:]] == ["keep", "keep", "discard", "crash", "crash", "discard"]
    assert rows[4].split("\t")[1:3] == ["0.000000", "0.0"]
    assert git(study.folder, "log", "--format=%s") == "DEPTH = 8, ASPECT_RATIO = 64\nStart of the study"
    assert constants.read(text_of(study))["DEPTH"].value == 8
    assert (study.folder / "progress.png").read_bytes()[:4] == b"\x89PNG"
    assert {phase for _, _, phase in recorder.phases} == {"startup", "training", "scoring", "audit"}
    found = [(event["n"], event["cuts"], event["reason"]) for event in recorder.events if event["event"] == "audit"]
    assert found == [(0, 640, None), (1, 128, None), (0, 128, None), (1, 256, None)], "baseline, keep, the best beside it, the end"
    assert [event["n"] for event in recorder.events if event["event"] == "tested"] == [0, 1]
    found = [(event["n"], event["place"], event["against"]) for event in recorder.events if event["event"] == "slice"]
    assert found == [(0, "baseline", None), (1, "keep", 0), (1, "end", 0)]
    assert state.slice_gain.gain_val[0] == pytest.approx(state.gain.bpb, rel=1e-4)
    assert state.slice_gain.gain_slice[0] == pytest.approx(state.gain.bpb, rel=0.2)


@pytest.mark.slow
def test_confirmed_measures_the_noise_and_repeats_what_looks_better(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, decide="confirmed")
    play(study, setup, [BETTER, WORSE])
    baseline, better, worse = state_of(study).experiments
    print([len(one.runs) for one in (baseline, better, worse)], better.reason, worse.reason)
    assert better.verdict == "keep" and worse.verdict == "discard"
    keep, end = better.slices
    assert (keep.place, end.place) == ("keep", "end") and keep.k != end.k, "other weights than at the keep"
    check_in_line(study)


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(begun):
    study, setup = begun
    steps = [WORSE, BETTER]
    play(study, setup, steps, experiments=1)
    assert len(state_of(study).experiments) == 2
    outcome, recorder = play(study, setup, steps)
    assert "steps are done" in outcome.reason
    assert [one.verdict for one in state_of(study).experiments] == ["keep", "discard", "keep"]
    assert not any(event["event"] == "study" for event in recorder.events)
    check_in_line(study)


@pytest.mark.slow
def test_a_baseline_that_fails_stops_with_its_reason_and_can_be_mended(fresh):
    study, setup = fresh
    good = text_of(study)
    (study.folder / "train.py").write_text(CRASH, encoding="utf-8")
    outcome, _ = play(study, setup, [BETTER])
    assert outcome.exit_status == 1 and "a broken idea" in outcome.reason and "Traceback" in outcome.detail
    assert text_of(study) == CRASH
    (study.folder / "train.py").write_text(good, encoding="utf-8")
    outcome, _ = play(study, setup, [], experiments=0)
    assert outcome.exit_status == 0
    assert state_of(study).best.number == 0
    check_in_line(study)


@pytest.mark.slow
def test_an_edit_before_the_first_run_is_the_baseline_one_during_it_is_left_alone(fresh):
    study, setup = fresh
    mine = constants.write(text_of(study), {"DEPTH": 8})
    (study.folder / "train.py").write_text(mine, encoding="utf-8")
    play(study, setup, [], experiments=0)
    assert git(study.folder, "show", "HEAD:train.py") == mine.strip()
    (study.folder / "train.py").write_text(mine + "NEW = 1\n", encoding="utf-8")
    _, recorder = play(study, setup, [{"ASPECT_RATIO": 64}])
    assert text_of(study) == mine + "NEW = 1\n"
    assert any("autoresearch try" in note for note in recorder.notes)
    assert state_of(study).experiments[1].verdict == "keep"
    assert git(study.folder, "status", "--porcelain") == "M train.py"


@pytest.mark.slow
def test_try_takes_one_step_with_the_users_edit(fresh):
    study, setup = fresh
    first = text_of(study)
    path = study.folder / "train.py"

    def attempt(text, message="an edit"):
        path.write_text(text, encoding="utf-8")
        return try_edit(study, setup, message, studies.Recorder())[0]

    for text, reason in ((first, "does not differ"), (first + "# remark\n", "does not differ"), ("x = (", "does not parse")):
        with pytest.raises(UsageError, match=reason):
            attempt(text)
        assert text_of(study) == text
    better = constants.write(first, BETTER)
    assert attempt(better, "smaller\tmodel\n").verdict == "keep"
    assert (study.folder / "progress.png").stat().st_size > 10_000
    assert text_of(study) == better
    worse = constants.write(better, WORSE)
    discarded = attempt(worse)
    assert discarded.verdict == "discard" and text_of(study) == better
    assert git(study.folder, "show", f"refs/autoresearch/t/{discarded.number}:train.py") == worse.strip()
    with pytest.raises(UsageError, match="tried before, as experiment 2"):
        attempt(worse)
    assert attempt(BROKEN) is None and text_of(study) == BROKEN, "it stays, to be mended"
    with pytest.raises(UsageError, match="failed before its training: RuntimeError: broken from the start"):
        attempt(BROKEN + "# again\n")
    path.write_text(better, encoding="utf-8")
    assert [one.description for one in state_of(study).experiments] == ["baseline", "smaller model", "an edit"]
    check_in_line(study)


@pytest.mark.parametrize("broken", ["not UTF-8", "committed, not UTF-8", "committed away", "no branch"])
def test_a_start_that_cannot_be_read_is_said_before_any_training(fresh, broken):
    study, setup = fresh
    (study.folder / "train.py").write_bytes(b"X = '\xff'\n")
    if broken == "committed, not UTF-8":
        git(study.folder, "commit", "-qam", "mine")
    elif broken == "committed away":
        git(study.folder, "rm", "-qf", "train.py")
        git(study.folder, "commit", "-qm", "mine")
    elif broken == "no branch":
        git(study.folder, "checkout", "-q", "--detach")
        git(study.folder, "branch", "-qD", "autoresearch/t")
    with pytest.raises(UsageError, match=r"UTF-8|is gone"):
        play(study, setup, [])
    (study.folder / "train.py").write_text("X = 1\n", encoding="utf-8")
    if broken != "not UTF-8":
        with pytest.raises(UsageError, match=r"UTF-8|is gone"):
            try_edit(study, setup, "mine", studies.Recorder())
    assert state_of(study).experiments == []


@pytest.mark.slow
def test_stray_files_and_a_lost_state_folder_do_no_harm(fresh):
    study, setup = fresh
    study.runs.mkdir()
    (study.runs / ".DS_Store").touch()
    (study.folder / "program.md").write_bytes(b"caf\xe9")  # of an editor that does not write UTF-8
    assert play(study, setup, [WORSE], experiments=1)[0].exit_status == 0
    shutil.rmtree(study.state_folder)  # a `git clone` of a workspace has none, and none of its refs
    for name in git(study.folder, "for-each-ref", "--format=%(refname)", "refs/autoresearch").splitlines():
        git(study.folder, "update-ref", "-d", name)
    git(study.folder, "checkout", "-q", "HEAD", "program.md")
    assert play(study, setup, [], experiments=0)[0].exit_status == 0
    assert len(state_of(study).experiments) == 1


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


def test_terms_are_kept(fresh, monkeypatch):
    study, setup = fresh
    terms.check_options(study, {"backend": "null", "profile": "auto", "seed": None, "tag": "t", "train_seconds": 0.1})
    others = {"decide": "confirmed", "seed": 5, "tag": "x", "train_seconds": 3.0, "backend": "cpu", "profile": "cpu"}
    for option, value in others.items():
        with pytest.raises(UsageError, match=rf"--{option.replace('_', '-')} {value}: .*keeps it"):
            terms.check_options(study, {option: value})
    assert terms.ready(study, 0) == setup
    monkeypatch.setitem(study.checksums, "measure", "0")
    monkeypatch.setitem(study.facts.versions, "numpy", "1.0")
    with pytest.raises(UsageError, match=r"numpy was 1.0, is .*measuring code"):
        terms.ready(study, 0)
    (study.folder / "study.toml").write_text(study.to_toml() + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="changed by hand"):
        play(study, setup, [])


def test_a_workspace_is_only_made_where_nothing_else_is(tmp_path, corpus):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UsageError, match="holds other files"):
        studies.make(folder, corpus)
    assert os.listdir(folder) == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    study, _ = studies.make(folder, corpus)
    with pytest.raises(UsageError, match="is a study already"):
        studies.make(folder, corpus)
    assert workspace.load(folder).to_toml() == study.to_toml()


def test_a_description_never_breaks_the_table():
    class Row:
        commit, val_bpb, peak_memory_bytes, verdict, description = "0123456789", 1.0, 3 << 29, "keep", "a\tb\nc"

    assert table.tsv([Row]).splitlines()[1] == "0123456\t1.000000\t1.5\tkeep\ta b c"


def call(folder, *arguments, status=0):
    command = [sys.executable, "-m", "autoresearch.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_line_from_nothing_to_best(tmp_path, corpus):
    profile = studies.write_profile(tmp_path)
    same = ["run", "--profile", str(profile), "--backend", "null", "--corpus", str(corpus), "--decide", "strict"]
    same += ["--on-battery", "--tag", "a"]
    out, _ = call(tmp_path, *same, "--experiments", "1", "--plain")
    folder = tmp_path / "autoresearch-a"
    assert "asked for by name" in out and f"go on    autoresearch run --workspace {folder}" in out
    assert "\naudit slice: " in out and "\ntest_bpb " in out, "the end of a run tells the scores on the other texts"
    out, _ = call(tmp_path, *same, "--experiments", "1", "--json")  # the same call again goes on
    assert '"reason": "1 experiment done"' in out.splitlines()[-1]
    study = workspace.load(folder)
    assert len(state_of(study).experiments) == 3
    check_in_line(study)
    assert call(tmp_path, "results")[0].splitlines()[0].split()[3] == "baseline"
    said = call(folder, "status")[0]
    assert "verdicts" in said and "requests   none to an agent's service" in said and " on the audit slice, " in said
    assert "--- train.py" in call(folder, "show", "1")[0]
    call(folder, "best", "--output", str(tmp_path / "best.py"))
    assert (tmp_path / "best.py").read_text(encoding="utf-8") == text_of(study)
    shutil.rmtree(paths.cache_dir() / "data")
    out, shown = call(folder, "train", "--on-battery")
    assert "encoding train" in shown, "what takes minutes on a large corpus is seen"
    assert out.startswith("---\nval_bpb:")
    assert "no experiment 9" in call(folder, "show", "9", status=2)[1]
    assert "keeps it" in call(tmp_path, *same[:-1], "a", "--seed", "9", status=2)[1]
    assert "no study in" in call(corpus, "status", status=2)[1]
    (tmp_path / "file").touch()
    refused = call(tmp_path, *same[:-2], "--workspace", str(tmp_path / "file" / "study"), status=1)[1]
    assert refused.splitlines()[-1].startswith("error: ") and "Traceback" not in refused


@pytest.mark.slow
def test_a_second_process_is_refused(fresh):
    study, setup = fresh
    from autoresearch.study import lock

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
    studies.check_in_line(study)


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
    assert state.best.verdict == "keep" and state.limits == Constraints(max_params=1_000_000) and not state.skipped
    status, out, _ = typed(*call, "--min-tok-s", "0.5", "--max-params", "1000000")
    assert status == 0 and state_of(study).limits == Constraints(max_params=1_000_000, min_tok_s=0.5)
    status, out, _ = typed(*call, "--max-params", "none")
    assert status == 0 and state_of(study).limits == Constraints(min_tok_s=0.5) and "limits from now on: --min-tok-s 0.5" in out
    status, out, _ = typed(*call, "--max-params", "2")
    assert "the best itself breaks a limit (it has 320 parameters" in out
    typed(*call, "--max-params", "none")
    written = [entry for entry in ledger.read(study.events) if entry["event"] == "limits"]
    assert len(written) == 6, "a limit that stays as it is is no change"
    assert typed("train", "--workspace", str(study.folder), "--sandbox", "none")[0] == 0


@pytest.mark.slow
def test_a_failed_baseline_says_what_helps_and_is_the_same_everywhere(fresh, typed):
    study, setup = fresh
    too_small = replace(setup, constraints=Constraints(max_params=1))
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


def test_a_new_study_may_be_typed_without_a_limit_and_not_without_a_name(tmp_path, typed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, complaint = typed("run", "--tag", "", "--backend", "null", "--profile", "null", "--corpus", "stdlib", "--plain")
    assert status == 2 and "tag" in complaint and not list(tmp_path.iterdir())


def test_a_command_of_git_that_is_printed_works_from_anywhere(begun, tmp_path, monkeypatch):
    """In the clone where the README has one stand, `git checkout HEAD train.py` is of another repository."""
    study, setup = begun
    before = (study.folder / "train.py").read_bytes()
    (study.folder / "train.py").write_bytes(b"DEPTH = 1  # mine\n")
    _, recorder = play(study, setup, [], experiments=0)
    [note] = [note for note in recorder.notes if "drop it with" in note]
    monkeypatch.chdir(tmp_path)
    subprocess.run(note.partition("drop it with `")[2].partition("`")[0], shell=True, check=True, capture_output=True)
    assert (study.folder / "train.py").read_bytes() == before


@pytest.mark.slow
def test_a_study_at_work_is_told_before_the_machine_is_looked_at(fresh, typed, monkeypatch):
    study, _ = fresh
    monkeypatch.setattr("autoresearch.study.terms.ready", None)
    with lock.hold(study.lock):
        status, _, complaint = typed("run", "--workspace", str(study.folder), "--sandbox", "none", "--agent", "search", "--plain")
    assert status == 2 and "is at work in process" in complaint
