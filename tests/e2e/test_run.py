"""Whole studies: what is kept, rolled back, sent back and recorded, and what a user may do to a study in between."""

import os
import shutil
import subprocess
import sys

import pytest
import studies
from studies import BETTER, BROKEN, CRASH, NEVER_ASKS, OUT_OF_MEMORY, WORSE, check_in_line, git, play, state_of, text_of

from autoresearch import constants, paths
from autoresearch.errors import UsageError
from autoresearch.loop.edit import try_edit
from autoresearch.metric import VAL_BPB
from autoresearch.report import table
from autoresearch.study import terms, workspace


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
    assert not [note for note in recorder.notes if "progress.png" in note]
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

    recorder = studies.Recorder()

    def attempt(text, message="an edit"):
        path.write_text(text, encoding="utf-8")
        return try_edit(study, setup, message, recorder)[0]

    for text, reason in ((first, "does not differ"), (first + "# remark\n", "does not differ"), ("x = (", "does not parse")):
        with pytest.raises(UsageError, match=reason):
            attempt(text)
        assert text_of(study) == text
    better = constants.write(first, BETTER)
    assert attempt(better, "smaller\tmodel\n").verdict == "keep"
    assert not [note for note in recorder.notes if "progress.png" in note]
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

    assert table.row(Row, VAL_BPB) == "0123456\t1.000000\t1.5\tkeep\ta b c\n"


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
    assert call(tmp_path, "results")[0].splitlines()[1].split()[3] == "baseline"
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
