"""What a ledger takes, and that nothing that stands in one breaks its readers."""

import io
import json
import math
from datetime import datetime

import pytest
from hypothesis import given, settings
from ledger_mutants import NIGHT, mutants, night
from rich.console import Console

from autoresearch.commands import results, show
from autoresearch.errors import LedgerRefusal, StoredStateError
from autoresearch.report import answers, picture, table, words
from autoresearch.report.panel import Panel, PlainLines
from autoresearch.study import events as kinds
from autoresearch.study import ledger, lines
from autoresearch.study.ledger import Ledger
from autoresearch.study.state import State, sound


def test_a_night_of_an_earlier_version_is_taken_whole():
    state = State.from_events(ledger.read(NIGHT))
    assert state.skipped == [] and state.skipped_line is None and state.best.number == 4
    recorded = {event["event"] for event in night()}
    later = {"tried", "limits", "resume", "told", "skip", "handed", "workers"}
    assert recorded == set(kinds.EVENTS) - later, "the recorded night has every kind of event that its version had"


def test_what_a_person_asked_for_is_folded_and_a_skip_that_came_too_late_changes_nothing():
    asked = [
        {"event": "pause", "reason": "the disk is full"}, {"event": "told", "id": "a", "text": "fewer layers"},
        {"event": "handed", "id": "b", "commit": "c0", "description": "mine"}, {"event": "skip", "id": "c", "n": 1},
        {"event": "skip", "id": "d", "n": 0}, {"event": "skip", "id": "e", "n": 99},
    ]  # fmt: skip
    past = night()
    more = [{"seq": len(past) + k, "time": past[-1]["time"], **one} for k, one in enumerate(asked, 1)]
    state = read_all([*past, *more])
    assert (state.told, state.paused, [one.description for one in state.handed]) == (["fewer layers"], False, ["mine"])
    assert not any(one.skipped for one in state.experiments) and state.requests == {"a", "b", "c"}
    assert [one.reason for one in state.skipped] == ["the baseline can't be skipped", "there is no experiment 99"]
    for event, paused in (({"event": "pause", "reason": "asked for", "id": "f"}, True), ({"event": "resume", "id": "g"}, False)):
        state.apply({"seq": 10**6, "time": past[-1]["time"], **event})
        assert state.paused == paused == ("paused" in words.running(state))


def read_all(events: list) -> State:
    """What every reader does with a ledger's events."""
    state = State.from_events(events)
    assert len(state.skipped) + len(sound(events)) == len(events)
    json.dumps([answers.record(one) for one in state.experiments])
    [table.row(one, state.metric) for one in state.experiments]
    results.lines(state.experiments, state.metric)
    for one in state.experiments:
        shown = {"ref": "r", "diff": "", "log_tail": "", "startup_seconds": one.startup_seconds, "baseline_startup_seconds": None}
        show.lines(one, shown, state.metric)
    assert (state.gain is None) == (state.best is None or state.best.number == 0)
    assert state.best is None or math.isfinite(state.best.val_bpb)
    shown = State()
    plain = PlainLines(io.StringIO(), "", shown)
    for event in sound(events):
        plain.event(event)
        words.running(shown)
    assert shown.skipped == [] and shown.counts() == state.counts()
    words.best(state)
    words.tally(state, datetime(2026, 1, 3))
    return state


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(mutants())
def test_no_reader_breaks_on_what_stands_in_a_ledger(events):
    state = read_all(events)
    assert state.skipped_line is None or len(state.skipped_line) < 1000


@settings(max_examples=2, deadline=None, derandomize=True, database=None)
@given(mutants(most=12))
def test_nor_do_the_picture_and_the_panel(events):
    state = State.from_events(events)
    assert picture.compose(state)
    drawn = Console(file=io.StringIO(), width=100, height=40)
    drawn.print(Panel(io.StringIO(), "a machine", state).renderable())
    assert "a machine" in drawn.file.getvalue()


