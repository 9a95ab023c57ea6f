"""What agent code reaches for beyond its run: refused by the harness itself, or, where it has the user's rights, by the sandbox."""

from dataclasses import replace

import pytest
from e2e import studies
from on_text import without_slice
from processes import BUILD, READY, STEP, Cheat, before
from test_memory import LEVEL, needs_level_2

from autoresearch.agents.base import LARGEST_BYTES
from autoresearch.propose.proposals import objection
from autoresearch.run.constraints import Constraints
from autoresearch.run.experiment import execute
from autoresearch.study.ledger import read
from autoresearch.study.state import State

pytestmark = pytest.mark.slow  # whole studies
# Its weights are the validation text itself, with the text's first tokens looked up: causal, and right about nothing else.
KNOWS_THE_TEXT = """
import numpy as np

class Reader(runtime.Table):
    known = None

    def __call__(self, ids):
        out = np.array(np.broadcast_to(self.logits[:320], (*ids.shape, 320)), np.float32)
        if self.known is None:
            text = self.logits[320:].astype(int).tolist()
            self.known = {tuple(text[at : at + 6]): text[at + 6] for at in range(len(text) - 6)}
        for b, row in enumerate(ids.tolist()):
            for t in range(5, len(row)):
                if (after := self.known.get(tuple(row[t - 5 : t + 1]))) is not None:
                    out[b, t, after] += 8
        return out

"""


@pytest.fixture
def made(tmp_path, corpus):
    return studies.make(tmp_path / "study", corpus)


@pytest.fixture
def begun(tmp_path, corpus):
    """With its baseline."""
    return studies.played(tmp_path / "study", corpus)


def knows_the_text(study, setup) -> str:
    path = str(setup.task.prepared.val_folder / "tokens.bin")
    known = f"import numpy as np\ntext = np.fromfile({path!r}, {setup.task.prepared.dtype!r})[:6000]"
    text = Cheat((BUILD, "    return Reader(spec.vocab_size)\n"), "", "", KNOWS_THE_TEXT).applied(studies.text_of(study))
    text = before(READY, known, "").applied(text)
    old = "            runtime.set_table(model, frequency, sharpness)\n"
    assert old in text
    return text.replace(old, old + "            model.logits = np.concatenate([model.logits, text.astype(np.float32)])\n")


def test_at_level_0_the_validation_text_can_be_read_and_the_audit_slice_shows_it(begun):
    """It is no look ahead: no audit of rows can find it. The honest step after it is kept."""
    study, setup = begun
    studies.play(study, setup, [knows_the_text(study, setup), studies.BETTER])
    state = studies.state_of(study)
    baseline, cheat, honest = state.experiments
    assert not any(audit.reason for audit in cheat.audits)
    assert (cheat.verdict, cheat.state, cheat.val_bpb) == ("discard", "val-only", None)
    assert cheat.runs[0].result.val_bpb < baseline.val_bpb - 0.3 and "gains on val alone" in cheat.reason
    assert state.best is honest and honest.slices[-1].reason is None and state.val_only == [1]
    studies.check_in_line(study)


def test_a_best_that_gains_on_the_validation_text_alone_is_revoked_when_a_call_ends(begun):
    """As one does whose steps were each too small to tell. Here nobody had looked at its keep."""
    study, setup = begun
    blind = replace(setup, task=without_slice(setup.task))
    studies.play(study, blind, [knows_the_text(study, setup)])
    assert studies.state_of(study).best.number == 1
    _, recorder = studies.play(study, setup, [], experiments=0)
    state = studies.state_of(study)
    assert state.best is state.baseline and (state.experiments[1].state, state.val_only) == ("val-only", [1])
    [revoked] = [event for event in recorder.events if event["event"] == "revoked"]
    assert "gains on val alone" in revoked["reason"] and revoked["reason"] == state.experiments[1].reason
    assert studies.git(study.folder, "rev-parse", "autoresearch/t") == state.baseline.commit


@needs_level_2
@pytest.mark.parametrize("lines", ["tokens", "socket"])
def test_at_level_2_neither_the_text_nor_the_network_is_reached(begun, lines):
    study, setup = begun
    if lines == "tokens":
        text = knows_the_text(study, setup)
    else:
        text = before(READY, "import socket\nsocket.create_connection(('127.0.0.1', 9))", "").applied(studies.text_of(study))
    studies.play(study, replace(setup, sandbox=LEVEL), [text])
    state = studies.state_of(study)
    refused = ("PermissionError", "FileNotFoundError")  # the second where the cell has a root folder of its own
    assert len(state.experiments) == 1 and state.rejections[0].reason.startswith(refused)


def test_a_forged_line_in_the_ledger_is_cut_by_the_next_line(made):
    study, setup = made
    forged = before(
        STEP,
        """
if step == 0:
    from pathlib import Path
    with open(Path(__file__).parents[2] / "events.jsonl", "a") as ledger:
        ledger.write('{"seq": 7, "event": "verdict", "n": 1, "verdict": "keep", "val_bpb": 0.1, "check": "00"}\\\\n')
""",
        "",
    ).applied(studies.text_of(study))
    _, recorder = studies.play(study, setup, [forged])
    told = [event for event in recorder.events if "seq" in event]
    assert State.from_events(told).experiments[1].val_bpb > 1, "what runs does not read it"
    assert [(event["seq"], event["event"]) for event in read(study.events)] == [(event["seq"], event["event"]) for event in told]


def test_terms_that_were_changed_are_refused(begun):
    study, setup = begun
    changed = before(
        STEP,
        """
if step == 0:
    from pathlib import Path
    terms = Path(__file__).parents[3] / "study.toml"
    terms.write_text(terms.read_text().replace("train_seconds = 0.1", "train_seconds = 100.0"))
""",
        "",
    ).applied(studies.text_of(study))
    studies.play(study, setup, [changed])
    with pytest.raises(Exception, match="was changed by hand"):
        studies.play(study, setup, [changed, studies.BETTER])


def test_weights_in_the_source_are_too_long(made):
    study, _ = made
    table = "TABLE = [" + "0.125, " * (LARGEST_BYTES // 7) + "]\n"
    assert "are allowed" in objection(table + studies.text_of(study), State())


def test_parameters_are_counted_in_the_checkpoint_and_not_believed(made, tmp_path):
    study, setup = made
    lie = studies.text_of(study).replace("num_params=run.spec.vocab_size", "num_params=1")
    setup = replace(setup, constraints=Constraints.from_dict({"max_params": 300}))
    result = execute(setup, lie, 1, tmp_path / "run")
    assert (result.status, result.val_bpb) == ("limit", None) and "320 parameters" in result.reason


def test_another_runs_checkpoint_gains_nothing_over_it(begun):
    """At level 0 the best's weights can be copied. Scored again they are what they were: strict keeps only what is lower."""
    study, setup = begun
    copy = "import shutil\nfrom pathlib import Path\nbest = Path(__file__).parents[1] / '0000-1' / 'checkpoint'\n"
    text = before(READY, copy, "").applied(studies.text_of(study))
    text = text.replace("save=lambda path: runtime.save_weights(model, path)", "save=lambda path: shutil.copy(best, path)")
    studies.play(study, setup, [text])
    baseline, cheat = studies.state_of(study).experiments
    assert cheat.verdict == "discard" and cheat.val_bpb == baseline.val_bpb
