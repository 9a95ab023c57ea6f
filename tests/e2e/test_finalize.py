"""`autoresearch finalize`: real git puts the patches onto a fresh clone, and the best's train.py comes out, byte for byte."""

import email
import json
import os
import shutil
from email.header import decode_header, make_header
from pathlib import Path

import pygit2
import pytest
from scripted import Scripted
from studies import WORSE, Recorder, git, make, run, state_of, without_pictures

from autoresearch.agents.mix import Agents
from autoresearch.loop.loop import Until, run_study
from autoresearch.study import finalize

WORDS = (
    "[PATCH 9/9] Re: \x1b[31mfixes #1, cc @somebody | `x` <b> ../../etc/passwd",
    "-- \n---\ndiff --git a/x b/x\nFrom 0 Mon Sep",
    "漢字 " * 60,
)
ODD = '"""\n-- \n---\n--- a/train.py\nFrom a Mon Sep 17\n+++ b\n"""\n'  # what would end a mail or a patch, stood it free


class Hostile(Scripted):
    """Says WORDS of its steps, which are constants and a text to stand at the end."""

    def propose(self, view):
        proposal = super().propose(view)
        k = sum(past.status != "baseline" for past in view.history)
        return type(proposal)(proposal.train_py.rstrip("\n") + ENDS[k], WORDS[k], proposal.reasoning)


ENDS = ("\n" + ODD, "\n# a carriage return\r\n" + "X = 1", "\n")


@pytest.fixture(scope="module")
def night(tmp_path_factory, corpus):
    study, setup = make(tmp_path_factory.mktemp("finalize") / "study", corpus)
    steps = [{"ASPECT_RATIO": 64}, {"DEPTH": 8}, WORSE]
    with without_pictures():
        run_study(study, setup, Agents(Hostile(steps)), Until(3), Recorder())
    assert [one.verdict for one in state_of(study).experiments] == ["keep", "keep", "keep", "discard"]
    return study


@pytest.fixture
def clone(night, tmp_path):
    """A fresh clone that stands at the baseline."""
    git(tmp_path, "clone", "-q", str(night.folder), "clone")
    git(tmp_path / "clone", "checkout", "-q", state_of(night).experiments[0].commit)
    return tmp_path / "clone"


def best_text(study) -> bytes:
    return (study.folder / "train.py").read_bytes()


def where_it_stands(study) -> tuple:
    refs = git(study.folder, "for-each-ref", "--format=%(refname) %(objectname)")
    return [ref for ref in refs.splitlines() if "final" not in ref], git(study.folder, "status", "--porcelain"), best_text(study)


def test_the_series_and_the_squashed_patch_give_the_best_byte_for_byte(night, clone, tmp_path, typed):
    before = where_it_stands(night)
    assert b"\r" in before[2]  # what `git am` takes off a line's end
    status, out, complaint = typed("finalize", "--workspace", str(night.folder), "--output", str(tmp_path / "out"))
    assert status == 0, complaint
    names = sorted(path.name for path in (tmp_path / "out" / "series").iterdir())
    assert len(names) == 2 and all(name.isascii() and "/" not in name and len(name) < 90 for name in names)
    git(clone, "am", *[str(tmp_path / "out" / "series" / name) for name in names])
    assert (clone / "train.py").read_bytes() == best_text(night)
    subjects = git(clone, "log", "-2", "--format=%s").splitlines()
    assert subjects[1].startswith("Experiment 1: [PATCH 9/9] Re: [31mfixes # 1, cc @ somebody")
    assert all("val_bpb" in git(clone, "log", "-1", "--format=%b", f"HEAD~{k}") for k in (0, 1))
    git(clone, "checkout", "-q", "HEAD~2")
    git(clone, "am", str(tmp_path / "out" / "squashed.patch"))
    assert (clone / "train.py").read_bytes() == best_text(night) and git(clone, "status", "--porcelain") == ""
    assert where_it_stands(night) == before and "\x1b" not in out
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    row = next(line for line in summary.splitlines() if line.startswith("| 1 |"))
    assert row.count("`") == 4 and row.replace("\\|", "").count("|") == 7 and "\x1b" not in summary
    again = typed("finalize", "--workspace", str(night.folder), "--output", str(tmp_path / "out"))
    assert again[0] == 2 and "name a new or an empty folder" in again[2]


def test_the_branch_is_clean_is_made_again_alike_and_only_ours_is_moved(night, typed):
    call, before = ("finalize", "--workspace", str(night.folder)), where_it_stands(night)
    facts = json.loads(typed(*call, "--json")[1])
    assert json.loads(typed(*call, "--json")[1])["tip"] == facts["tip"] == git(night.folder, "rev-parse", "final/t")
    assert git(night.folder, "rev-list", "--count", f"{state_of(night).experiments[0].commit}..final/t") == "2"
    assert (git(night.folder, "show", "final/t:train.py") + os.linesep).encode().split() == best_text(night).split()
    assert git(night.folder, "rev-parse", "final/t:train.py") == git(night.folder, "rev-parse", "HEAD:train.py")
    assert git(night.folder, "diff", "--name-only", f"{state_of(night).experiments[0].commit}", "final/t") == "train.py"
    git(night.folder, "branch", "mine", "final/t")
    git(night.folder, "update-ref", "refs/heads/final/t", "final/t~1")
    for name in ("mine", "final/t", "autoresearch/t", "final", "a..b", "-x"):
        status, _, complaint = typed(*call, "--branch", name)
        assert status == 2 and ("--branch NAME" in complaint or "can't name a branch" in complaint), name
    assert where_it_stands(night)[0] == sorted([*before[0], next(ref for ref in where_it_stands(night)[0] if "heads/mine" in ref)])


def test_without_a_keep_there_is_nothing_to_finalize(tmp_path, corpus, typed):
    study, setup = make(tmp_path / "study", corpus)
    with without_pictures():
        run(study, setup, [], Recorder(), 0)
    status, _, complaint = typed("finalize", "--workspace", str(study.folder), "--output", str(tmp_path / "out"))
    assert status == 2 and "kept no edit yet" in complaint and not Path(tmp_path / "out").exists()


def test_a_study_whose_git_is_gone_is_told_in_a_line(night, tmp_path, typed):
    shutil.copytree(night.folder, tmp_path / "study", ignore=shutil.ignore_patterns(".git"))
    status, _, complaint = typed("finalize", "--workspace", str(tmp_path / "study"))
    assert status == 3 and "bring .git back from a copy" in complaint and complaint.count("\n") == 1


def test_words_that_git_am_would_decode_arrive_as_they_are(night, tmp_path):
    repo = pygit2.Repository(str(night.folder))
    tip = repo.get(state_of(night).best.commit)
    told = "tidy =?utf-8?q?=40octocat_fixes_=2312?="
    commit = repo.get(repo.create_commit(None, tip.author, tip.author, told, tip.tree_id, [tip.parents[0].id]))
    subject = email.message_from_bytes(finalize._mail(commit, b"", "[PATCH]"))["Subject"]
    assert str(make_header(decode_header(subject))) == f"[PATCH] {told}"
