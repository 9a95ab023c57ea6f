"""Does the backend's device work inside of the cell? `doctor` asks it there."""

import pytest

from autoresearch.checks.in_cell import probe_in_cell
from autoresearch.hardware.devices import registry
from autoresearch.sandbox import levels

LEVEL = levels.reach().level
pytestmark = pytest.mark.skipif(LEVEL < 2, reason="no sandbox here")

# A driver that wants more than the cell gives: outside it answers, inside it does not start.
RUNTIME = """
import json, socket, sys
def probe():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError as error:
        return {"ok": False, "reason": f"the driver does not start: {error.strerror}", "cure": None}
    return {"ok": True, "device": "a card", "dtype": "float32", "dtype_reason": "-", "compile": False, "compile_reason": "-",
            "attention": "none", "attention_reason": "-", "memory_bytes": 1 << 34}
if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
"""
BACKEND = 'title = "A card"\nrank = 200\nauto = true\ntrain = "train.py"\nrequires = []\n'


@pytest.fixture
def card(tmp_path, monkeypatch):
    folder = tmp_path / "plugin" / "card"
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text(BACKEND)
    (folder / "runtime.py").write_text(RUNTIME)
    (folder / "train.py").write_text("DEPTH = 1\n")
    return registry.read("card", folder)


def test_a_device_that_starts_outside_and_not_in_the_cell_is_told(card):
    assert probe_in_cell(card, LEVEL) == "the driver does not start: Operation not permitted"
    assert probe_in_cell(card, 0) is None


def test_doctor_ends_with_1_and_the_drivers_reason(card, typed, monkeypatch):
    backends = registry.scan()
    monkeypatch.setattr("autoresearch.checks.checkup.registry.scan", lambda: {"null": backends["null"], "card": card})
    monkeypatch.setattr("autoresearch.checks.checkup.plan.from_choice", lambda *_: None)  # it has no profile
    monkeypatch.setattr("autoresearch.checks.checkup._chosen", lambda *_: {"backend": "null"})
    monkeypatch.setattr("autoresearch.commands.doctor._choice_lines", lambda chosen: [])
    status, out, _ = typed("doctor", "--backend", "card", "--plain")
    assert status == 1 and "problem: card works, but not in the sandbox that trainings get: the driver does not start" in out


@pytest.mark.parametrize("name", ["null", "cpu"])
def test_what_works_works_in_the_cell_too(name):
    assert probe_in_cell(registry.scan()[name], LEVEL) is None
