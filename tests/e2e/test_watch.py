"""`run`'s panel and `watch` in a real terminal: tmux's, whose screens are read back."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import studies
from studies import BETTER, PROFILE, WORSE
from waiting import wait_for

from autoresearch.study import lock, workspace
from autoresearch.study.interrupts import SAID_ONCE

pytestmark = pytest.mark.slow
TMUX = shutil.which("tmux")
PROGRAM = f"{shlex.quote(sys.executable)} -m autoresearch"


class Terminals:
    """Shells in tmux, each of a size of its own, under a server of its own."""

    def __init__(self, folder):
        self._socket = folder / "tmux"
        (folder / "conf").write_text("set -g status off\nset -g default-terminal tmux-256color\n", encoding="utf-8")
        self._start = ("-f", str(folder / "conf"))

    def tmux(self, *words: str) -> str:
        command = [TMUX, "-u", "-S", str(self._socket), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8", timeout=60).stdout

    def open(self, name: str, columns: int, rows: int) -> None:
        size = ("-x", str(columns), "-y", str(rows))
        self.tmux(*self._start, "new-session", "-d", "-s", name, *size, "env PS1='$ ' ENV= LC_ALL=C.UTF-8 sh")

    def type(self, name: str, *keys: str) -> None:
        self.tmux("send-keys", "-t", name, *keys)

    def resize(self, name: str, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-t", name, "-x", str(columns), "-y", str(rows))

    def screen(self, name: str, *options: str) -> list[str]:
        return self.tmux("capture-pane", "-p", "-t", name, *options).splitlines()

    def wait(self, name: str, *words: str, columns: int = 0) -> list[str]:
        """The screen, once it holds all the words in one whole panel; columns: of it."""

        def seen() -> list[str] | None:
            lines = self.screen(name)
            is_there = all(word in " ".join(line.strip("│ ") for line in lines) for word in words)
            return lines if is_there and (not columns or is_whole(lines, columns)) else None

        try:
            return wait_for(seen, 120)
        except TimeoutError:
            raise AssertionError("\n".join(["", *self.screen(name)])) from None


def is_whole(lines: list[str], columns: int) -> bool:
    """Whether there is one panel, as wide as that, with nothing folded, smeared or left over in it."""
    text = "\n".join(lines)
    tops, ends = [line for line in lines if "╭" in line], [at for at, line in enumerate(lines) if "╰" in line]
    if len(tops) != 1 or len(ends) != 1:
        return False
    panel = lines[lines.index(tops[0]) : ends[0] + 1]
    return text.count("autoresearch t ") == 1 and all(
        len(line) == columns and line[0] + line[-1] in ("╭╮", "││", "╰╯") for line in panel
    )


@pytest.fixture
def terminals(tmp_path):
    opened = Terminals(tmp_path)
    yield opened
    subprocess.run([TMUX, "-S", str(tmp_path / "tmux"), "kill-server"], check=False, capture_output=True)


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_a_run_and_who_watches_it(tmp_path, corpus, terminals):
    profile, folder = tmp_path / "slow.toml", tmp_path / "study"
    slow = PROFILE.replace("train_seconds = 0.1", "train_seconds = 600") + "STEP_SECONDS = 0.2\n"
    profile.write_text(slow, encoding="utf-8")
    run = (
        f"clear; {PROGRAM} run --backend null --profile {profile} --corpus {corpus} --decide strict --tag t --agent search"
        f" --sandbox none --on-battery --workspace {folder}; echo ended $?"
    )
    baseline = ("the baseline, run 1 of 1 (seed 1337)", "training ", "loss ")
    terminals.open("run", 80, 24)
    terminals.open("watch", 60, 24)
    terminals.type("run", run, "Enter")
    terminals.wait("run", *baseline, "Ctrl-C stops after this run", columns=80)
    terminals.type("watch", f"clear; {PROGRAM} watch --workspace {folder}; echo left $?", "Enter")
    terminals.wait("watch", *baseline, "Ctrl-C leaves, the study goes on", columns=60)
    for columns, rows in ((60, 24), (120, 40)):
        terminals.resize("run", columns, rows)
        terminals.wait("run", *baseline, columns=columns)
    study = workspace.load(folder)
    os.kill(lock.writer(study.lock), signal.SIGKILL)
    terminals.wait("watch", "no run is at work, the last one was cut short", columns=60)
    terminals.wait("run", "ended 137")
    terminals.type("run", run, "Enter")
    terminals.wait("watch", *baseline, columns=60)
    terminals.resize("watch", 80, 24)
    terminals.resize("run", 60, 24)
    terminals.wait("watch", *baseline, columns=80)
    terminals.wait("run", *baseline, columns=60)
    terminals.type("run", "C-c")
    terminals.wait("run", SAID_ONCE, columns=60)
    terminals.type("run", "C-c")
    terminals.wait("run", "ended 130")
    terminals.wait("watch", "no run is at work, the last one ended: Ctrl-C", columns=80)
    terminals.type("watch", "C-c")
    terminals.wait("watch", "left 130")
    assert lock.writer(study.lock) is None


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_several_workers_have_a_line_each(tmp_path, corpus, terminals):
    profile, folder = tmp_path / "slow.toml", tmp_path / "study"
    slow = PROFILE.replace("train_seconds = 0.1", "train_seconds = 600") + "STEP_SECONDS = 0.2\n"
    profile.write_text(slow, encoding="utf-8")
    run = (
        f"clear; {PROGRAM} run --backend null --profile {profile} --corpus {corpus} --workers 3 --tag t --agent search"
        f" --sandbox none --on-battery --workspace {folder}; echo ended $?"
    )
    lines = ("3 workers: 3 train", *(f"{n}  baseline run {n}  " for n in (1, 2, 3)), "training ", "3 runs make the baseline")
    terminals.open("run", 80, 24)
    terminals.open("watch", 60, 24)
    terminals.type("run", run, "Enter")
    terminals.wait("run", *lines, "loss ", "Ctrl-C stops after the runs under way", columns=80)
    terminals.type("watch", f"clear; {PROGRAM} watch --workspace {folder}; echo left $?", "Enter")
    terminals.wait("watch", *lines, "Ctrl-C leaves, the study goes on", columns=60)
    terminals.resize("run", 60, 24)
    terminals.wait("run", *lines, columns=60)
    terminals.resize("run", 120, 40)
    terminals.wait("run", *lines, "tok/s", columns=120)
    terminals.type("run", "C-c")
    terminals.wait("run", "Ctrl-C: ", columns=120)
    terminals.type("run", "C-c")
    terminals.wait("run", "ended 130")
    terminals.wait("watch", "no run is at work, the last one ended: Ctrl-C", columns=60)
    assert "workers:" not in " ".join(terminals.screen("watch"))


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_one_screen_with_and_without_colours(tmp_path, corpus, terminals):
    study, _ = studies.played(tmp_path / "study", corpus, BETTER, WORSE)
    terminals.open("shell", 80, 24)
    for words, has_colours in (("TERM=tmux-256color", True), ("NO_COLOR=1", False), ("TERM=dumb", False)):
        terminals.type("shell", f"clear; {words} {PROGRAM} watch --once --workspace {study.folder}; echo left $?", "Enter")
        lines = terminals.wait("shell", "left 0", "no run is at work, the last one ended: ", columns=80)
        assert ("[38;5;" in "".join(terminals.screen("shell", "-e"))) == has_colours
        assert any(line.startswith("│ val_bpb 0 ") for line in lines), "the chart"
        assert [line.split()[1:3] for line in lines if line.startswith("│     ")][-2:] == [["1", "keep"], ["2", "discard"]]


def test_programs_get_the_ledger_and_each_event_as_it_comes(tmp_path, corpus, typed):
    study, setup = studies.played(tmp_path / "study", corpus, BETTER)
    status, out, _ = typed("watch", "--json", "--once", "--workspace", str(study.folder))
    told = [json.loads(line) for line in out.splitlines()]
    kept = [json.loads(line) for line in study.events.read_text(encoding="utf-8").splitlines()]
    assert status == 0 and [line | {"check": kept[at]["check"]} for at, line in enumerate(told)] == kept
    command = [sys.executable, "-m", "autoresearch", "watch", "--json", "--workspace", str(study.folder)]
    lines: list[dict] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, watching.stdout)))
        reader.start()
        wait_for(lambda: len(lines) > len(told))
        studies.play(study, setup, [BETTER, WORSE], experiments=1)
        wait_for(lambda: any(line["event"] == "verdict" and line["n"] == 2 for line in lines))
        watching.send_signal(signal.SIGINT)
        reader.join()
    assert watching.returncode == 130 and any(line["event"] == "away" for line in lines)
