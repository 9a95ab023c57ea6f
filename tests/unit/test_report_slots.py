"""Several workers on the screen and in lines, as pure functions; the page and the commands: tests/e2e/test_several_shown.py."""

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from report_events import study
from rich.cells import cell_len
from test_report_panel import screens, terminal  # noqa: F401
from test_report_screen import drawn, said, view
from virtual_crew import Virtual
from waiting import wait_for

from autoresearch.agents.base import Proposal
from autoresearch.loop.jobs import Job, Jobs
from autoresearch.report.panel import Panel, choose
from autoresearch.report.screen import Digest, Terminal
from autoresearch.report.slots import Slot, short, summary
from autoresearch.run.setup import Progress
from autoresearch.study.state import State
from autoresearch.workers.work import Here, Order


def several(workers: int, open_: int) -> list[dict]:
    """A night of one keep, then of so many workers with so many experiments under way, one after another from number 3 on."""
    events = study([0.79, 0.82], "MATRIX_LR 0.04 -> 0.06")
    start, begin = (next(one for one in reversed(events) if one["event"] == kind) for kind in ("start", "begin"))

    def add(event: str, **fields) -> None:
        events.append({"seq": len(events) + 1, "time": events[-1]["time"], "event": event, **fields})

    add("workers", count=workers)
    for number in range(3, 3 + open_):
        add(**start | {"n": number, "commit": f"c{number}", "key": f"k{number}", "base": 1})
        add(**begin | {"n": number, "seed": number, "folder": f"{number}-1", "worker": number - 2})
    assert not State.from_events(events).skipped
    return events


def trains(worker: int, fraction: float) -> Slot:
    return Slot(worker, "runs", worker + 2, 1, None, Progress("training", 300 * fraction, fraction, 2.345, 21_000.0))


@pytest.mark.parametrize(("columns", "rows"), [(60, 24), (80, 24), (120, 40)])
def test_each_worker_has_a_line_of_what_it_is_at(columns, rows):
    check = Slot(3, "runs", None, 1, "DEPTH 8 -> 9 \x1b[2J漢字", Progress("startup", 3.0))
    scores = Slot(2, "runs", 4, 1, None, Progress("scoring", 2.0))
    shown = view(several(5, 2), workers=(trains(1, 0.25), scores, check, Slot(4, "free"), Slot(5, "gone")))
    lines = drawn(shown, Terminal(columns, rows))
    assert len(lines) <= rows and {cell_len(line) for line in lines[:-1]} == {columns} and "\x1b" not in "".join(lines)
    text = said(lines)
    assert "5 workers: 1 trains, 1 scores, 1 checks an edit, 1 is free, 1 is gone" in text
    first, second, third, fourth, fifth = (next(line for line in lines if line.startswith(f"│ {n}  ")) for n in range(1, 6))
    assert re.search(r"experiment 3 run 1.* +training ━+─+ 25 %, 3:45 left", first)
    assert ("loss 2.345" in first) == (columns >= 80) and ("21,000 tok/s" in first) == (columns >= 120)
    assert ("experiment 3 run 1: MATRIX_LR 0.04 -> 0.06" in first) == (columns >= 120)
    assert "experiment 4 run 1" in second and "scoring  0:02" in second
    assert "checking: DEPTH 8" in third and "startup  0:03" in third
    assert "is free" in fourth and "is gone" in fifth
    assert "best val_bpb 0.7900 by experiment 1" in text and "1 keep, 1 discard" in text
    assert len({line.index(word) for line, word in ((first, "training"), (second, "scoring"))}) == 1, "in columns"


def test_many_workers_are_told_in_two_sentences():
    many = tuple(trains(n, n / 30) for n in range(1, 21)) + tuple(Slot(n, "starting") for n in range(21, 25))
    text = said(drawn(view(several(24, 20), workers=many), Terminal(80, 24)))
    assert "24 workers: 20 train, 4 are being started" in text
    assert "a training ends in 1:40, the last in 4:50, 420,000 tok/s in all" in text
    assert "experiment 3 run 1" not in text
    few = said(drawn(view(several(4, 4), workers=many[:4]), Terminal(80, 10)))
    assert "4 workers: 4 train" in few and "a training ends in" in few, "no room for a line each"


