"""`autoresearch transfer` on the null backend: what holds at another size, what does not, and a kill in between."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace

import psutil
import pytest
import studies
import tomli_w
from studies import PROFILE, git, played, state_of, verdicts, without_pictures
from waiting import wait_for

from autoresearch import constants
from autoresearch.study import workspace

# On this landscape both gain more than 5 sigma.
STEPS = ({"DEPTH": 8, "ASPECT_RATIO": 64}, {"TOTAL_BATCH_SIZE": 2**18})
SEEDS = ("--seeds", "2", "--sandbox", "none", "--yes", "--plain")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def night(tmp_path_factory, corpus):
    """A study of two keeps."""
    folder = tmp_path_factory.mktemp("night") / "night"
    study, _ = played(folder, corpus, *STEPS)
    assert [one.verdict for one in state_of(study).experiments] == ["keep"] * 3
    return study


def profile(folder, **changes):
    """The other size: DEPTH 18, where the first has 16."""
    path = folder / "big.toml"
    table = tomllib.loads(PROFILE)
    table["train"] |= {"DEPTH": 18} | changes
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return str(path)


@pytest.fixture
def told(typed):
    def call(*words):
        with without_pictures():
            status, out, complaint = typed("transfer", *map(str, words), "--json")
        assert status == 0, out + complaint
        return json.loads(out)

    return call


@pytest.fixture(scope="module")
def done(night, tmp_path_factory):
    """The whole of it with the attribution, killed in the midst of the stack's second run and of a row."""
    folder = tmp_path_factory.mktemp("done")
    place = folder / "big"
    words = ["transfer", str(night.folder), "--profile", profile(folder), "--workspace", str(place), "--attribute", *SEEDS]
    for number, k in ((1, 2), (4, 1)):
        process = subprocess.Popen([sys.executable, "-m", "autoresearch", *words], stdout=subprocess.DEVNULL, env=dict(os.environ))

        def is_there(number=number, k=k):
            state = state_of(workspace.load(place)) if (place / "study.toml").is_file() else None
            return state and len(state.experiments) > number and len(state.experiments[number].runs) >= k

        try:
            wait_for(is_there, 240)
        finally:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
            process.wait()
    end = subprocess.run([sys.executable, "-m", "autoresearch", *words], capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stdout + end.stderr
    return workspace.load(place), words, end.stdout


def test_what_gains_at_both_sizes_holds_and_base_and_stack_alternate(night, done, tmp_path, told):
    found = told(night.folder, "--profile", profile(tmp_path), "--workspace", tmp_path / "to", *SEEDS)
    assert (found["verdict"], found["edits"], found["attribution"]) == ("holds", [1, 2], None)
    stack, state = found["stack"], state_of(workspace.load(tmp_path / "to"))
    for text in ("val", "test"):
        low, high = stack["interval_bpb"][text]
        assert 0 < low < stack["gain_bpb"][text] < high
    seeds = [(run.seed, one.number) for one in state.experiments for run in one.runs]
    assert [number for _, number in sorted(seeds)] == [0, 1, 0, 1] and state.best.number == 1
    assert sorted(state.experiments[0].tests) == sorted(state.best.tests) == [1, 2]
    text = git(tmp_path / "to", "show", f"{state.best.commit}:train.py")
    values = {name: constant.value for name, constant in constants.read(text).items()}
    assert [values[name] for name in ("DEPTH", "ASPECT_RATIO", "TOTAL_BATCH_SIZE")] == [9, 64, 2**18]
    killed = done[0]
    assert verdicts(killed)[:2] == verdicts(workspace.load(tmp_path / "to")) and state_of(killed).lost >= 1


def test_what_loses_at_the_other_size_does_not_hold_and_is_not_kept(night, tmp_path, told, typed):
    """A landscape on which a smaller batch is better."""
    words = ["--profile", profile(tmp_path, DEPTH=8, ASPECT_RATIO=64, LANDSCAPE=72), "--edits", "2", "--workspace", tmp_path / "to"]
    found = told(night.folder, *words, *SEEDS)
    assert (found["verdict"], found["stack"]["kept"], found["edits"]) == ("does not hold", False, [2])
    assert state_of(workspace.load(tmp_path / "to")).best.number == 0
    status, _, complaint = typed("transfer", str(tmp_path / "to"), "--apply")
    assert status == 2 and "nothing to apply: does not hold" in complaint


def test_the_attribution_says_which_edits_carry_it(done, told):
    study, words, shown = done
    found = told(*words[1:])
    attribution = found["attribution"]
    assert attribution["rows_done"] == attribution["rows"] == len(state_of(study).experiments) - 2 == 8
    assert [(edit["edits"], edit["share"]) for edit in attribution["edits"]] == [([k], "carries") for k in (1, 2)]
    gains = [edit["gain"] for edit in attribution["edits"]]
    assert sum(gains) == pytest.approx(found["stack"]["gain_bpb"]["val"], abs=0.01) and gains[0] > 0.1
    assert "which edits  by 8 rows" in shown and found["carriers"] is None  # both carry it: that is the stack
    assert "holds: it gains" in shown and found["verdict"] == "holds"  # nothing was left to be trained, and it says the same


def test_apply_begins_a_study_with_what_held(done, tmp_path, typed):
    study = done[0]
    status, out, complaint = typed("transfer", str(study.folder), "--apply", "--workspace", str(tmp_path / "new"), "--plain")
    assert status == 0 and "edits 1, 2 of t" in out, complaint
    made, best = workspace.load(tmp_path / "new"), state_of(study).best
    assert studies.text_of(made) == git(study.folder, "show", f"{best.commit}:train.py") + "\n"
    assert made.origin is None and made.decide == "confirmed" and made.profile.to_dict() == study.profile.to_dict()
    with without_pictures():
        status, out, complaint = typed(
            "run", "--workspace", str(made.folder), "--agent", "search", "--experiments", "0", "--sandbox", "none", "--plain"
        )
    assert status == 0 and state_of(made).best.number == 0, complaint


def test_a_transfer_is_no_night(done, typed):
    study = done[0]
    before, path = study.events.read_bytes(), study.folder / "train.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(constants.write(text, {"MATRIX_LR": 0.03}), encoding="utf-8")
    shown = ("--sandbox", "none", "--plain")
    for words in (
        ("run", "--agent", "search", "--experiments", "1", *shown), ("noise", *shown), ("try", "-m", "x", *shown),
        ("propose", str(path), "-m", "x"), ("tell", "x"),
    ):  # fmt: skip
        status, _, complaint = typed(*words, "--workspace", str(study.folder))
        assert status == 2 and "is a transfer" in complaint, complaint
    path.write_text(text, encoding="utf-8")
    status, _, complaint = typed("try", "-m", "x", "--workspace", str(study.folder), *shown)
    assert status == 2 and "is a transfer" in complaint, "also where nothing was edited"
    assert study.events.read_bytes() == before
    assert typed("status", "--workspace", str(study.folder))[0] == typed("results", "--workspace", str(study.folder))[0] == 0


def test_what_can_t_be_transferred_is_told_in_a_line(night, done, tmp_path, typed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study, big = done[0], profile(tmp_path)
    other = tmp_path / "a-study"
    shutil.copytree(night.folder, other, symlinks=True)
    for words, cure in (
        ((night.folder,), "--profile"),
        ((night.folder, "--profile", big), "type it again with --yes"),
        ((night.folder, "--profile", "h100", "--yes"), "not for the backend null"),
        ((night.folder, "--profile", big, "--edits", "7", "--yes"), "choose from 1, 2"),
        ((night.folder, "--profile", big, "--edits", "x", "--yes"), "3,7"),
        ((night.folder, "--profile", big, "--workspace", other, "--yes"), "no transfer"),
        ((night.folder, "--profile", big, "--workspace", study.folder, "--seeds", "5"), "has 2 and keeps it"),
        ((night.folder, "--profile", big, "--workspace", study.folder, "--train-seconds", "9"), "keeps it"),
        ((study.folder, "--profile", big), "--apply"),
        ((night.folder, "--apply"), "is no transfer"),
        ((study.folder, "--apply", "--seeds", "4"), "leave out --seeds"),
    ):
        status, _, complaint = typed("transfer", *map(str, words), "--sandbox", "none", "--plain")
        lines = [line for line in complaint.splitlines() if line.startswith("error: ")]
        assert status == 2 and len(lines) == 1 and cure in lines[0], (words, complaint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-study", "big.toml"]
    commit = state_of(night).experiments[2].commit
    (other / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    status, _, complaint = typed("transfer", str(other), "--profile", big, "--sandbox", "none", "--plain")
    assert status == 3 and "does not hold experiment 2" in complaint, complaint
    monkeypatch.setattr(sys, "stdin", None)
    status, _, complaint = typed("transfer", str(night.folder), "--profile", big, "--sandbox", "none", "--plain")
    assert status == 2 and "type it again with --yes" in complaint, "a closed input"


def test_a_transfer_goes_on_with_the_commits_that_it_began_with(night, done, typed, monkeypatch):
    """Else rows of the attribution were of other edits than the stack."""
    study, real = done[0], workspace.load
    changed = replace(study, origin=replace(study.origin, commits=("0" * 40, study.origin.commits[1])))
    monkeypatch.setattr(workspace, "load", lambda folder: changed if folder == study.folder else real(folder))
    status, _, complaint = typed(*done[1])
    assert status == 2 and "not those that the transfer began with" in complaint, complaint


def test_what_a_person_skips_is_not_known(night, tmp_path, told, typed):
    place = tmp_path / "to"
    words = ["transfer", str(night.folder), "--profile", profile(tmp_path), "--workspace", str(place), *SEEDS]
    process = subprocess.Popen(
        [sys.executable, "-m", "autoresearch", *words, "--train-seconds", "3"], stdout=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        wait_for(lambda: (place / "study.toml").is_file() and len(state_of(workspace.load(place)).experiments) == 2, 240)
        wait_for(lambda: bool(state_of(workspace.load(place)).experiments[1].runs), 240)
        assert typed("skip", "--workspace", str(place))[0] == 0
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
    found = told(*words[1:])
    assert found["verdict"] == "not known" and "another `--workspace`" in found["reason"] and not found["stack"]["kept"]
