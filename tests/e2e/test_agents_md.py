"""AGENTS.md in a new study, and a coding agent that does what it says, call by call, from outside the project."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import studies

from autoresearch import constants

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "autoresearch.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A study that the command line made on the null backend."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "text").mkdir()
    corpus, profile = studies.write_corpus(tmp_path / "text"), studies.write_profile(tmp_path)
    options = ("--backend", "null", "--profile", str(profile), "--corpus", str(corpus), "--decide", "strict", "--tag", "t")
    made = call("init", "study", *options, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "study"


def test_an_agent_that_does_what_it_says(folder):
    agents_md = (folder / "AGENTS.md").read_text(encoding="utf-8")
    assert studies.git(folder, "show", "HEAD:AGENTS.md") == agents_md.strip()
    for fact in ("| study | t,", "| null, test |", "| 0.1 s, and", "| 1 training |", "addition 1 training of", "/t` at the best"):
        assert fact in agents_md
    assert "$" not in agents_md

    def attempt(text: str, message: str) -> subprocess.CompletedProcess:
        (folder / "train.py").write_text(text, encoding="utf-8")
        return call("try", "--json", "-m", message, cwd=folder)

    assert json.loads(call("results", "--json", cwd=folder).stdout) == []
    refused = call("best", "--json", cwd=folder)
    assert refused.returncode == 2 and "no baseline yet" in json.loads(refused.stdout)["message"]
    first = (folder / "train.py").read_text(encoding="utf-8")
    better = constants.write(first, studies.BETTER)
    kept = attempt(better, "smaller")
    assert kept.returncode == 0 and json.loads(kept.stdout)["verdict"] == "keep", kept.stderr
    assert (folder / "train.py").read_text(encoding="utf-8") == better
    worse = constants.write(better, studies.WORSE)
    tried = attempt(worse, "deeper")
    answer = json.loads(tried.stdout)
    assert tried.returncode == 0 and answer["verdict"] == "discard" and "best" in answer["reason"]
    assert (folder / "train.py").read_text(encoding="utf-8") == better
    assert studies.git(folder, "show", f"{answer['ref']}:train.py") == worse.strip()
    again = attempt(worse, "deeper")
    assert again.returncode == 2 and "tried before, as experiment 2" in json.loads(again.stdout)["message"]
    crashed = attempt(studies.CRASH, "a broken idea")
    assert crashed.returncode == 1 and json.loads(crashed.stdout)["verdict"] == "crash"
    assert "RuntimeError: a broken idea" in json.loads(call("show", "3", "--json", cwd=folder).stdout)["log_tail"]

    known = json.loads(call("results", "--json", cwd=folder).stdout)
    assert [(one["description"], one["verdict"]) for one in known[1:]] == [
        ("smaller", "keep"), ("deeper", "discard"), ("a broken idea", "crash"),
    ]  # fmt: skip
    assert "-DEPTH = 8" in json.loads(call("show", "2", "--json", cwd=folder).stdout)["diff"]
    best = json.loads(call("best", "--json", cwd=folder).stdout)
    assert best["experiment"] == 1 and best["train_py"] == better
    status = json.loads(call("status", "--json", cwd=folder).stdout)
    assert status["counts"] == {"keep": 1, "discard": 1, "crash": 1} and status["process"] is None

    commands = set(re.findall(r"`autoresearch ([^`/][^`]*)`", agents_md))
    assert {"results --json", "show N --json", "best --json", "status --json", "train"} <= commands
    for one in commands - {"try", 'try --json -m "what it is and why, in one line"'}:
        ended = call(*one.replace(" N", " 1").split(), cwd=folder)
        assert ended.returncode == 0, f"autoresearch {one}: {ended.stderr}"


BENT = [
    ("study.toml", "train_seconds = 0.1", "train_seconds = 9", 2, "was changed by hand"),
    (".autoresearch/events.jsonl", "smaller", "bigger!", 3, "is damaged"),
]


def test_it_cannot_bend_the_terms_or_the_ledger(folder):
    first = (folder / "train.py").read_text(encoding="utf-8")
    (folder / "train.py").write_text(constants.write(first, studies.BETTER), encoding="utf-8")
    assert call("try", "-m", "smaller", cwd=folder).returncode == 0
    (folder / "train.py").write_text(constants.write(first, studies.WORSE), encoding="utf-8")
    for name, old, new, status, said in BENT:
        kept = (folder / name).read_text(encoding="utf-8")
        assert old in kept
        (folder / name).write_text(kept.replace(old, new, 1), encoding="utf-8", newline="")
        refused = call("try", "-m", "another", cwd=folder)
        assert refused.returncode == status and said in refused.stderr
        (folder / name).write_text(kept, encoding="utf-8", newline="")
    assert len(json.loads(call("results", "--json", cwd=folder).stdout)) == 2
