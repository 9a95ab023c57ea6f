"""The screen of `run` and `watch`, as a pure function: what stands in it at which size, and that it can be read."""

import io
import re
from dataclasses import replace
from datetime import datetime

import pytest
from report_events import night, study
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from autoresearch.hardware.now.health import Health
from autoresearch.report import screen
from autoresearch.report.chart import chart
from autoresearch.report.screen import Digest, Terminal, View
from autoresearch.run.setup import Progress
from autoresearch.study.experiments import Experiment
from autoresearch.study.interrupts import SAID_ONCE
from autoresearch.study.state import State

TRAINING = Progress("training", 75.0, 0.25, 2.345, 21345.6)
HEALTH = Health(0.34, 62.0, "k10temp", 3200.0, 80, on_battery=True)
WAITING = "contended: others take 40% of the cores; the next check in 20 s"


def view(events, **more) -> View:
    known = {"progress": TRAINING, "train_seconds": 300.0, "startup_limit_seconds": 600.0, "health": HEALTH, "machine": "a machine"}
    return View(State.from_events(events), datetime(2026, 1, 3, 1, 0), **known | more)


def drawn(shown: View, terminal: Terminal) -> list[str]:
    console = Console(file=io.StringIO(), width=terminal.width, height=terminal.height)
    console.print(screen.screen(shown, terminal))
    return console.file.getvalue().splitlines()


def said(lines: list[str]) -> str:
    """The text in the frame, unfolded."""
    return " ".join(" ".join(line.strip("│|") for line in lines).split())


@pytest.mark.parametrize(("columns", "rows"), [(60, 24), (80, 24), (120, 40)])
@pytest.mark.parametrize("note", [WAITING, SAID_ONCE])
def test_what_one_has_to_know_is_whole_on_a_narrow_terminal(columns, rows, note):
    events = study(night(40))[:-2]
    events[-2]["reasoning"] = "the reason that an agent gives " * 9
    events.insert(-1, {**events[0], "event": "asked", "agent": "claude", "model": "m", "outcome": "answered", "seconds": 1.0,
                       "cost_usd": 1.2})  # fmt: skip
    shown = view(events, note=note, keys="Ctrl-C stops after this run", thinks=("claude", 130.0))
    lines = drawn(shown, Terminal(columns, rows))
    text = said(lines)
    assert len(lines) <= rows and {cell_len(line) for line in lines[:-1]} == {columns}
    assert (
        re.search(r"training ━+─+ 25 %, 3:45 left, .*loss 2.345", text) and note in text and "Ctrl-C stops after this run" in text
    )
    assert "best val_bpb 0.7938 by experiment 29, 0.0062 +- 0.0012 (0.8 %) below the baseline" in text
    assert "Believe it for this text: the gain is 5.3 times its standard error; text that no decision saw is scored" in text
    assert "3 keep, 36 discard, 0 crash; 6:40 each, at this pace 93 by 07:00" in text
    assert "next: claude is thinking (2:10)" in text and ("why: the reason that an agent gives" in text or rows < 30)
    assert "1.20 USD for 1 request · memory 34 % · 62 °C (k10temp) · 3.2 GHz · battery 80 %, not plugged in" in text
    assert " 39 discard" in text and re.search(r"val_bpb 0 .* 39 ", text)


@pytest.mark.parametrize(("columns", "rows"), [(8, 4), (20, 10), (40, 12), (80, 24), (300, 90)])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_every_terminal(columns, rows, encoding):
    events = study(night(12), "漢字 and a long description " * 9)
    lines = drawn(view(events, note="a note " * 40, machine="a long name " * 9), Terminal(columns, rows, encoding))
    assert len(lines) <= rows and max(map(cell_len, lines)) == columns
    assert encoding == "utf-8" or "".join(lines).isascii()


def test_the_words_of_others_move_nothing():
    nasty = "[bold]x[/bold] \x1b[2J\x07 line\nbreak \u202eevil"
    events = study([0.79, None], nasty)[:-2]
    events[-2]["reasoning"] = nasty
    shown = view(events, note=nasty, machine=nasty, idle=(nasty, 3.0), thinks=(nasty, 1.0), away=nasty, keys=nasty)
    for seen in (shown, replace(shown, progress=None, away="")):
        text = "\n".join(drawn(seen, Terminal(100, 40)))
        assert text.count("[bold]x[/bold] [2J line break evil") >= 4 and not set("\x1b\x07\u202e") & set(text)


def test_the_baseline_says_which_run_it_is_and_when_the_first_score_is_there():
    events = study([])
    first = next(at for at, event in enumerate(events) if event["event"] == "run")
    text = said(drawn(view(events[:first]), Terminal(80, 24)))
    assert "the baseline, run 1 of 3 (seed 1)" in text
    assert "no val_bpb yet, 3 runs make the baseline; the first after 3:45 of training and its scoring" in text
    events[first] |= {"total_seconds": 400.0, "startup_seconds": 60.0, "scoring_seconds": 40.0}
    text = said(drawn(view(events[: first + 2]), Terminal(80, 24)))
    assert "the baseline, run 2 of 3 (seed 2)" in text
    assert "the baseline's run so far: 0.8010; the next in about 4:25, the baseline in about 11:05" in text


