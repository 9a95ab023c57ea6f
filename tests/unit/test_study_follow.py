"""Looking on at a study from outside: its ledger by offset, its lock without taking it, its run by its files."""

import json
import os
import subprocess
import sys

import pytest
from report_events import study as events_of
from waiting import wait_for

from autoresearch import durable
from autoresearch.errors import StoredStateError
from autoresearch.run.setup import Progress
from autoresearch.study import follow, lock
from autoresearch.study.follow import Follower
from autoresearch.study.ledger import Ledger
from autoresearch.study.state import State

HOLDS = (
    "import sys, time; from pathlib import Path; from autoresearch.study import lock\n"
    "with lock.hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def ledger(tmp_path):
    kept = Ledger(tmp_path / "events.jsonl")
    kept.append("study", tag="t", seed=1, decide="strict")
    return kept


def test_each_look_has_what_is_new_and_no_half_a_line(ledger):
    follower = Follower(ledger.path)
    assert [event["event"] for event in follower.look()] == ["study"] and follower.look() == []
    ledger.append("told", id="one", text="more")
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-5])
    assert follower.look() == []
    with open(ledger.path, "ab") as file:
        file.write(whole[-5:])
    assert [event["text"] for event in follower.look()] == ["more"] and follower.look() == []


def test_a_look_without_news_reads_nothing(ledger, monkeypatch):
    follower = Follower(ledger.path)
    follower.look()
    monkeypatch.setattr("builtins.open", None)
    assert follower.look() == []


def test_what_is_written_between_the_first_looks_stat_and_its_reading_is_news(ledger, monkeypatch):
    """And not another ledger, all of whose events would be told again."""
    read, follower = follow.lines.content, Follower(ledger.path)

    def late(path):
        ledger.append("told", id="one", text="more")
        return read(path)

    monkeypatch.setattr(follow.lines, "content", late)
    assert [event["event"] for event in follower.look()] == ["study"]
    monkeypatch.undo()
    assert [event["text"] for event in follower.look()] == ["more"] and follower.look() == []


def test_another_ledger_in_its_place_is_read_anew(ledger):
    follower = Follower(ledger.path)
    assert len(follower.look()) == 1
    first = ledger.path.read_bytes()
    ledger.append("told", id="one", text="more")
    assert len(follower.look()) == 1
    durable.write(ledger.path, first)  # as `autoresearch repair` does
    assert follower.look() is None
    assert [event["event"] for event in follower.look()] == ["study"]
    # A line was taken back after it had been read, and a longer one stands in its place.
    again = Ledger(ledger.path)
    again.append("told", id="two", text="a")
    assert len(follower.look()) == 1
    durable.cut(ledger.path, len(first))
    Ledger(ledger.path).append("told", id="three", text="longer than it was before")
    assert follower.look() is None and [event.get("id") for event in follower.look()] == [None, "three"]


def test_a_damaged_ledger_is_told(ledger):
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"t"', b'"u"'))
    with pytest.raises(StoredStateError, match="line 1 is damaged"):
        Follower(ledger.path).look()


def test_no_ledger_yet_is_no_news(tmp_path):
    assert Follower(tmp_path / "events.jsonl").look() == []


def test_the_process_at_work_is_known_without_taking_its_lock(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    assert lock.writer(path) is None
    with lock.hold(path):
        assert lock.writer(path) == os.getpid()
    assert lock.writer(path) is None, "it lives on, and works no more"
    holds = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE)
    assert holds.stdout.readline() == b"held\n"
    monkeypatch.setattr(lock.locks, "try_lock", None)
    assert lock.writer(path) == holds.pid
    holds.kill()
    assert wait_for(lambda: lock.writer(path) is None), "not even while nobody has asked how it ended"
    holds.communicate()
    path.write_text(f"{os.getpid()}\n", encoding="utf-8")
    os.utime(path, (1e9, 1e9))
    assert lock.writer(path) is None, "its number is another process's by now"


class Place:
    """What `progress` needs of a study."""

    def __init__(self, runs):
        self.runs = runs
        self.profile = self.budget = self
        self.train_seconds = 300.0


def test_how_far_a_run_is_by_its_files(tmp_path):
    events = events_of([0.79])
    begun = State.from_events(events[:-2])
    folder = tmp_path / "1-1"
    folder.mkdir()

    def seen(state: State = begun):
        return follow.progress(Place(tmp_path), state, now=1000.0)

    def at(name: str, text: str, time: float) -> None:
        (folder / name).write_text(text, encoding="utf-8")
        os.utime(folder / name, (time, time))

    assert seen() is None
    at("train.py", "", 900.0)
    assert seen() == (1, 1, Progress("startup", 100.0))
    at("curve.jsonl", "", 940.0)
    assert seen() == (1, 1, Progress("training", 60.0, 0.2))
    step = json.dumps({"seconds": 50.0, "type": "step", "loss": 2.5, "tokens": 5000, "progress": 0.1})
    at("curve.jsonl", f'{step}\n{{"seconds": 55.0, "ty', 990.0)
    assert seen() == (1, 1, Progress("training", 60.0, 0.2, 2.5, 100.0))
    at("curve.jsonl", "[]\n", 1.0)
    assert seen() == (1, 1, Progress("training", 300.0, 1.0))
    at("checkpoint", "", 998.0)
    assert seen() == (1, 1, Progress("scoring", 2.0))
    assert seen(State.from_events(events)) is None
    # A proposal compiles before it is an experiment; what it leaves, where that fails, is no start-up.
    folder = tmp_path / "0002-1"
    folder.mkdir()
    at("train.py", "", 990.0)
    assert seen(State.from_events(events)) == (2, 1, Progress("startup", 10.0))
    rejected = {"event": "rejected", "n": 2, "state": "crash", "key": "k", "log": "", "commit": "c", "reason": "", "reasoning": "",
                "description": "", "agent": "a", "cost_usd": None, "seq": 99, "time": "2026-01-02T20:00:00+00:00"}  # fmt: skip
    assert seen(State.from_events([*events, rejected])) is None
