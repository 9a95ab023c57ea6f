"""The audit slice in whole studies: one that is cut short in between, and one without a slice.

What gains on the validation text alone: tests/cheats/test_reach.py. The statistics: tests/unit/test_loop_val_only.py. What an
undisturbed study scores on it, and what is said of that: test_run.py.
"""

from dataclasses import replace

import pytest
import studies
from on_text import without_slice
from studies import BETTER, check_in_line, play, state_of

from autoresearch.study.ledger import read
from autoresearch.study.session import SLICE

pytestmark = pytest.mark.slow  # whole studies


def slices(study):
    return [(event["n"], event["place"], event["against"]) for event in read(study.events) if event["event"] == "slice"]


def test_cut_short_before_the_verdict_it_is_not_scored_again_and_forged_figures_are(tmp_path, corpus):
    study, setup = studies.played(tmp_path / "study", corpus)
    (study.runs / "0000-1" / SLICE).write_bytes(b"x")

    class Interrupts(studies.Recorder):
        def event(self, event: dict) -> None:
            super().event(event)
            if event["event"] == "slice" and event["place"] == "keep":
                raise KeyboardInterrupt

    assert studies.run(study, setup, [BETTER], Interrupts()).exit_status == 130
    assert state_of(study).pending.number == 1
    assert slices(study) == [(0, "baseline", None), (0, "again", None), (1, "keep", 0)]
    play(study, setup, [BETTER])
    state = state_of(study)
    assert slices(study)[3:] == [(1, "end", 0)] and state.best.number == 1
    assert len(state.best.runs) == 1 and [one.bpb for one in state.best.slices] == 2 * [state.best.slices[0].bpb]
    check_in_line(study)


def test_a_text_too_small_to_spare_a_slice_is_said_once(fresh, typed):
    study, setup = fresh
    setup = replace(setup, task=without_slice(setup.task))
    _, recorder = play(study, setup, [BETTER])
    assert [note for note in recorder.notes if "slice" in note] == [
        "the text is too small to spare an audit slice: nothing shows whether a gain is one on val alone"
    ]
    assert not slices(study) and state_of(study).best.number == 1
    assert "audit slice n/a" in typed("best", "--workspace", str(study.folder))[1]
