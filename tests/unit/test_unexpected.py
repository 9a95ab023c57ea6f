"""An error that nobody foresaw: a line for the user, a traceback in a file for us."""

import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch import unexpected
from autoresearch.report import answers


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_kept(tmp_path, typed, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path))

    def broken(study):
        raise KeyError("a bug \x1b[31m")

    monkeypatch.setattr("autoresearch.study.workspace.find", lambda folder: None)
    monkeypatch.setattr(answers, "status", broken)
    status, out, complaint = typed("status")
    assert status == 1 and out == "" and complaint.count("\n") == 1 and "\x1b" not in complaint
    [kept] = (tmp_path / "errors").iterdir()
    assert complaint.startswith("error: KeyError: ") and complaint.rstrip().endswith(f"please report it with {kept}")
    assert "in broken" in kept.read_text(encoding="utf-8")


def test_whoever_looks_for_it_gets_the_traceback(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_DEBUG", "1")
    with pytest.raises(ValueError, match="why"):
        unexpected.told(ValueError("why"))


def test_what_comes_from_outside_has_a_cure(tmp_path, monkeypatch):
    import pygit2

    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path))
    try:
        pygit2.Repository(tmp_path / "none")
    except pygit2.GitError as error:
        assert "~/.gitconfig" in unexpected.told(error)
    assert "nested too deeply" in unexpected.told(RecursionError("maximum recursion depth exceeded"))
    assert not (tmp_path / "errors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the stream")
@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_closed_stream_is_no_error(tmp_path, stream):
    command = f'"$0" -m autoresearch.cli status --workspace "$1" {stream}>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
