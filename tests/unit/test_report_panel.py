import io
import json
import re
import threading
import time

import pytest
from report_events import study
from waiting import wait_for

from autoresearch.report import panel, words
from autoresearch.report.panel import PANEL_SECONDS, JsonLines, Panel, PlainLines, choose
from autoresearch.run.setup import Progress
from autoresearch.study.state import State

NASTY = "[bold]x[/bold] \x1b[2J\x07 line\nbreak"
TRAINING = Progress("training", 75.0, fraction=0.25, loss=2.345, tokens_per_second=21345.6)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of a given width and height; the output has no colours."""

    def make(columns=100, lines=40):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("NO_COLOR", "1")
        return Terminal()

    return make


def screens(terminal: Terminal) -> list[list[str]]:
    """The panels as they were drawn, one after another, without the codes that move the cursor and set bold and dim."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "")
    return ["╭" + part.rstrip() for part in text.split("╭")[1:]]


def show(listener, events, progress=TRAINING) -> None:
    with listener:
        for event in events:
            listener.event(event)
            if event["event"] == "begin":
                listener.progress(event["n"], event["k"], progress)


def test_choose(terminal, monkeypatch):
    assert isinstance(choose(True, False, terminal()), JsonLines)
    assert isinstance(choose(False, True, terminal()), PlainLines)
    assert isinstance(choose(False, False, io.StringIO()), PlainLines)
    assert isinstance(choose(False, False, terminal()), Panel)
    tty = terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose(False, False, tty), PlainLines)


def test_json_lines_are_the_events_and_the_progress():
    stream, events = io.StringIO(), study([0.79, None], NASTY)
    show(choose(True, False, stream), events)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line for line in lines if line["event"] != "progress"] == events
    first = next(line for line in lines if line["event"] == "progress")
    assert first == {
        "event": "progress", "n": 0, "k": 1, "phase": "training",
        "elapsed_seconds": 75.0, "fraction": 0.25, "loss": 2.345, "tokens_per_second": 21345.6, "detail": "",
    }  # fmt: skip


def test_plain_lines_tell_the_night():
    stream = io.StringIO()
    show(choose(False, True, stream, "a machine"), study([0.79, None], NASTY))
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines[:2] == ["a machine", "study jan02"]
    assert "experiment 1: [bold]x[/bold] [2J line break" in lines
    assert "experiment 1 run 1: val_bpb 0.790000" in lines
    best = "best val_bpb 0.7900 by experiment 1, 0.0100 +- 0.0012 (1.3 %) below the baseline"
    assert f"experiment 1 keep: the numbers say so; {best}" in lines
    assert "experiment 2 run 1: crash: no [red]memory[/red]" in lines
    assert [line for line in lines if "training" in line] == [
        "experiment 0 run 1: training, 25 %, 3:45 left, 21,346 tok/s, loss 2.345"  # and not again before 30 s are over
    ]
    assert "\x1b" not in stream.getvalue()


def test_plain_lines_survive_a_narrow_encoding():
    stream = io.TextIOWrapper(io.BytesIO(), "cp1252", write_through=True)
    show(choose(False, True, stream), study([0.79], "WIDTH 4 → 5, 漢字"))
    assert "WIDTH 4 ? 5, ??" in stream.buffer.getvalue().decode("cp1252")


def test_the_panel_shows_the_night(terminal):
    tty = terminal()
    events = study([0.79, 0.82, None, 0.78, 0.79, 0.80, 0.81], NASTY)
    with choose(False, False, tty, "a machine") as listener:
        for event in events[:-2]:
            listener.event(event)
        listener.progress(7, 1, TRAINING)
        wait_for(lambda: "training" in screens(tty)[-1])
    last = screens(tty)[-1]
    assert re.search(r"training ━{10,13}─{30,40} 2[56] %, 3:4\d left, 21,346 tok/s, loss 2.345", "".join(screens(tty)))
    assert "autoresearch jan02" in last and "a machine" in last
    assert "experiment 7 run 1 (seed 1): [bold]x[/bold] [2J line break" in last
    assert "best val_bpb 0.7800 by experiment 4, 0.0200 +- 0.0012 (2.5 %) below the baseline" in last
    assert "2 keep, 3 discard, 1 crash; 6:40 each, at this pace " in last
    assert re.findall(r"^│ +(\d)  (\w+) +([\d.]*) +([-+\d.]*) ", last, re.M) == [
        ("0", "baseline", "0.8000", ""), ("1", "keep", "0.7900", "-0.0100"), ("2", "discard", "0.8200", "+0.0300"),
        ("3", "crash", "", ""), ("4", "keep", "0.7800", "-0.0100"), ("5", "discard", "0.7900", "+0.0100"),
        ("6", "discard", "0.8000", "+0.0200"),
    ]  # fmt: skip
    assert "\x07" not in tty.getvalue() and "\x1b[2J" not in tty.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-8][;m]", tty.getvalue())  # NO_COLOR


def test_the_panel_counts_on_while_nobody_tells_it_anything(terminal, monkeypatch):
    """As in the 160 s until the next check of the machine, or while a model is loaded to be scored."""
    monkeypatch.setattr(panel, "PANEL_SECONDS", 0.0)
    tty = terminal()
    with choose(False, False, tty) as listener:
        said_now_and_then = {"event": "wait", "reason": "waiting for a machine that is as fast as usual: the next check in 130 s"}
        for event in [*study([0.79]), speed("others take 40% of the cores", 160.0), said_now_and_then]:
            listener.event(event)
        wait_for(lambda: len(set(re.findall(r"waiting [━─]+ \d+ %, (\d:\d\d) left", "".join(screens(tty))))) > 1)


