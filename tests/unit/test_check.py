"""`python -m tests.check`: what every change goes through, by hand, before a commit and in the workflows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checked(tmp_path):
    """Run the checks on a project of one file: (its file, what runs them)."""
    (tmp_path / "tests").mkdir()
    for name in ("tests/check.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.check", *words]
        ended = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return ended.returncode, ended.stdout

    return tmp_path / "new.py", run


def test_one_that_fails_hides_none_of_the_others_and_fix_mends(checked):
    file, run = checked
    file.write_text("import sys\nimport os\nprint( os, sys)\n", encoding="utf-8")
    status, said = run("lint", "format")
    assert status == 1 and "I001" in said and "new.py" in said.partition("== format")[2]
    assert said.splitlines()[-1] == "failed: lint, format; `python -m tests.check --fix` mends most of that"
    assert run("--fix", "lint", "format")[0] == 0
    assert file.read_text(encoding="utf-8") == "import os\nimport sys\n\nprint(os, sys)\n"
    status, said = run("lint", "format")
    assert status == 0 and said.splitlines()[-1] == "passed: lint, format"


def test_a_wrong_name_is_one_line_and_runs_nothing(checked):
    status, said = checked[1]("lint", "typos")
    assert status == 2 and "no check is called 'typos'; choose from lint, format" in said and "==" not in said
