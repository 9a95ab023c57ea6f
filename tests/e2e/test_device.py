"""--device, on a machine of several cards that the null backend plays: what is taken reaches the cell, and the study keeps it."""

import json

import pytest
import studies

from autoresearch.hardware.autotune import tune
from autoresearch.hardware.devices import registry
from autoresearch.hardware.planner import plan
from autoresearch.study import terms, workspace
from autoresearch.study.ledger import read

BUSY = {"id": "A", "name": "card", "memory_bytes": 24 << 30, "free_bytes": 1 << 30, "busy": 0.98, "display": True}
IDLE = {"id": "B", "name": "card", "memory_bytes": 24 << 30, "free_bytes": 23 << 30, "busy": 0.0, "display": False}


@pytest.mark.slow
def test_a_study_stays_on_the_device_that_it_began_on(tmp_path, corpus, typed, monkeypatch):
    def plays(*cards):
        found = [{"index": index} | card for index, card in enumerate(cards)]
        monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps(found))

    folder, profile = tmp_path / "study", studies.write_profile(tmp_path)
    at = ("--workspace", str(folder))
    plays(BUSY, IDLE)
    status, out, complaint = typed(
        "init", str(folder), "--backend", "null", "--profile", str(profile), "--corpus", str(corpus), "--decide", "strict"
    )
    assert status == 0, complaint
    assert "device    device 1 of 2 (card): 23.0 GB free; device 0: 1.0 GB free, 98% busy, draws a desktop\n" in out
    assert '\ndevice_id = "B"\n' in (folder / "study.toml").read_text()
    train_py = (folder / "train.py").read_text()
    said = 'def main() -> None:\n    import os\n\n    print("on", os.environ.get("AUTORESEARCH_NULL_DEVICE"))'
    (folder / "train.py").write_text(train_py.replace("def main() -> None:", said))

    plays(IDLE, BUSY)  # another slot, and the other card is free
    status, _, complaint = typed("train", *at)
    assert status == 0 and "device 0 of 2 (card): the study's own; 23.0 GB free" in complaint
    assert "on 0\n" in (folder / ".autoresearch/runs/train/log.txt").read_text()
    status, *_ = typed("run", *at, "--experiments", "0", "--agent", "search", "--plain", "--device", "1")
    assert status == 0
    begun = [event for event in read(folder / ".autoresearch/events.jsonl") if event["event"] == "begin"]
    assert begun and {event["device_id"] for event in begun} == {"A"}

    plays(BUSY)
    status, _, complaint = typed("train", *at)
    assert (status, complaint.splitlines()[-1]) == (
        2, "error: the device that the study began on (B) is not in this computer (there are: 0 card); put it back, or name one "
        "that is like it with --device",
    )  # fmt: skip
    assert terms.ready(workspace.load(folder), 0, device="0").backend.card.id == "A", "it is like it"


def test_each_card_has_a_place_of_its_own_among_what_autotune_remembers(monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps([{"index": 0} | BUSY, {"index": 1} | IDLE]))
    found = {tune._key(plan.make("null", "null", device)) for device in ("0", "1", None)}
    assert len(found) == 2


def test_a_wrong_device_is_one_line_that_says_what_there_is(typed, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps([{"index": 0} | BUSY, {"index": 1} | IDLE]))
    for words in (("doctor", "--backend", "null"), ("bench", "--backend", "null"), ("backends", "check", "null")):
        status, _, complaint = typed(*words, "--device", "h100")
        assert status == 2 and complaint.endswith(
            "error: there is no device 'h100' (there are: 0 card, 1 card); name one of these by its number\n"
        )
    status, _, complaint = typed("bench", "--backend", "cpu", "--device", "0")
    assert (status, complaint) == (2, "error: the backend cpu has one device and none to choose; leave --device out\n")
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", "")
    complaint = typed("bench", "--backend", "null", "--device", "0")[2]
    assert "null (Null (simulated, trains nothing)) was asked for its devices and lists none; leave --device out; " in complaint


def test_the_report_names_the_device_and_not_its_id(typed, monkeypatch):
    null = registry.scan()["null"]
    monkeypatch.setattr("autoresearch.checks.checkup.registry.scan", lambda: {"null": null})
    monkeypatch.setenv("AUTORESEARCH_NULL_DEVICES", json.dumps([{"index": 0} | BUSY, {"index": 1} | IDLE]))
    status, out, _ = typed("doctor", "--backend", "null", "--device", "0", "--corpus", "stdlib", "--json")
    chosen = json.loads(out)["chosen"]
    assert status == 0 and chosen["device_reason"].startswith("device 0 of 2 (card): asked for") and "device_id" not in out