def of(kind: str, events: list[dict]) -> dict:
    return next(event for event in events if event["event"] == kind)


POISON = (
    ("run", {"val_bpb": None}), ("run", {"val_bpb": 0.0}), ("run", {"total_tokens": 2**64}), ("run", {"num_steps": -1}),
    ("run", {"status": "keep"}), ("run", {"training_seconds": 1e308}), ("run", {"depth": 1.5}), ("run", {"k": 7}),
    ("run", {"seed": 3}), ("run", {"folder": "../../etc"}), ("verdict", {"val_bpb": None}), ("verdict", {"scores": []}),
    ("verdict", {"state": "crash"}), ("verdict", {"scores": [0.0]}), ("audit", {"allowed": [1]}), ("start", {"n": 5}),
    ("tested", {"test_bpb": -1.0}), ("begin", {"folder": ".."}), ("stop", {"reason": None}),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), POISON)
def test_what_an_attack_wrote_is_skipped_with_a_word_and_the_rest_still_read(kind, change):
    events = night()
    of(kind, events).update(change)
    state = read_all(events)
    assert state.skipped[0].event == kind and state.skipped[0].line == of(kind, events)["seq"]
    assert f"(line {state.skipped[0].line}, {kind}: {state.skipped[0].reason}" in state.skipped_line


def test_what_breaks_the_schema_is_not_written(tmp_path):
    kept = Ledger(tmp_path / "events.jsonl")
    kept.append("study", tag="t", seed=1, decide="strict")
    before = kept.path.read_bytes()
    result = {"n": 0, "k": 1, "seed": 1, "folder": "0000-1", "status": "ok", "val_bpb": 1.0}
    for change in ({"val_bpb": None}, {"total_tokens": float("inf")}, {"val_bpb": float("nan")}, {"status": "fine"}):
        with pytest.raises(LedgerRefusal, match="ledger takes no such `run`"):
            kept.append("run", **result | change)
    for more in ({"newer": float("nan")}, {"newer": "x" * 2_000_000}, {"newer": object()}):
        with pytest.raises(LedgerRefusal):
            kept.append("of a newer version", **more)
    assert kept.path.read_bytes() == before and len(kept.events) == 1
    state = State.from_events(kept.events)
    with pytest.raises(LedgerRefusal, match="run 1 of experiment 0 is not under way"):
        state.demand(kinds.Run(**result))


def test_words_of_others_are_cut_before_they_are_written(tmp_path):
    kept = Ledger(tmp_path / "events.jsonl")
    log = "x" * 20_000_000 + "the end"
    rejected = {"n": 0, "description": "d" * 9999, "reasoning": "", "agent": "a", "cost_usd": 0.0, "state": "crash", "key": "k"}
    kept.append("rejected", **rejected, reason="r" * 20_000_000, log=log, commit="c")
    kept.append("stop", reason="s" * 20_000_000)
    assert kept.path.stat().st_size < 40_000
    again = ledger.read(kept.path)
    assert State.from_events(again).skipped == [] and again[0]["log"].endswith("xthe end") and again[0]["reason"].endswith("r…")


BAD_LINES = b"[" * 100_000, b'{"seq":2,"a":' + b"[" * 990 + b"]" * 990 + b"}", b"x" * (lines.LONGEST_LINE_BYTES + 1)


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_line_that_python_can_not_read_or_is_endless_is_a_bad_line(tmp_path, line):
    kept = Ledger(tmp_path / "events.jsonl")
    kept.append("pause", reason="1")
    with open(kept.path, "ab") as file:
        file.write(line + b"\n{}\n")
    with pytest.raises(StoredStateError, match="line 2 is damaged"):
        ledger.read(kept.path)


def test_a_file_that_no_ledger_can_be_is_not_read(tmp_path):
    path = tmp_path / "events.jsonl"
    with open(path, "wb") as file:
        file.truncate(lines.LARGEST_BYTES + 1)
    with pytest.raises(StoredStateError, match="put a copy of it back"):
        ledger.read(path)
