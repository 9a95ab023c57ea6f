"""A battery before and in a study, and the conditions that the ledger keeps of each run."""

import json
import sys
from dataclasses import replace

import pytest
import studies
from scripted import Scripted
from studies import BETTER, WORSE, check_in_line, play, state_of

from autoresearch.agents.mix import Agents
from autoresearch.cli import cli
from autoresearch.errors import UsageError
from autoresearch.hardware.now import power
from autoresearch.loop import loop
from autoresearch.study.ledger import Ledger, read
from autoresearch.study.session import conditions_for

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the power supply is no folder that could lie somewhere else")


@pytest.fixture
def battery(tmp_path, monkeypatch):
    """System files of a laptop on battery; the folder of one that can be plugged in."""
    for name, facts in {
        "BAT0": {"type": "Battery", "present": "1", "status": "Discharging", "capacity": "63"},
        "AC": {"type": "Mains", "online": "0"},
    }.items():
        folder = tmp_path / "system/sys/class/power_supply" / name
        folder.mkdir(parents=True)
        for fact, value in facts.items():
            (folder / fact).write_text(value, encoding="ascii")
    monkeypatch.setattr(power, "ROOT", tmp_path / "system")
    return folder


@linux
@pytest.mark.parametrize("words", [["run", "--backend", "null", "--experiments", "0"], ["try", "-m", "mine"], ["train"]])
def test_on_battery_nothing_begins_before_it_is_allowed(tmp_path, corpus, battery, monkeypatch, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (studies.make(tmp_path / "study", corpus)[0].folder, tmp_path / "empty"):
        before = sorted(folder.rglob("*"))
        with pytest.raises(UsageError, match=r"on its battery \(63 % left\).*plug it in, or add --on-battery$"):
            cli.main([*words, "--workspace", str(folder)], standalone_mode=False)
        assert sorted(folder.rglob("*")) == before
    (battery / "online").write_text("1", encoding="ascii")
    with pytest.raises(UsageError, match=r"no study in|no backend 'none'"):
        cli.main([*words, *(["--backend", "none"] if words[0] == "run" else [])], standalone_mode=False)


@linux
@pytest.mark.slow
def test_on_battery_when_it_is_allowed_the_study_says_so_once(tmp_path, corpus, battery, capsys):
    study, _ = studies.make(tmp_path / "study", corpus)
    command = ["run", "--workspace", str(study.folder), "--on-battery", "--experiments", "1"]
    assert cli.main([*command, "--json"], standalone_mode=False) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len([one for one in events if one["event"] == "begin"]) == 2
    assert [one["reason"] for one in events if one["event"] == "note"] == ["on battery, 63 % full: most computers run slower then"]
    assert cli.main([*command, "--plain"], standalone_mode=False) == 0
    assert capsys.readouterr().out.count("on battery, 63 % full") == 1
    begins = [one["conditions"] for one in read(study.events) if one["event"] == "begin"]
    assert [(one["power"]["source"], len(one["warnings"])) for one in begins] == [("battery", 1)] * 3
    assert cli.main(["train", "--workspace", str(study.folder), "--on-battery"], standalone_mode=False) == 0
    assert "warning: on battery, 63 % full" in capsys.readouterr().err


@linux
@pytest.mark.slow
def test_a_plug_that_is_pulled_in_the_night_is_a_note(tmp_path, corpus, battery):
    study, setup = studies.make(tmp_path / "study", corpus)
    (battery / "online").write_text("1", encoding="ascii")

    class Puller(studies.Recorder):
        def event(self, event):
            super().event(event)
            if event["event"] == "verdict":
                (battery / "online").write_text("0", encoding="ascii")

    recorder = Puller()
    assert loop.run_study(study, setup, Agents(Scripted([BETTER, WORSE])), loop.Until(), recorder).exit_status == 0
    assert [note for note in recorder.notes if "battery" in note] == ["on battery, 63 % full: most computers run slower then"]
    sources = [one["conditions"]["power"]["source"] for one in recorder.events if one["event"] == "begin"]
    assert sources == ["mains", "battery", "battery"]


@pytest.mark.slow
def test_a_ledger_without_conditions_goes_on(tmp_path, corpus):
    """As it was written before there were any."""
    study, setup = studies.make(tmp_path / "study", corpus)
    play(study, setup, [BETTER], experiments=1)
    events = read(study.events)
    assert all(one["conditions"]["cores"] >= 1 for one in events if one["event"] == "begin")
    study.events.unlink()
    old = Ledger(study.events)
    for one in events:
        old.append(one["event"], **{name: one[name] for name in one if name not in ("seq", "time", "event", "conditions")})
    play(study, setup, [BETTER, WORSE])
    assert [one.verdict for one in state_of(study).experiments] == ["keep", "keep", "discard"]
    check_in_line(study)


def test_a_look_takes_a_hundredth_of_a_training_at_most(tmp_path, corpus):
    _, setup = studies.make(tmp_path / "study", corpus, train_seconds=300)
    assert 0 <= conditions_for(setup).load.share <= 1
    assert conditions_for(replace(setup, train_seconds=1.0)).load.share is None
