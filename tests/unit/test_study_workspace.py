"""A study's terms, read back from study.toml."""

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
