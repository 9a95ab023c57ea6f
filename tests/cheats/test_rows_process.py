"""What a train.py of a task of whole questions may try with its two processes, without a sandbox: what it says, saves, takes and
writes. tests/toy on the null backend."""

import json
import textwrap
from pathlib import Path

import pytest

from autoresearch.hardware.devices import registry as devices
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup
from autoresearch.task import registry, table

pytestmark = pytest.mark.slow
TOY = Path(__file__).parents[1] / "toy"
TEXT = (TOY / "null" / "train.py").read_text(encoding="utf-8")
AT_STEP, AT_ANSWER = "        batch = run.batch(ROWS)", '    z = model(inputs["x"])'
SAVE = "save=lambda path: runtime.save_weights(model, path)"
HEAD = """
import os, sys, threading
ASKED = [0]

def raw(run, line):
    run._channel._writer.write(line)
    run._channel._writer.flush()

def slots():
    frame = sys._getframe()
    while "slots" not in frame.f_locals or "job" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["job"]["slots"], frame.f_locals["slots"], frame.f_locals["channel"]

"""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        toy = table.read(TOY)
        options = {"hardness": 1.0}
        prepared = registry.kind(toy).prepared_from(toy, table.Source("made", "the task's own"), options, None, lambda *_: None)
        task = registry.bound(toy, prepared, options, None)
        yield Setup(devices.scan()["null"], task, train_seconds=0.2, startup_limit_seconds=20, sandbox=0)


def at(place, code, text=TEXT):
    assert text.count(place) == 1
    indent = place[: len(place) - len(place.lstrip())]
    return HEAD + text.replace(place, textwrap.indent(textwrap.dedent(code).strip(), indent) + "\n" + place)


def saving(code):
    """A save of its own: code runs after the file is written."""
    body = textwrap.indent(textwrap.dedent(code).strip(), "        ")
    start = "    run.describe(num_params"
    text = TEXT.replace(start, f"    def save(path):\n        runtime.save_weights(model, path)\n{body}\n\n{start}")
    return HEAD + text.replace(SAVE, "save=save")


def says(line):
    return at(AT_STEP, f"raw(run, {line!r} + b'\\n')")


def in_scoring(code):
    return at(AT_ANSWER, f"ASKED[0] += 1\nif ASKED[0] == 4:\n{textwrap.indent(textwrap.dedent(code).strip(), '    ')}")


def answering(value):
    return TEXT.replace("return np.stack([-z, z], axis=1)", f"return {value}")


REFUSED = {  # train.py, status
    "no steps end": (at("    for step in run.steps", "run.budget_seconds = 1000"), "timeout"),
    "time ahead": (TEXT.replace(SAVE, SAVE + ", ahead=-(10**9)"), "timeout"),
    "trains while it saves": (saving("ASKED[0] += 1\nif ASKED[0] > 1: time.sleep(30)"), "timeout"),
    "the weights are a link": (saving("os.remove(path); os.symlink('/etc/passwd', path)"), "crash"),
    "the weights are code": (saving("import pickle; open(path, 'wb').write(pickle.dumps({'weights': print}))"), "crash"),
    "no weights": (saving("open(path, 'wb').close()"), "crash"),
    "ended too early": (says(b'{"type": "ended"}'), "crash"),
    "saved nothing": (says(b'{"type": "saved", "steps": 3}'), "invalid"),
    "asks for rows that nobody has": (says(b'{"type": "batch", "rows": -1, "seq_len": 1, "ahead": false}'), "invalid"),
    "asks for all memory": (says(b'{"type": "batch", "rows": 100000000000, "seq_len": 1, "ahead": false}'), "invalid"),
    "a loss that is a word": (says(b'{"type": "step", "loss": "nan", "progress": 0.5}'), "invalid"),
    "says that it scored": (says(b'{"type": "scored", "slot": 0}'), "invalid"),
    "NaN": (answering("np.nan * np.stack([-z, z], axis=1)"), None),
    "an array that would be spread out": (answering("np.stack([-z, z], axis=1)[:1]"), "crash"),
    "a slot cut short": (in_scoring("os.truncate(slots()[0][ASKED[0] % 2], 0); os.truncate(slots()[0][0], 0)"), "crash"),
    "answers what was not asked": (in_scoring("slots()[2].send({'type': 'scored', 'slot': 1 - ASKED[0] % 2})"), None),
    "a slot of its own choice": (in_scoring("slots()[2].send({'type': 'scored', 'slot': -1})"), "invalid"),
    "never answers": (in_scoring("os._exit(0)"), "crash"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_no_result(name, setup, tmp_path):
    text, status = REFUSED[name]
    result = execute(setup, text, 1, tmp_path)
    if status is None:  # the accuracy of this task takes NaN for an answer: one that is wrong
        assert not result.ok or setup.task.metric.shown(result.val_bpb) < 0.7
    else:
        assert result.status == status, result.reason
    assert result.ok or result.val_bpb is None


def honest(setup, tmp_path):
    result = execute(setup, TEXT, 1, tmp_path / "honest")
    assert result.ok, result.reason
    return result


LIES = {
    "of itself": "run.describe(num_params=float('nan'), depth=-3, peak_memory_bytes='much')",
    "of an endless number": """raw(run, b'{"type": "facts", "facts": {"num_params": ' + b'9' * 6000 + b'}}\\n')""",
    "deep ones": """raw(run, b'{"type": "facts", "facts": ' + b'[' * 50000 + b']' * 50000 + b'}\\n')""",
}


@pytest.mark.parametrize("name", LIES)
def test_lies_change_no_score_and_are_not_believed(name, setup, tmp_path):
    (tmp_path / "lies").mkdir()
    (tmp_path / "honest").mkdir()
    result = execute(setup, at("    for step in run.steps", LIES[name]), 1, tmp_path / "lies")
    assert not result.ok or result.val_bpb == honest(setup, tmp_path).val_bpb
    assert result.num_params in (None, 6) and result.depth is None and result.peak_memory_bytes is None
    json.dumps(result.to_json(), allow_nan=False)
