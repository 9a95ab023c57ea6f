import io
import json
import re
import time

import pytest
from report_events import night, study

from autoresearch.report.panel import PANEL_SECONDS, JsonLines, Panel, PlainLines, choose
from autoresearch.run.setup import Progress

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
        "elapsed_seconds": 75.0, "fraction": 0.25, "loss": 2.345, "tokens_per_second": 21345.6,
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
    show(choose(False, False, tty, "a machine"), events[:-2])
    last = screens(tty)[-1]
    assert "autoresearch jan02" in last and "a machine" in last
    assert "experiment 7 run 1 (seed 1): [bold]x[/bold] [2J line break" in last
    assert "best val_bpb 0.7800 by experiment 4, 0.0200 +- 0.0012 (2.5 %) below the baseline" in last
    assert "2 keep, 3 discard, 1 crash; 5:00 each, at this pace " in last
    assert re.findall(r"^│ +(\d)  (\w+)", last, re.M) == [
        ("1", "keep"), ("2", "discard"), ("3", "crash"), ("4", "keep"), ("5", "discard"), ("6", "discard"),
    ]  # fmt: skip
    assert "training ━━━━━━━━━━──────────────────────────────" in "".join(screens(tty))
    assert "25 %, 3:45 left, 21,346 tok/s, loss 2.345" in "".join(screens(tty))
    assert "\x07" not in tty.getvalue() and "\x1b[2J" not in tty.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", tty.getvalue())  # NO_COLOR


@pytest.mark.parametrize("columns", [60, 80])
def test_what_one_has_to_know_is_whole_on_a_narrow_terminal(terminal, columns):
    note = "train.py holds an edit of your own, which is left alone; judge it with `autoresearch try -m TEXT`, or drop it with git"
    tty = terminal(columns, 24)
    show(choose(False, False, tty), [*study([0.79]), {"event": "note", "reason": note}])
    said = " ".join(line.strip("│ ") for line in screens(tty)[-1].splitlines())
    best = "best val_bpb 0.7900 by experiment 1, 0.0100 +- 0.0012 (1.3 %) below the baseline"
    assert note in said and best in said and "1 keep, 0 discard, 0 crash; 5:00 each, at this pace" in said and "…" not in said


def test_a_skipped_experiment_is_called_so(terminal):
    tty, events = terminal(60), study([0.79, None])
    events[-1] |= {"verdict": "discard", "state": "skip"}
    show(choose(False, False, tty), events)
    assert re.findall(r"^│ +(\d)  (\w+)", screens(tty)[-1], re.M) == [("0", "baseline"), ("1", "keep"), ("2", "skip")]


@pytest.mark.parametrize("columns, lines", [(8, 4), (20, 10), (40, 12), (80, 24), (300, 90)])
def test_the_panel_fits_every_terminal(terminal, columns, lines):
    from rich.cells import cell_len

    tty = terminal(columns, lines)
    show(choose(False, False, tty, "a machine with a long name " * 9), study(night(12), "漢字 and a long description " * 9))
    drawn = "\n".join(screens(tty)).splitlines()
    assert max(cell_len(line) for line in drawn) == columns


def test_the_cursor_rests_on_an_empty_line(terminal):
    tty = terminal(80, 24)
    with choose(False, False, tty):
        assert tty.getvalue().rsplit("╯", 1)[1].strip(" ") == "\n"


def test_a_resumed_study_shows_what_was_before(terminal):
    tty = terminal()
    show(choose(False, False, tty, past=study([0.79])), [{"event": "stop", "reason": "8 hours are over"}])
    last = screens(tty)[-1]
    assert "1 keep, 0 discard, 0 crash" in last and "stop: 8 hours are over" in last


def test_an_old_windows_code_page_gets_ascii(terminal):
    tty = terminal()
    tty.encoding = "cp437"
    show(choose(False, False, tty), study([0.79], "WIDTH 4 → 5 漢字"))
    assert tty.getvalue().isascii() and "WIDTH 4 ? 5 ??" in tty.getvalue()


def test_progress_may_be_told_as_often_as_one_likes(terminal):
    tty = terminal()
    panel = choose(False, False, tty)
    start = time.monotonic()
    with panel:
        for step in range(3000):
            panel.progress(1, 1, Progress("training", step / 100, step / 3000))
    due = (time.monotonic() - start) / PANEL_SECONDS
    assert len(screens(tty)) <= due + 5  # the first, one at each due time, the last and what Live draws at its ends


def test_unknown_numbers_are_left_out(terminal):
    tty = terminal()
    show(choose(False, False, tty), study([0.79]), Progress("startup", 12.0))
    assert re.search(r"│ startup ─+ 0:12 +│", "".join(screens(tty)))


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