def test_nothing_waits_for_a_terminal_that_is_stopped(terminal):
    """As after Ctrl-S: a write to it does not return."""
    tty, goes_on, late = terminal(), threading.Event(), []
    write = tty.write

    def stopped(text):
        late.extend([] if goes_on.wait(10) else [text])
        return write(text)

    with choose(False, False, tty) as listener:
        tty.write = stopped
        for event in study([0.79]):
            listener.event(event)
            listener.progress(0, 1, TRAINING)
        goes_on.set()
    assert not late and "1 keep, 0 discard, 0 crash" in screens(tty)[-1]


def test_a_terminal_that_goes_away_ends_nothing(terminal, monkeypatch):
    tty = terminal()
    listener = choose(False, False, tty)
    with pytest.raises(OSError), listener:
        monkeypatch.setattr(tty, "write", gone)
        listener.event(study([])[0])
        wait_for(lambda: not listener._thread.is_alive())
        listener.event(study([])[1])


def gone(text):
    raise OSError("the terminal went away")


def test_a_skipped_experiment_is_called_so(terminal):
    tty, events = terminal(60), study([0.79, None])
    events[-1] |= {"verdict": "discard", "state": "skip"}
    show(choose(False, False, tty), events)
    assert re.findall(r"^│ +(\d)  ([a-z]+)", screens(tty)[-1], re.M) == [("0", "baseline"), ("1", "keep"), ("2", "skip")]


def test_the_cursor_rests_on_an_empty_line(terminal):
    tty = terminal(80, 24)
    with choose(False, False, tty):
        assert tty.getvalue().rsplit("╯", 1)[1].strip(" ") == "\n"


def test_a_resumed_study_shows_what_was_before(terminal):
    tty = terminal()
    show(choose(False, False, tty, past=study([0.79])), [{"event": "stop", "reason": "8 hours are over"}])
    last = screens(tty)[-1]
    assert "1 keep, 0 discard, 0 crash" in last and "stop: 8 hours are over" in last


def test_who_comes_later_reads_what_was_said_last(terminal):
    tty, past = terminal(), [*study([0.79])[:-1], {"event": "rejected", "reason": "it does not parse"}]
    later = choose(False, False, tty, past=past[:-1])
    later.recall(past[-3:])
    with later:
        pass
    assert "proposal rejected: it does not parse" in screens(tty)[-1]


def test_an_old_windows_code_page_gets_ascii(terminal):
    tty = terminal()
    tty.encoding = "cp437"
    show(choose(False, False, tty), study([0.79], "WIDTH 4 → 5 漢字"))
    assert tty.getvalue().isascii() and "WIDTH 4 ? 5 ??" in tty.getvalue()


def test_progress_may_be_told_as_often_as_one_likes(terminal):
    tty = terminal()
    listener = choose(False, False, tty)
    start = time.monotonic()
    with listener:
        for step in range(3000):
            listener.progress(1, 1, Progress("training", step / 100, step / 3000))
    due = (time.monotonic() - start) / PANEL_SECONDS
    assert len(screens(tty)) <= due + 6  # the first, one at each due time, the last and what Live draws at its ends


def test_a_note_is_seen_while_something_runs(terminal):
    tty = terminal()
    events = study([0.79])
    show(choose(False, False, tty), [*events[:-1], {"event": "note", "reason": "this run is the last; Ctrl-C again ends it now"}])
    last = screens(tty)[-1]
    assert "experiment 1 run 1" in last and "│ this run is the last; Ctrl-C again ends it now" in last


def speed(reason=None, wait_seconds=None):
    return {"event": "speed", "state": "contended" if reason else "steady", "reason": reason, "wait_seconds": wait_seconds}


def test_what_makes_a_run_wait_is_seen_until_the_next_check(terminal):
    events = [*study([0.79]), speed("others take 40% of the cores", 20.0)]
    line = "contended: others take 40% of the cores; the next check in 20 s"
    for after, is_seen in (([], True), ([speed()], False)):
        tty = terminal()
        show(choose(False, False, tty), events + after)
        assert (line in screens(tty)[-1]) == is_seen
    tty = terminal()
    show(choose(False, False, tty), [*study([0.79])[:-1], {"event": "note", "reason": "on battery"}, speed()])
    assert "on battery" in screens(tty)[-1]  # a note of another kind stays


def test_an_invalid_run_and_a_long_start_are_told_and_counted(terminal):
    events = study([0.79])
    for event in events:
        if event["event"] == "run":
            event["startup_seconds"] = 41.4 if event["n"] else 11.0
    seen = {"state": "suspended", "reason": "the computer slept for 60 s", "taken": None, "device_throttled": None}
    invalid = events[-2] | {"event": "invalid", **seen}
    events[-2:] = [invalid, events[-3], *events[-2:]]  # it began, did not count, and began again
    lines = io.StringIO()
    show(choose(False, True, lines), events)
    assert "experiment 1 run 1 invalid (suspended): the computer slept for 60 s; the same commit runs again" in lines.getvalue()
    assert "val_bpb 0.790000; start-up 41 s, baseline 11 s" in lines.getvalue()
    assert lines.getvalue().count("start-up") == 1
    tty = terminal()
    show(choose(False, False, tty), events)
    assert "1 keep, 0 discard, 0 crash, 1 invalid and done again" in screens(tty)[-1]


def test_nothing_is_expected_of_a_baseline_that_has_all_its_runs():
    events = study([])[:-1]
    for event in events:
        if event["event"] == "run":
            event["total_seconds"] = 60.0
    state = State.from_events(events)
    said = words.first_scores(state, Progress("audit", 3.0), 30.0)
    assert said == "the baseline's runs so far: 0.8010, 0.8000, 0.7990"
