"""`autoresearch report-hardware`: one file with all that a machine itself can show, also where a part of it fails."""

import json
import os
from pathlib import Path

import pytest

from autoresearch.bench import hardware_report, measure
from autoresearch.checks import checkup, trial
from autoresearch.checks.conformance import suite
from autoresearch.checks.conformance.contracts import Checked
from autoresearch.errors import RunFailed
from autoresearch.hardware.devices import detect, registry

CALL = ("report-hardware", "--backend", "null", "--profile", "null", "--corpus", "stdlib", "--train-seconds", "1", "--plain")


@pytest.fixture
def few(monkeypatch, tmp_path):
    """The attempts, the contracts and the probes of other backends have tests of their own, and take a minute."""
    null = registry.scan()["null"]
    monkeypatch.setattr(registry, "scan", lambda: {"null": null})
    monkeypatch.setattr(trial, "run", lambda level, on_result: [trial.Result("a", "one", False, "closed", True)])
    monkeypatch.setattr(suite, "check", lambda backend: iter([Checked("probe", "pass", "0.1 s"), Checked("golden", "n/a")]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_everything_is_in_one_file_without_the_persons_paths(few, typed):
    status, out, told = typed(*CALL)
    assert (status, out) == (0, "written to hardware-simulated.json; attach it to an issue (template: a hardware report)\n")
    steps = [
        "doctor: asking",
        "attack: trying",
        "contracts: holding",
        "  probe: pass",
        "bench: passed",
    ]
    assert sorted(steps, key=told.index) == steps
    text = (few / "hardware-simulated.json").read_text()
    found = json.loads(text)
    assert found["kind"] == hardware_report.KIND and found["failed"] == {} and found["device"] == "simulated"
    assert found["doctor"]["chosen"]["backend"] == "null" and found["attack"]["attempts"] == 1 and found["attack"]["open"] == []
    assert [one["result"] for one in found["contracts"]["results"]] == ["pass", "n/a"]
    assert found["bench"]["profiles"][0]["val_bpb"] > 0 and set(found["seconds"]) == {"doctor", "attack", "contracts", "bench"}
    assert f"{Path.home()}/" not in text


@pytest.mark.slow
def test_what_fails_is_named_and_the_rest_is_made_all_the_same(few, typed, monkeypatch):
    def fails(*_):
        raise RunFailed("oom", "no room on the card")

    monkeypatch.setattr(measure, "measure", fails)
    monkeypatch.setattr(trial, "run", lambda level, on_result: [trial.Result("a", "one", True, "open", True)])
    monkeypatch.setattr(suite, "check", lambda backend: iter([Checked("trains", "fail", "crash", "mend it")]))
    status, _, told = typed(*CALL, "--output", "mine.json")
    assert status == 1 and "attack: 1 open that the sandbox promises closed: a" in told and "contracts: trains (crash)" in told
    found = json.loads((few / "mine.json").read_text())
    assert set(found["failed"]) == {"attack", "contracts", "bench"} and "oom: no room on the card" in found["failed"]["bench"]
    assert found["doctor"]["problem"] is None


def test_what_is_known_at_ctrl_c_is_written(few, typed, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkup, "examine", lambda *_, **__: {"problem": None})
    monkeypatch.setattr(suite, "check", interrupted)
    status, out, _ = typed(*CALL, "--output", "part.json")
    assert (status, out) == (
        130,
        "interrupted in contracts; what is known by then is written to part.json: run it again for the rest\n",
    )
    found = json.loads((few / "part.json").read_text())
    assert found["interrupted"] == "contracts" and found["attack"]["attempts"] == 1 and "bench" not in found
    monkeypatch.setattr(detect, "detect", interrupted)
    status, _, told = typed(*CALL, "--output", "none.json")
    assert status == 130 and "nothing was written: run it again\n" in told and not (few / "none.json").exists()


def test_a_wrong_call_is_told_at_once(few, typed, monkeypatch):
    status, _, complaint = typed(*CALL, "--output", "no/such/folder/x.json")
    assert status == 2 and "there is no folder no/such/folder; make it, or name another file by --output" in complaint
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "can be written into the folder .; name another file by --output" in typed(*CALL)[2]
    assert typed(*CALL[:-2], "0")[0] == 2 and not list(few.glob("*.json"))
