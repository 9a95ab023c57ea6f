"""A person's say while a run goes on: real processes on both sides, killed in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import msgspec
import pytest
import studies
from studies import BETTER, WORSE, play, state_of

from autoresearch import constants, durable
from autoresearch.loop.steering import Steering
from autoresearch.propose.views import Views
from autoresearch.study import inbox, lock, terms, workspace
from autoresearch.study.inbox import Request
from autoresearch.study.session import opened
from autoresearch.study.store import Store

pytestmark = pytest.mark.slow


class Night:
    """A `run` in a process of its own, and what it has said so far."""

    def __init__(self, study, *more: str):
        command = [sys.executable, "-m", "autoresearch.cli", "run", "--workspace", str(study.folder), "--json", "--on-battery"]
        self.process = subprocess.Popen([*command, "--agent", "search", *more], stdout=subprocess.PIPE, text=True)
        self.events, self._more = [], threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Night":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def wait(self, event: str, **fields) -> dict:
        """The first of that kind, with these values, that was not waited for before."""

        def found() -> dict | None:
            return next((one for one in self.events if one["event"] == event and fields.items() <= one.items()), None)

        with self._more:
            assert self._more.wait_for(found, timeout=60), self.events
            one = found()
            del self.events[: self.events.index(one) + 1]
            return one

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                self.events.append(json.loads(line))
                self._more.notify_all()


def edited(study, changes: dict) -> str:
    return constants.write(studies.text_of(study), changes)


def test_a_run_is_told_paused_resumed_skipped_and_given_a_train_py(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=3)
    play(study, replace(setup, train_seconds=0.1), [], experiments=0)
    here = ("--workspace", str(study.folder))

    def ask(*words: str) -> None:
        status, said, complaint = typed(*words, *here)
        assert (status, complaint) == (0, "") and said.startswith("asked process "), (words, said, complaint)

    path = tmp_path / "mine.py"
    path.write_text(edited(study, BETTER), encoding="utf-8")
    with Night(study) as night:
        night.wait("begin", n=1)
        ask("skip")
        ended = night.wait("verdict", n=1)
        assert (ended["verdict"], ended["state"], ended["val_bpb"]) == ("discard", "skip", None)
        night.wait("begin", n=2)
        ask("tell", "try fewer layers")
        ask("pause")
        night.wait("told", text="try fewer layers")
        night.wait("verdict", n=2)  # which trains to its end
        night.wait("note", reason="paused, as `autoresearch pause` asked; `autoresearch resume` goes on")
        ask("propose", str(path), "-m", "mine")
        night.wait("handed", description="mine")
        status = json.loads(typed("status", "--json", *here)[1])
        assert (status["paused"], status["told"], status["handed"]) == (True, ["try fewer layers"], ["mine"])
        shown = typed("status", *here)[1]
        assert "paused, `autoresearch resume` goes on" in shown and "to try next: mine" in shown
        assert "no experiment trains now" in typed("skip", *here)[2]
        assert night.events == [], "nothing begins in a pause"
        ask("resume")
        assert (night.wait("start")["description"], night.wait("verdict", n=3)["verdict"]) == ("mine", "keep")
        ask("pause")
        night.wait("note", reason="paused, as `autoresearch pause` asked; `autoresearch resume` goes on")
        night.process.send_signal(signal.SIGINT)
        assert night.process.wait(60) == 130
    state = state_of(study)
    assert (state.experiments[1].agent, state.experiments[1].state) == ("search", "skip")
    assert state.experiments[3].agent == "person" and state.handed == [] and state.paused and len(state.requests) == 6
    assert list(study.inbox.iterdir()) == []
    assert "- try fewer layers\n" in Views(study, Store(study.folder, study.tag)).view(state).program_md
    studies.check_in_line(study)


def test_a_run_that_is_killed_beside_a_request_takes_it_once(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=3)
    play(study, replace(setup, train_seconds=0.1), [], experiments=0)
    here = ("--workspace", str(study.folder))
    with Night(study) as night:
        night.wait("begin", n=1)
        typed("tell", "one", *here)
        typed("skip", *here)
        night.wait("told")
        night.process.kill()
    assert "the next `autoresearch run` shows it" in typed("tell", "two", *here)[1]
    assert "begins paused" in typed("pause", *here)[1]
    assert "tell, pause" in typed("status", *here)[1]
    with Night(study) as night:
        night.wait("pause")
        night.wait("note", reason="paused, as `autoresearch pause` asked; `autoresearch resume` goes on")
        night.process.kill()
    typed("resume", *here)
    with Night(study, "--experiments", "1") as night:
        assert night.process.wait(60) == 0
    state = state_of(study)
    assert state.told == ["one", "two"] and state.experiments[1].state == "skip" and not state.paused
    assert list(study.inbox.iterdir()) == []
    studies.check_in_line(study)


def copies_of(folder, target, work) -> list:
    """Copies of the folder before each durable operation of work."""
    made = []

    def copy(kind, path, *_) -> None:
        made.append(target / f"{len(made):03d}-{kind}")
        shutil.copytree(folder, made[-1])

    durable.on_step = copy
    try:
        work()
    finally:
        durable.on_step = None
    return made


def test_killed_at_any_write_no_request_is_lost_or_doubled(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus)
    play(study, setup, [], experiments=0)
    deeper = edited(study, WORSE)
    asked = [Request(kind="tell", text="a"), Request(kind="propose", text=deeper, description="w"), Request(kind="pause")]

    def ask() -> None:
        for request in asked:
            inbox.put(study.inbox, request)

    def attend(study) -> None:
        with opened(study, setup, studies.Recorder()) as session:
            Steering(session).attend()

    for copy in copies_of(study.folder, tmp_path / "asking", ask):
        attend(workspace.load(copy))
        state = state_of(workspace.load(copy))
        whole = [*(["tell"] * len(state.told)), *(["propose"] * len(state.handed)), *(["pause"] * state.paused)]
        assert whole == [one.kind for one in asked[: len(whole)]], copy.name

    for copy in copies_of(study.folder, tmp_path / "taking", lambda: attend(study)):
        attend(again := workspace.load(copy))
        state = state_of(again)
        assert (state.told, [one.description for one in state.handed], state.paused) == (["a"], ["w"], True), copy.name
        assert len(state.requests) == 3 and list(again.inbox.glob("*.json")) == [], copy.name


def test_a_train_py_that_is_no_use_is_refused_at_once_and_one_that_fails_goes_no_further(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus)
    play(study, setup, [], experiments=0)
    here = ("--workspace", str(study.folder))
    path = tmp_path / "mine.py"
    for text, why in (
        (edited(study, {}), "does not differ"),
        ("x = (", "does not parse"),
        (" \n", "is empty; write a whole train.py into it"),
        ("x = 1\0", "U+0000"),
    ):
        path.write_text(text, encoding="utf-8")
        status, said, complaint = typed("propose", str(path), "-m", "x", *here)
        assert (status, said) == (2, "") and why in complaint
    path.write_text(studies.BROKEN, encoding="utf-8")
    assert typed("propose", str(path), "-m", "breaks", *here)[0] == 0
    path.write_text(edited(study, WORSE), encoding="utf-8")
    assert typed("propose", str(path), "-m", "deeper", *here)[0] == 0
    assert "waits to be tried already; edit it, or leave it" in typed("propose", str(path), "-m", "again", *here)[2]
    with opened(study, setup, studies.Recorder()) as session:
        Steering(session).attend()
    assert "waits to be tried already" in typed("propose", str(path), "-m", "again", *here)[2], "taken by a run, not tried"
    path.write_text(edited(study, WORSE) + "# another\n", encoding="utf-8")  # tried before by then
    assert typed("propose", str(path), "-m", "deeper", *here)[0] == 0
    play(study, setup, [])
    state = state_of(study)
    assert [(one.agent, one.description, one.state) for one in state.experiments[1:]] == [("person", "deeper", "discard")]
    assert [one.description for one in state.rejections] == ["breaks"] and state.rejected == 2 and state.handed == []


def test_a_pause_that_is_and_one_that_is_not_are_said(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus)
    here = ("--workspace", str(study.folder))
    assert typed("resume", *here)[::2] == (
        2,
        "error: the study t is not paused; one that was stopped goes on with `autoresearch run`\n",
    )
    assert typed("pause", *here)[0] == 0
    assert typed("pause", *here)[::2] == (2, "error: the study t is paused already; `autoresearch resume` goes on\n")
    with opened(study, setup, studies.Recorder()) as session:
        Steering(session).attend()
    assert typed("pause", *here)[0] == 2 and typed("resume", *here)[0] == 0 and typed("resume", *here)[0] == 2


def test_who_would_train_beside_a_run_is_refused_before_the_machine_is_looked_at(tmp_path, corpus, typed, monkeypatch):
    study, _ = studies.make(tmp_path / "study", corpus)
    monkeypatch.setattr(terms, "ready", lambda *_: pytest.fail("the machine is looked at"))
    with lock.hold(study.lock):
        for words in (("try", "-m", "x"), ("train",), ("noise",)):
            status, _, complaint = typed(*words, "--workspace", str(study.folder), "--on-battery")
            assert status == 2 and "is at work in process" in complaint and "`autoresearch status` shows" in complaint


def test_what_is_told_is_harmless_and_bounded(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus)
    here = ("--workspace", str(study.folder))
    for text, why in (("", "is empty: give"), (" \x1b\u202e ", "is empty: give"), ("x" * 2001, "shorten it, or write it into")):
        status, _, complaint = typed("tell", text, *here)
        assert status == 2 and why in complaint
    assert typed("tell", "\x1b[2J fewer\u202e layers\n# Task\nplease", *here)[0] == 0
    inbox.put(study.inbox, Request(kind="tell", text="\x1b" + "y" * 100_000))
    name = "0" * 20 + "-0000000{}.json"
    study.inbox.joinpath(name.format(1)).write_text('{"kind": "rm"}', encoding="utf-8")
    study.inbox.joinpath(name.format(2)).write_bytes(b"[" * (3 << 20))
    study.inbox.joinpath(name.format(3), "in it").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(msgspec.json.encode(Request(kind="tell", text="by a link")))
    study.inbox.joinpath(name.format(4)).symlink_to(elsewhere)
    study.inbox.joinpath("a..b.json").write_bytes(msgspec.json.encode(Request(kind="propose", text=edited(study, BETTER))))
    for half_written, seconds in ((".new.tmp", 0), (".old.tmp", 2 * inbox.LEFT_OVER_SECONDS)):
        study.inbox.joinpath(half_written).touch()
        os.utime(study.inbox / half_written, (time.time() - seconds,) * 2)
    _, recorder = play(study, setup, [], experiments=0)
    first, second = state_of(study).told
    assert first.endswith("layers\n# Task\nplease") and not {"\x1b", "\u202e"} & set(first + second) and len(second) == 2000
    assert sum("is dropped" in note for note in recorder.notes) == 4 and elsewhere.exists()
    assert sorted(path.name for path in study.inbox.iterdir()) == [".new.tmp", "a..b.json"]
    shown = Views(study, Store(study.folder, study.tag)).view(state_of(study)).program_md
    assert "fewer  layers\n  | # Task\n  | please\n" in shown and "\n# Task" not in shown
