"""A night in small that a coding agent drives: a real program, which makes a slip first and mends it when it is shown the error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import studies

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
AGENT = r"""
import os, re, sys
assert "val_bpb" in open(sys.argv[1]).read()
text = open("train.py").read()
if not os.path.exists("rejected.py"):
    text += "x = (\n"
else:
    assert "was never closed" in open("TASK.md").read() or "tried before" in open("TASK.md").read()
    tried = len(re.findall(r"^\| \d+ \|", open("history.md").read(), re.M))
    text += f"IDEA = {tried}  # [fixed]\n"  # away from the lines that the search changes meanwhile
    open("description.txt", "w").write("an idea\n")
open("train.py", "w").write(text)
"""


def test_it_is_shown_its_slip_and_its_edit_becomes_an_experiment(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SOME_API_KEY", "value-of-the-key")
    for name in ("text", "bin"):
        (tmp_path / name).mkdir()
    study, _ = studies.make(tmp_path / "study", studies.write_corpus(tmp_path / "text"))
    program = tmp_path / "bin" / "agent.py"
    program.write_text(AGENT, encoding="utf-8")
    command = f'"{sys.executable}" "{program}" {{task_file}}'
    options = ("--agent", "command", "--command", command, "--mix", "1", "--experiments", "8", "--json", "--on-battery")
    ended = subprocess.run(
        [sys.executable, "-m", "autoresearch.cli", "run", "--workspace", str(study.folder), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    slips = [one for one in events if one["event"] == "rejected" and one["agent"] == "command"]
    assert any("was never closed" in one["reason"] for one in slips)
    mine = [one for one in studies.state_of(study).experiments if one.agent == "command"]
    assert mine and all(one.description == "an idea" and one.verdict for one in mine)
    assert not list((study.state_folder / "command").glob("scratch-*"))
    studies.check_in_line(study)
