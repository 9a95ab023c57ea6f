"""`run --notify`: what a command of the user's is told of a night, and that it can't disturb one."""

import json
import sys
from pathlib import Path

import psutil
import pytest
from studies import BETTER, BROKEN, WORSE, Recorder, make, run, without_pictures

from autoresearch.paths import typed as quoted
from autoresearch.report import notify
from autoresearch.report.notify import Notifier

TELLS = """
import json, os, sys
news = json.load(sys.stdin) | {"variable": os.environ["AUTORESEARCH_MESSAGE"], "home": os.environ.get("MY_TOKEN")}
with open(sys.argv[1], "a") as file: file.write(json.dumps(news) + "\\n")
"""
HANGS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "a") as file: file.write(f"{child.pid}\\n")
time.sleep(600)
"""


@pytest.fixture
def told(tmp_path):
    """told(script) -> (command, what it wrote so far, by line)."""

    def command(script: str):
        path = tmp_path / "told.txt"
        path.touch()
        return [sys.executable, "-c", script, str(path)], lambda: path.read_text().splitlines()

    return command


def is_alive(pid: str) -> bool:
    return psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE


def notifier(command, shown=None, past=()):
    return Notifier(command, shown or Recorder(), "t", "/w", past)


def test_a_night_tells_its_start_its_keep_and_its_end(fresh, told, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "the user's own")
    command, lines = told(TELLS)
    recorder = Recorder()
    with without_pictures(), Notifier(command, recorder, "t", str(fresh[0].folder), []) as listener:
        ending = run(*fresh, [BETTER, WORSE], listener, 2)
        listener.ended(ending.reason, ending.exit_status)
    start, keep, stop = map(json.loads, lines())
    assert (start["event"], keep["event"], stop["event"]) == ("start", "keep", "stop")
    assert (
        keep["experiment"] == keep["best_experiment"] == 1 and keep["gain_bpb"] > 0.05 and keep["val_bpb"] == keep["best_val_bpb"]
    )
    assert keep["message"] == keep["variable"] and "DEPTH = 8" in keep["message"] and keep["workspace"] == str(fresh[0].folder)
    assert stop["reason"] == ending.reason == "2 experiments done" and keep["home"] == "the user's own"
    assert [event["event"] for event in recorder.events].count("verdict") == 3 and not recorder.notes


def test_a_baseline_that_fails_is_one_failure(fresh, told):
    study, setup = fresh
    (study.folder / "train.py").write_text(BROKEN, encoding="utf-8")
    command, lines = told(TELLS)
    with without_pictures(), notifier(command) as listener:
        ending = run(study, setup, [], listener, 1)
        listener.ended(ending.reason, ending.exit_status)
    assert [json.loads(line)["event"] for line in lines()] == ["start", "failure"]
    assert "the baseline failed" in json.loads(lines()[1])["message"]


def test_a_command_that_hangs_delays_nothing_and_is_ended_with_its_children(told, monkeypatch):
    monkeypatch.setattr(notify, "LIMIT_SECONDS", 2.0)
    monkeypatch.setattr(notify, "LAST_SECONDS", 30.0)
    command, lines = told(HANGS)
    recorder = Recorder()
    with notifier(command, recorder) as listener:
        listener.event({"event": "note", "reason": "work goes on"})
        assert recorder.notes == ["work goes on"]
        listener.ended("done", 0)
    assert not any(map(is_alive, lines()))
    assert len(recorder.notes) == 2 and "took more than 2 s" in recorder.notes[1] and "said once" in recorder.notes[1]


def test_what_is_still_under_way_at_the_end_is_ended(told, monkeypatch):
    monkeypatch.setattr(notify, "LAST_SECONDS", 2.0)
    command, lines = told(HANGS)
    with notifier(command) as listener:
        listener.ended("done", 0)
    listener._thread.join(20)  # and the next piece of news begins no further call
    assert not listener._thread.is_alive() and not any(map(is_alive, lines()))


def test_failures_are_told_once_for_an_agent_until_it_answers_and_when_the_run_breaks(told):
    command, lines = told(TELLS)
    unavailable = {"event": "note", "reason": "claude can't propose now: \x1b[31m529", "unavailable": "claude"}

    def night():
        with notifier(command) as listener:
            for event in (unavailable, unavailable, {"event": "asked", "outcome": "answered", "agent": "claude"}, unavailable):
                listener.event(event)
            listener.event({"event": "pause", "reason": "the disk is full"})
            raise OSError("the disk broke")

    with pytest.raises(OSError, match="the disk broke"):
        night()
    words = [(news["event"], news["message"]) for news in map(json.loads, lines())]
    assert [word for word, _ in words] == ["start", *["failure"] * 4]
    assert words[1] == words[2] == ("failure", "claude can't propose now: [31m529")
    assert "the disk is full" in words[3][1] and "the disk broke" in words[4][1]


def test_a_command_that_fails_is_a_note_once_and_a_terminal_that_went_away_takes_no_news_with_it(told, tmp_path):
    class Gone(Recorder):
        def event(self, event):
            raise BrokenPipeError

    command, lines = told(TELLS)
    with notifier(command, Gone()) as listener:
        listener.event({"event": "note", "reason": "x"})
        listener.ended("done", 0)
    assert [json.loads(line)["event"] for line in lines()] == ["start", "stop"]
    recorder = Recorder()
    with notifier([sys.executable, "-c", "raise SystemExit('no such topic')"], recorder) as listener:
        listener.ended("done", 0)
    assert len(recorder.notes) == 1 and "status 1: no such topic" in recorder.notes[0]
    with notifier([str(Path(tmp_path, "gone"))], recorder) as listener:
        listener.ended("done", 0)
    assert "could not be run" in recorder.notes[1]


def test_the_loop_says_which_agent_is_unavailable(tmp_path, corpus, told):
    """A slow agent whose money is spent, in a real night beside the search's stand-in."""
    from scripted import Scripted

    from autoresearch.agents.base import Exhausted
    from autoresearch.agents.mix import Agents
    from autoresearch.loop.loop import Until, run_study

    class Spent(Scripted):
        name, thinks = "claude", True

        def propose(self, view):
            raise Exhausted("the 5.00 USD of --max-cost are spent")

    study, setup = make(tmp_path / "study", corpus)
    command, lines = told(TELLS)
    with without_pictures(), notifier(command) as listener:
        run_study(study, setup, Agents(Scripted([WORSE]), Spent([]), 0.5), Until(1), listener)
    assert ["failure", True] in [[news["event"], "5.00 USD" in news["message"]] for news in map(json.loads, lines())]


def test_a_program_that_is_not_there_is_said_before_the_night(tmp_path, typed):
    status, _, complaint = typed("run", "--workspace", str(tmp_path / "s"), "--notify", "no-such-program -x")
    assert status == 2 and "no program 'no-such-program'" in complaint and not (tmp_path / "s").exists()


def test_the_line_that_goes_on_has_the_option_in_it():
    from autoresearch.commands.run import agent_words, command

    context = command.make_context("run", ["--notify", "sh -c 'x'", "--plain"])
    assert agent_words(context) == " --notify " + quoted("sh -c 'x'")
