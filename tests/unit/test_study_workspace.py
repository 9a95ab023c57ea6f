"""A study's terms, read back from study.toml."""

import os

import pytest

from autoresearch.errors import StoredStateError, UsageError
from autoresearch.study import workspace


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its format is None"),
        ("format = 1", "tag is missing"),
        ("format = 1\ntag = 3", "tag must be text"),
        ("format = 0", "its format is 0"),
        ("format =", "Invalid value"),
    ],
)
def test_what_is_damaged_says_how_to_get_it_back(tmp_path, text, words):
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    with pytest.raises(StoredStateError, match=f"is damaged: {words}.*`git -C .* checkout HEAD study.toml`"):
        workspace.load(tmp_path)


def test_a_newer_format_is_not_called_damage(tmp_path):
    (tmp_path / "study.toml").write_text("format = 2", encoding="utf-8")
    with pytest.raises(UsageError, match=r"of format 2, which a newer autoresearch has written.*install that one"):
        workspace.load(tmp_path)


def test_a_worktree_of_a_study_says_where_to_go(tmp_path):
    (tmp_path / "study.toml").write_text("format = 1", encoding="utf-8")
    (tmp_path / ".git").write_text("gitdir: /elsewhere/.git/worktrees/x", encoding="utf-8")
    with pytest.raises(UsageError, match=r"is a git worktree.*`--workspace DIR`"):
        workspace.load(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="making a link needs a right there")
@pytest.mark.parametrize("name", ["", "runs", "runs/0003-1", "runs/0001-1/curve.jsonl", "lock", "replays", "events.jsonl", "pipe"])
def test_a_link_in_what_is_the_studys_own_is_refused(tmp_path, name):
    """Else what is pruned, emptied or shown is somebody else's: of a copy or a clone, whoever made it decides where that is."""
    victim, study = tmp_path / "victim", tmp_path / "study"
    (victim / "docs").mkdir(parents=True)
    (victim / "docs" / "thesis.txt").write_text("years of work", encoding="utf-8")
    (study / ".autoresearch/runs/0001-1/work").mkdir(parents=True)
    (study / ".autoresearch/runs/0001-1/work/a-link").symlink_to(victim)  # what a cell has made there is nobody's business
    (study / "study.toml").write_text("format = 1", encoding="utf-8")
    workspace.check_own(study)
    place = study / ".autoresearch" / name
    if name == "pipe":
        os.mkfifo(place)
    else:
        if place.is_dir():
            place.rename(tmp_path / "aside")
        place.symlink_to(victim / "docs" / "thesis.txt" if place.suffix == ".jsonl" or name == "lock" else victim)
    for call in (workspace.load, workspace.check_own):
        with pytest.raises(StoredStateError, match=r"is a link or a device.*remove it"):
            call(study)
    (study / "study.toml").unlink()
    with pytest.raises((StoredStateError, UsageError)):
        workspace.check_free(study)


def test_where_no_study_is_the_one_in_it_is_named(tmp_path):
    (tmp_path / "demo-autoresearch").mkdir()
    (tmp_path / "demo-autoresearch" / "study.toml").write_text("format = 1", encoding="utf-8")
    with pytest.raises(UsageError, match=r"no study in .*--workspace .*demo-autoresearch"):
        workspace.load(tmp_path)


def test_no_study_is_made_inside_another(tmp_path):
    (tmp_path / "night" / ".autoresearch").mkdir(parents=True)
    (tmp_path / "night" / "study.toml").touch()
    with pytest.raises(UsageError, match=r"lies inside the study .*night; name a folder beside it: `--workspace DIR`"):
        workspace.check_free(tmp_path / "night" / "runs" / "second")
    workspace.check_free(tmp_path / "second")
