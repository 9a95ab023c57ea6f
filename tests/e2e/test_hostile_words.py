"""A night with a train.py that attacks its readers: by its words, by numbers that can't be, by what it says while it is scored."""

import json
import unicodedata

import pytest
import studies
from studies import BETTER, START, TRAINS, play, state_of

from autoresearch.agents.llm import prompt
from autoresearch.propose.views import Views
from autoresearch.report import answers
from autoresearch.run import scoring
from autoresearch.study import lines
from autoresearch.study.ledger import read
from autoresearch.study.store import Store

NASTY = "\\x1b]0;owned\\x07\\x1b[2J\\u202eevil\\u200b\\x9b31m"  # as a source writes it
SAYS = f"import sys; print('{NASTY}', file=sys.stderr, flush=True); "
BEFORE_READY = f"{START}{SAYS}raise RuntimeError('{NASTY}' + 'x' * 5000)\n"
WHILE_TRAINING = f"{TRAINS}{SAYS}raise RuntimeError('{NASTY}')\n"
BAD_NUMBERS = f"{TRAINS}run._channel.send({{'type': 'step', 'loss': 1.0, 'tokens': 10**30, 'progress': 0.5}})\n"
WHILE_SCORED = f"""{START}import runtime
class Model(runtime.Table):
 calls = 0
 def __call__(self, ids):
  self.calls += 1
  if self.calls <= 2: return super().__call__(ids)  # of the stand-in rows, and of one
  {SAYS}raise RuntimeError('THE-ROWS-I-SAW')
def build_model(spec): return Model(spec.vocab_size)
if __name__ == '__main__':
 run = measure.start()
 model = build_model(run.spec)
 for step in run.steps(lambda path: runtime.save_weights(model, path)): run.batch(1)
"""


def is_harmless(text: str) -> bool:
    return not [letter for letter in text if letter != "\n" and unicodedata.category(letter) in ("Cc", "Cf", "Cs")]


@pytest.mark.slow
def test_a_night_of_attacks_on_its_readers(tmp_path, corpus, typed):
    study, setup = studies.make(tmp_path / "study", corpus)
    outcome, recorder = play(study, setup, [BEFORE_READY, WHILE_TRAINING, BAD_NUMBERS, WHILE_SCORED, BETTER], pictures=True)
    state = state_of(study)
    assert "steps are done" in outcome.reason and state.skipped == []
    assert [one.verdict for one in state.experiments] == ["keep", "crash", "crash", "crash", "keep"]
    assert [one.state for one in state.rejections] == ["crash"] and len(state.rejections[0].reason) < 4001
    # What it said while it was scored is nowhere.
    assert state.experiments[3].reason == scoring.FAILED["crash"]
    assert b"THE-ROWS-I-SAW" not in study.events.read_bytes()
    views = Views(study, Store(study.folder, study.tag))
    past = views.history(state)[4]
    assert past.number == 3 and "THE-ROWS-I-SAW" not in past.reason + past.log
    # What is shown, and what an agent is told.
    names = ("--workspace", str(study.folder))
    for words in (("status",), ("results",), ("best",), ("show", "1"), ("show", "2"), ("show", "3"), ("show", "4")):
        status, shown, complaint = typed(*words, *names)
        assert status == 0 and is_harmless(shown + complaint) and not complaint
        json.loads(typed(*words, *names, "--json")[1])
    assert is_harmless(json.dumps([answers.show(study, 1), answers.results(study), answers.status(study)], ensure_ascii=False))
    told = "".join(block["text"] for block in prompt.content(views.view(state), ""))
    assert is_harmless(told.replace(state.best.commit, "")) and "evil" in told
    assert is_harmless((study.folder / "results.tsv").read_text(encoding="utf-8").replace("\t", " "))
    _, _, complaint = typed("show", "1", "--workspace", "no\x1b[2J\u202ewhere")
    assert "where" in complaint and is_harmless(complaint)
    skipped_lines_are_told(study, typed)
    again, recorder = play(study, setup, [BEFORE_READY, WHILE_TRAINING, BAD_NUMBERS, WHILE_SCORED, BETTER], pictures=True)
    assert "steps are done" in again.reason and any("skipped 1 of the ledger's lines" in note for note in recorder.notes)


def skipped_lines_are_told(study, typed) -> None:
    """An earlier version wrote what an attack gave it: a keep without a score."""
    events = read(study.events)
    at = next(event for event in events if event["event"] == "verdict" and event["n"] == 4)
    at |= {"val_bpb": None, "scores": []}
    next(event for event in events if event["event"] == "start" and event["n"] == 3)["reasoning"] = "a\x1b[2Jb\n\u202ec\x9b"
    check, data = "", b""
    for event in events:
        line, check = lines.encode(event, check)
        data += line
    study.events.write_bytes(data)
    why = f"skipped 1 of the ledger's lines, which say what can't be (line {at['seq']}, verdict: verdict is keep without"
    names = ("--workspace", str(study.folder))
    assert why in typed("status", *names)[1] and why in typed("results", *names)[2]
    assert json.loads(typed("status", *names, "--json")[1])["skipped"] == 1
    shown = typed("show", "3", *names)[1]
    assert "  a [2Jb\n   c" in shown and is_harmless(shown)
    assert typed("best", *names)[0] == typed("show", "4", *names)[0] == typed("report", *names)[0] == 0
