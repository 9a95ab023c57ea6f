"""Nothing is silent: what is under way counts on, in the bars before a run and in what a run tells its listener."""

import re
import time

import pytest
import studies
from scripted import Scripted
from studies import Recorder

from autoresearch.agents.mix import Agents
from autoresearch.commands import bars
from autoresearch.loop.loop import Until, run_study


class Fractions(Recorder):
    """A listener that remembers how far each phase was, in the order of time."""

    def __init__(self):
        super().__init__()
        self.told = {}

    def progress(self, number, run, progress) -> None:
        super().progress(number, run, progress)
        self.told.setdefault((number, run, progress.phase, progress.detail), []).append(progress.fraction)


@pytest.mark.slow
def test_a_phase_never_goes_back_and_says_what_is_scored(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus)
    listener = Fractions()
    run_study(study, setup, Agents(Scripted([])), Until(), listener)
    baseline = {
        (phase, detail): fractions for (number, run, phase, detail), fractions in listener.told.items() if (number, run) == (0, 1)
    }
    assert {detail for phase, detail in baseline if phase == "scoring"} == {"validation text", "test text", "slice text"}
    assert set(baseline["startup", ""]) <= {None}  # nobody knows how long it takes
    for fractions in (baseline["audit", ""], baseline["scoring", "validation text"]):
        known = [fraction for fraction in fractions if fraction is not None]
        assert known == sorted(known) and known[-1] == 1.0 and 0 < known[0] < 0.2


def test_without_a_terminal_what_takes_long_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(bars, "LINE_SECONDS", 0.01)
    said = ""
    with bars.bars(quiet=False, plain=True) as shown:
        shown("looking", 0, None)
        shown("reading", 2_000_000, 8_000_000)
        while "reading: " not in said:
            said += capsys.readouterr().err
            time.sleep(0.01)
    assert said.startswith("looking\n") and said.count("\nreading (8.0 MB)\n") == 1
    assert re.search(r"^reading: 2\.0 of 8\.0 MB, \d+ s so far$", said, re.MULTILINE)


def test_on_a_terminal_time_is_counted_where_nothing_else_can_be(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bars.bars(quiet=False, plain=False) as shown:
        shown("looking at the machine", 0, None)
        shown.say("a line that stays")
        shown("reading", 8_000_000, 8_000_000)  # its last byte is no end: what was read is worked on
        said, end = "", time.monotonic() + 30
        while "0:00:01" not in said and time.monotonic() < end:
            said += capsys.readouterr().err
            time.sleep(0.1)
    assert "0:00:01" in said
    assert "looking at the machine" in said and "0:00:00" in said and "8.0 of 8.0 MB" in said
    assert "0.0 MB" not in said and "bytes" not in said
    assert re.search(r"[\rK\n]a line that stays *\n", said)  # not behind the bar
