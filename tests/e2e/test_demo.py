"""`autoresearch demo`: a whole study on the code of `run`; played on the null backend, and once really on a CPU."""

import email
import json
from pathlib import Path

import pytest

from autoresearch.commands import demo
from autoresearch.report.answers import state_of
from autoresearch.study import workspace

HERE = ("--workspace", "here", "--sandbox", "none", "--plain")


@pytest.fixture
def short(tmp_path, monkeypatch):
    """The shipped profile, with trainings and a text that take no time; in an empty folder."""
    text = str(Path(email.__file__).parent)  # a small part of the shipped one
    profile = demo.PROFILE.read_text(encoding="utf-8").replace("train_seconds = 10 ", "train_seconds = 0.2")
    assert "train_seconds = 0.2" in profile
    monkeypatch.setattr(demo, "PROFILE", tmp_path / "demo.toml")
    demo.PROFILE.write_text(profile.replace('corpus = "stdlib"', f"corpus = {text!r}"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_whole_study_then_what_it_found_and_the_way_to_the_night(short, typed):
    status, out, complaint = typed("demo", *HERE, "--backend", "null")
    assert status == 0, complaint
    before, _, after = out.partition("stopped: 4 experiments done")
    assert "4 edits to try; 2 to 3 minutes" in before and "the same command goes on" in before
    state = state_of(workspace.load(short / "here"))
    assert len(state.decided) == 5 and state.study.decide == "strict"
    counts = state.counts()
    assert f"of 4 edits {counts['keep']} kept, {counts['discard']} rolled back, {counts['crash']} crashed" in " ".join(
        after.split()
    )
    assert after.count("kept      ") == counts["keep"]
    assert "believe   " in after and "autoresearch report --open --workspace" in after
    assert after.rstrip().endswith("night     autoresearch run --profile auto --hours 8")
    assert (short / "here" / "progress.png").is_file()
    status, out, complaint = typed("demo", *HERE, "--json")  # typed again: four more
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and events[-1]["event"] == "end", complaint
    assert len(state_of(workspace.load(short / "here")).decided) == 9
    page = (short / "here" / "report.html").read_text(encoding="utf-8")
    assert '"autoresearch demo --seed 1337 --workspace NEW"' in page, "`run` knows no profile of that name"


@pytest.mark.slow
def test_a_demo_that_was_stopped_goes_on_to_its_end(short, typed, monkeypatch):
    monkeypatch.setattr(demo, "EXPERIMENTS", 1)  # as after a stop
    assert typed("demo", *HERE, "--backend", "null")[0] == 0
    monkeypatch.setattr(demo, "EXPERIMENTS", 3)
    status, out, _ = typed("demo", *HERE)
    assert status == 0 and "2 edits to try" in out
    assert len(state_of(workspace.load(short / "here")).decided) == 4


def test_another_study_is_not_taken_for_a_demo(short, typed):
    assert typed("init", "here", "--backend", "null", "--profile", "null", "--tag", "mine", "--plain")[0] == 0
    status, out, complaint = typed("demo", *HERE)
    assert (status, out) == (2, "")
    assert "is no demo but the study mine; name another folder, or go on with it: `autoresearch run --workspace" in complaint


@pytest.mark.thorough
def test_it_learns_on_a_cpu_and_keeps_something(tmp_path, typed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, complaint = typed("demo", "--backend", "cpu", "--plain")
    assert status == 0, out[-2000:] + complaint
    state = state_of(workspace.load(tmp_path / "demo-autoresearch"))
    assert len(state.decided) == 5 and state.counts()["keep"] >= 1