def test_a_start_up_has_a_bar_only_where_its_length_is_known():
    events = study([0.79])
    text = said(drawn(view(events, progress=Progress("startup", 12.0, 0.02)), Terminal(80, 24)))
    assert "startup 0:12, at most 10:00" in text and "━" not in text.split("startup")[1].split("at most")[0]
    next(event for event in reversed(events) if event["event"] == "run")["startup_seconds"] = 40.0
    assert re.search(
        r"startup ━+─+ 0:12, about 0:28 left", said(drawn(view(events, progress=Progress("startup", 12.0)), Terminal(80, 24)))
    )
    assert "startup 0:52, the last one took 0:40" in said(drawn(view(events, progress=Progress("startup", 52.0)), Terminal(80, 24)))


def test_where_no_run_is_at_work_that_is_what_it_says():
    text = said(drawn(view(study([0.79])[:-1], away="no run is at work", note="no run is at work"), Terminal(80, 24)))
    assert text.count("no run is at work") == 1 and "training" not in text and "experiment 1 run" not in text


def test_unknown_health_is_left_out():
    text = said(drawn(view(study([0.79]), health=Health()), Terminal(80, 24)))
    assert "n/a" not in text and "memory" not in text


def test_the_chart_shows_the_best_as_a_line_and_the_others_as_dots():
    scores, best = (0.80, 0.79, 0.85, None, 0.78), (0.80, 0.79, 0.79, 0.79, 0.78)
    rows = ["".join(letter for letter, _ in row) for row in chart(scores, best, 5, 5, True)]
    assert rows == ["  .  ", "     ", "--   ", " ----", "    -"]
    braille = chart(scores, best, 5, 3, False)
    assert ["".join(letter for letter, _ in row) for row in braille] == ["  ⠁  ", "⣀⡀   ", " ⠓⠒⠒⣆"]
    assert [on_line for _, on_line in braille[1]] == [True, True, False, False, False]
    # One experiment far out does not press the others flat: it lies on the upper edge.
    assert screen.limits((0.80, 0.79, 90.0), (0.80, 0.79, 0.79)) == (0.79, pytest.approx(0.815))


# What terminals make of the 16 colours that a theme sets (their documented defaults), for red, green, yellow, blue, magenta, cyan.
THEMES = {
    "xterm": "cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd",
    "Windows Terminal": "c50f1f 13a10e c19c00 0037da 881798 3a96dd",
    "macOS Terminal": "990000 00a600 999900 0000b2 b200b2 00a6b2",
    "GNOME": "c01c28 26a269 a2734c 12488b a347ba 2aa1b3",
}
READABLE = 4.5  # WCAG 2's least contrast of text


def luminance(red: int, green: int, blue: int) -> float:
    """WCAG 2's, of 8-bit sRGB."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red / 255, green / 255, blue / 255)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: tuple[int, int, int]) -> float:
    """The smaller of those against white and against black."""
    light = luminance(*colour)
    return min(1.05 / (light + 0.05), (light + 0.05) / 0.05)


def test_every_colour_can_be_read_on_white_and_on_black():
    for name, words in screen.COLOURS.items():
        style = Style.parse(words)
        assert not style.dim and (not style.color or style.color.number >= 16), f"{name}: one that no theme changes"
        assert not style.color or contrast(style.color.get_truecolor()) >= READABLE, name
    themes = [tuple(bytes.fromhex(code)) for line in THEMES.values() for code in line.split()]
    assert all(contrast(colour) < READABLE for colour in themes), "why none of these is used"
    assert all(Style.parse(words).color is None for words in screen.PLAIN.values())


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_no_other_colour_gets_onto_the_terminal(system):
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=system)
    console.print(screen.screen(view(study([0.79, 0.80, None])), Terminal(80, 24, colours=system != "standard")))
    used = set(re.findall(r"\x1b\[([\d;]*)m", console.file.getvalue()))
    known = {style.color.number for words in screen.COLOURS.values() if (style := Style.parse(words)).color}
    allowed = {f"{bold}38;5;{number}" for number in known for bold in ("", "1;")} if system != "standard" else set()
    assert used <= allowed | {"0", "1", "1;39"} and len(used) > 1


def test_what_did_not_change_is_not_looked_at_again(monkeypatch):
    """A panel draws after each event: at 100,000 experiments each would take a second."""
    events = study([*night(60), 0.1])
    which = {"n": 61, "k": 2, "seed": 9, "folder": "again"}
    last = {"time": events[-1]["time"]}
    events += [{"event": "begin", **which, **last}, {"event": "run", **which, **last, "status": "ok", "val_bpb": 0.2}]
    events += [{"event": "revoked", "n": 61, "reason": "it cheats", **last}]
    state, digest, looked = State(), None, []
    score = Experiment.val_bpb
    monkeypatch.setattr(Experiment, "val_bpb", property(lambda one: looked.append(one.number) or score.fget(one)))
    for line, event in enumerate(events, 1):
        assert state.apply(event | {"seq": line})
        looked.clear()
        digest = Digest.of(state, digest)
        assert len(looked) <= 3, event
        assert digest == Digest.of(state)