def test_what_is_told_of_workers_in_words():
    state = State.from_events(several(3, 1))
    itself = Slot(0, "runs", 2, 1, None, Progress("audit", 5.0, 0.5))
    assert summary((trains(1, 0.5), Slot(2, "free"), itself), state) == "2 workers: 1 trains, 1 is free"
    state.paused = True
    assert summary((trains(1, 0.5), Slot(2, "free")), state) == "2 workers: 1 trains, 1 is free, then a pause"
    assert summary((Slot(1, "free"), Slot(2, "free")), state) == "2 workers: 2 are free; paused, `autoresearch resume` goes on"
    assert [short(Slot(1, "runs", n, 2), state) for n in (1, 2)] == ["the best, 1 run 2", "experiment 2 run 2"]


def test_the_loop_tells_what_each_worker_is_at():
    jobs, order = Jobs(Virtual(6, lambda text, seed: 4.0)), Order(1, "", 1, "folder", True)
    for worker in range(1, 5):
        jobs.come(worker, Here("virtual"))
    jobs.gone.add(5)
    proposal = Proposal("", "DEPTH 8 -> 9", "")
    jobs.by_worker = {1: Job(order, 2, 3), 2: Job(order, proposal=proposal), 3: Job(order, number=4, is_wanted=False)}
    told = [(slot.at, slot.n, slot.k, slot.description) for slot in (Slot(**one) for one in jobs.slots())]
    assert told == [
        ("startup", 3, 2, None), ("check", None, 1, "DEPTH 8 -> 9"), ("ending", None, 1, None), ("free", None, 1, None),
        ("gone", None, 1, None), ("starting", None, 1, None),
    ]  # fmt: skip
    assert jobs.free() == [4] and jobs.checked() == [proposal] and (jobs.running(3), jobs.running(4)) == (1, 0)
    jobs.come(5, Here("virtual"))
    assert not jobs.gone and not jobs.are_all_here and jobs.free() == [4, 5]


def test_the_panel_counts_on_for_each_and_shows_what_the_loop_itself_does(terminal):  # noqa: F811
    tty = terminal(100, 40)
    events = several(2, 2)
    with Panel(tty, "a machine", State.from_events(events)) as listener:
        began = Slot(1, "runs", 3, 1, None, Progress("training", 2.0, 0.1))
        at_work = {"event": "workers at work", "workers": [vars(began), vars(Slot(2, "free"))]}

        def counts_on() -> bool:
            listener.event(at_work)  # the same word again and again
            listener.progress(3, 1, began.progress)  # which the slot says already
            return re.search(r"1  experiment 3 run 1.* training ━+─+ (1[3-9]|[2-9]\d) %", screens(tty)[-1]) is not None

        wait_for(counts_on)
        assert screens(tty)[-1].count("training") == 1 and "2  is free" in screens(tty)[-1]
        listener.progress(2, 1, Progress("audit", 5.0, 0.5))
        wait_for(lambda: re.search(r"   experiment 2 run 1: MATRIX.* audit +━+─+ 50 %", screens(tty)[-1]))
        listener.event(at_work)
        wait_for(lambda: "audit" not in screens(tty)[-1])


@pytest.mark.parametrize("as_json", [True, False])
def test_lines_are_no_flood(as_json):
    stream = io.StringIO()
    events = several(4, 4)
    with choose(as_json, True, stream, past=events[:-8]) as listener:
        for event in events[-8:]:
            listener.event(event)
        for _ in range(50):
            listener.event({"event": "workers at work", "workers": [vars(trains(n, 0.5)) for n in range(1, 5)]})
            for number in range(3, 7):
                listener.progress(number, 1, trains(1, 0.5).progress)
    lines = stream.getvalue().splitlines()
    if as_json:
        told = [json.loads(line) for line in lines]
        assert [one["n"] for one in told if one["event"] == "progress"] == [3, 4, 5, 6] and len(told) == 12
    else:
        assert sum("training" in line for line in lines) == 1 and len(lines) == 9
        assert lines[1].endswith("experiment 3 run 1 starts, seed 3, on worker 1")


