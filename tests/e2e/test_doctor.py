"""doctor, backends and profiles as a person calls them: child processes, exit status, one-line errors."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def call(tmp_path, *arguments, **environment):
    """(exit status, stdout, stderr) of `autoresearch ...`, with a cache of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "autoresearch.cli", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "AUTORESEARCH_CACHE_DIR": str(tmp_path / "cache"), "PYTHONUTF8": "1", **environment},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_doctor_tells_what_a_run_would_use_and_hides_who_asks(tmp_path):
    home = tmp_path / getpass.getuser()
    (home / "cache").mkdir(parents=True)
    private = {"HOME": str(home), "USERPROFILE": str(home), "AUTORESEARCH_CACHE_DIR": str(home / "cache")}
    status, text, _ = call(tmp_path, "doctor", "--corpus", "stdlib", **private)
    assert status == 0
    assert str(home) not in text
    assert os.path.join("~", "cache") in text
    assert "\nnow\n  power     " in text and "\n  heat      " in text and "\n  load      other processes take " in text
    assert "\n  sleep     held off while " in text or "\n  sleep     not held off: " in text
    for words in ("backends", "profile ", "`autoresearch run` would use", "corpus    stdlib", "dtype ", "compile "):
        assert words in text
    status, text, _ = call(tmp_path, "doctor", "--json", "--backend", "null", "--corpus", "stdlib", **private)
    report = json.loads(text)
    assert status == 0
    assert str(home) not in text
    assert report["chosen"]["backend"] == "null"
    assert 0 <= report["now"]["load"]["share"] <= 1 and report["now"]["cores"] >= 1
    assert report["chosen"]["profile"]["name"] == "null"
    assert {other["name"] for other in report["chosen"]["backend_others"]} == {one["name"] for one in report["backends"]} - {"null"}
    assert all(one["facts"]["ok"] or one["facts"]["reason"] for one in report["backends"])


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (("doctor", "--backend", "cpuu"), 2, "no backend 'cpuu'; did you mean cpu?"),
        (("profiles", "show", "rtx-24"), 2, "no profile 'rtx-24'; did you mean rtx-24gb?"),
        (("profiles", "show", "mine.toml"), 2, "no profile file mine.toml"),
    ],
)
def test_a_wrong_name_is_one_line(tmp_path, monkeypatch, typed, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    ended, _, complaint = typed(*arguments)
    assert (ended, complaint.count("\n")) == (status, 1)
    assert words in complaint


def test_profiles_are_listed_shown_and_checked(tmp_path, monkeypatch, typed):
    status, text, _ = call(tmp_path, "profiles")
    assert status == 0
    assert text.startswith("NAME") and "\nrtx-24gb " in text
    status, shown, _ = call(tmp_path, "profiles", "show", "cpu")
    assert status == 0 and shown.startswith("#")  # the file itself, with the sources
    monkeypatch.chdir(tmp_path)
    assert json.loads(typed("profiles", "show", "cpu", "--json")[1])["name"] == "cpu"
    (tmp_path / "good.toml").write_text(shown, encoding="utf-8")
    (tmp_path / "bad.toml").write_text("[train]\nDEPTH = 4\n", encoding="utf-8")
    status, text, _ = typed("profiles", "check", "good.toml", "bad.toml")
    assert status == 1
    good, bad = text.splitlines()
    assert good.startswith("good.toml: ok") and bad == "fault: bad.toml: the key 'title' is missing; it must be text"


def test_importing_hardware_and_its_commands_is_light():
    heavy = "('torch', 'numpy', 'rich', 'psutil', 'optuna')"
    modules = "doctor, profiles, backends"
    code = f"import sys; from autoresearch.commands import {modules}; from autoresearch.checks import checkup"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print([name for name in {heavy} if name in sys.modules])"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]", done.stderr
