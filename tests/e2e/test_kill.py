"""A study that is killed anywhere goes on, and ends as if it had not been: nothing lost, nothing counted twice.

A kill -9 leaves on the disk what was written until then. So the first test makes a `try`, copies its folder before every write and
half-way through every line of the ledger, and goes on with each copy (tests/crash does so for whole nights). The others kill a real
process with its work in full swing.
"""

import functools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import studies
from studies import BETTER, WORSE, check_in_line, git, play, state_of, verdicts

from autoresearch import constants, durable
from autoresearch.loop import edit
from autoresearch.run import experiment
from autoresearch.study import workspace
from autoresearch.study.store import Store

STEPS = [BETTER, WORSE]
WRITES = (
    (durable, "append"), (durable, "write"), (Store, "propose"), (Store, "name"), (Store, "_move_branch"),
    (Store, "_update_index"), (experiment, "execute"), (experiment, "evaluate"),
)  # fmt: skip


class Copies:
    """Copies of a folder at each of its writes."""

    def __init__(self, folder: Path, target: Path, patch: pytest.MonkeyPatch):
        self.folder, self.target, self.made = folder, target, []
        target.mkdir()
        for owner, name in WRITES:
            patch.setattr(owner, name, self._copying(getattr(owner, name), name))

    def _copying(self, real, name):
        @functools.wraps(real)
        def call(*arguments, **keywords):
            self.take(name)
            if name == "append" and arguments[0].is_relative_to(self.folder):
                copy = self.take("half a line")
                with open(copy / arguments[0].relative_to(self.folder), "ab") as file:
                    file.write(arguments[1][: len(arguments[1]) // 2])
            return real(*arguments, **keywords)

        return call

    def take(self, name: str) -> Path:
        copy = self.target / f"{len(self.made):03d}-{name.replace(' ', '-')}"
        shutil.copytree(self.folder, copy)
        self.made.append(copy)
        return copy


@pytest.mark.slow
@pytest.mark.thorough
def test_try_killed_at_any_write_ends_the_same(tmp_path, corpus):
    """Whoever typed `try` types it again, with the edit as it lies there then."""
    study, setup = studies.make(tmp_path / "study", corpus)
    play(study, setup, [], experiments=0)
    worse = constants.write((study.folder / "train.py").read_text(encoding="utf-8"), WORSE)
    (study.folder / "train.py").write_text(worse, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        copies = Copies(study.folder, tmp_path / "copies", patch)
        edit.try_edit(study, setup, "worse", studies.Recorder())

    def check(copy: Path) -> None:
        again = workspace.load(copy)
        if state_of(again).pending or len(state_of(again).experiments) == 1:
            tried, _ = edit.try_edit(again, setup, "worse", studies.Recorder())
            assert tried.verdict == "discard", copy.name
        else:
            play(again, setup, [], experiments=0)
        assert verdicts(again) == verdicts(study), copy.name
        check_in_line(again)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, copies.made))


@pytest.mark.slow
def test_a_killed_init_is_finished_or_begun_again(tmp_path, corpus):
    folder = tmp_path / "study"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        copies = Copies(folder, tmp_path / "copies", patch)
        study, _ = studies.make(folder, corpus)
    for number, copy in enumerate(copies.made):
        if not workspace.is_workspace(copy):
            studies.make(copy, corpus)
        again = workspace.load(copy)
        assert git(copy, "status", "--porcelain") == "", copy.name
        assert git(copy, "log", "--format=%s") == "Start of the study"
        assert again.to_toml().replace(again.created, "") == study.to_toml().replace(study.created, ""), number


def run_until(study, sign: str) -> None:
    """Start `run` in a process of its own and kill it, without warning, when its output has the sign."""
    command = [sys.executable, "-m", "autoresearch.cli", "run", "--workspace", str(study.folder), "--json", "--on-battery"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with child:
        for line in child.stdout:
            if sign in line:
                break
        family = psutil.Process(child.pid).children(recursive=True)
        child.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "a worker outlived the process that it worked for"


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["training", "scoring"])
def test_kill_9_in_the_middle_of_a_run(tmp_path, corpus, phase):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=1.0)
    run_until(study, f'"phase": "{phase}"')
    state = state_of(study)
    assert state.pending.number == 0 and state.pending.runs[0].result is None
    outcome, recorder = play(study, replace(setup, train_seconds=0.1), [BETTER])
    assert [event["event"] for event in recorder.events][:2] == ["lost", "begin"]
    state = state_of(study)
    assert [one.verdict for one in state.experiments] == ["keep", "keep"]
    assert [run.seed for one in state.experiments for run in one.runs] == [1337, 1338] and state.lost == 1
    check_in_line(study)
    assert outcome.exit_status == 0