def test_what_a_person_handed_in_waits_while_an_earlier_one_is_made_again():
    events = several(2, 2)
    first = next(one for one in events if one["event"] == "start" and one["n"] == 3)
    first["agent"] = "person"
    handed = {"event": "handed", "id": "h", "commit": "c9", "description": "another"}
    end = {"event": "run", "n": 3, "k": 1, "seed": 3, "folder": "3-1", "status": "ok", "val_bpb": 0.7}
    rebased = {"event": "verdict", "n": 3, "commit": "c3", "verdict": "discard", "state": "rebased", "reason": "r", "val_bpb": 0.7}
    start = first | {"n": 5, "commit": "c5", "key": "k5", "again": 3}
    state = State.from_events(events)
    for one in (handed, end, rebased | {"scores": [0.7]}, start):
        assert state.apply({"time": events[-1]["time"]} | one | {"seq": 999}), state.skipped
    assert not state.to_rebase and [one.description for one in state.handed] == ["another"]


def test_an_edit_that_is_made_again_counts_once():
    events = several(2, 2)
    state = State.from_events(events)
    end = {"seq": 999, "time": events[-1]["time"]}
    state.apply(end | {"event": "run", "n": 3, "k": 1, "seed": 3, "folder": "3-1", "status": "ok", "val_bpb": 0.7})
    rebased = {"verdict": "discard", "state": "rebased", "reason": "r", "val_bpb": 0.7, "scores": [0.7]}
    assert state.apply(end | {"event": "verdict", "n": 3, "commit": "c3", **rebased})
    start = next(one for one in events if one["event"] == "start" and one["n"] == 4)
    assert state.apply(start | {"n": 5, "commit": "c5", "key": "k5", "again": 3})
    assert (state.experiments[3].outcome, state.experiments[5].rebased_from, state.experiments[4].runs[0].worker) == (
        "rebased",
        3,
        2,
    )
    assert state.counts() == {"keep": 1, "discard": 1, "crash": 0}


def test_the_pace_of_several_workers_is_not_that_of_a_bunch():
    """Four verdicts within a second, every 300 s: 75 s each."""
    state, now = State(workers=4), datetime(2026, 1, 2, 20, tzinfo=UTC)
    template = State.from_events(study([0.8])).experiments[1]
    for number in range(21):
        decided = now + timedelta(seconds=300 * ((number + 3) // 4) + number % 4 * 0.25)
        state.experiments.append(type(template)(**vars(template) | {"number": number, "decided": decided.isoformat()}))
    assert state.experiment_seconds == pytest.approx(75, abs=0.1)


def test_the_pace_is_told_by_the_times_of_the_verdicts_and_not_by_numbers():
    """One every 100 s, in blocks of four that end in the opposite order; what is made again is counted where it is decided."""
    state, now = State(workers=2), datetime(2026, 1, 2, 20, tzinfo=UTC)
    template = State.from_events(study([0.8])).experiments[1]
    for number in range(16):
        at = 400 * (number // 4) + 100 * (3 - number % 4)
        for seconds, kind in ((at, "discard"), (at + 50, "rebased")):
            decided = (now + timedelta(seconds=seconds)).isoformat()
            own = {"number": len(state.experiments), "decided": decided, "state": kind}
            state.experiments.append(type(template)(**vars(template) | own))
    assert state.experiment_seconds == pytest.approx(100, abs=0.1)


def test_the_chart_has_a_place_for_what_is_not_decided_yet():
    events = several(2, 2)
    state = State.from_events(events)
    end = {"seq": 999, "time": events[-1]["time"]}
    state.apply(end | {"event": "run", "n": 4, "k": 1, "seed": 4, "folder": "4-1", "status": "ok", "val_bpb": 0.9})
    lost = {"verdict": "discard", "state": "discard", "reason": "r", "val_bpb": 0.9, "scores": [0.9]}
    assert state.apply(end | {"event": "verdict", "n": 4, "commit": "c4", **lost})
    assert Digest.of(state).scores[3:] == (None, 0.9)
