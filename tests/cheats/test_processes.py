"""A study whose agent cheats: every row of processes.py is an experiment of it, in real processes. None is kept."""

import pytest
from e2e import studies
from processes import CHEATS

from autoresearch import constants
from autoresearch.loop import experiment


@pytest.fixture(scope="module")
def night(tmp_path_factory, corpus):
    """(Study, its state, the listener, {name of a cheat: its experiment or rejection})."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "GRACE_SECONDS", 0.3)
        study, setup = studies.make(tmp_path_factory.mktemp("cheats") / "study", corpus)
        # A little worse than the baseline: what the cheat itself does not gain is a discard, whatever the seed.
        text = constants.write((study.folder / "train.py").read_text(encoding="utf-8"), studies.WORSE)
        steps = [cheat.applied(text) for cheat in CHEATS.values()]
        _, recorder = studies.play(study, setup, steps)
    state = studies.state_of(study)
    store = studies.git(study.folder, "for-each-ref", "--format=%(objectname)", "refs/autoresearch").split()
    tried = [*state.experiments[1:], *state.rejections]
    found = {studies.git(study.folder, "show", f"{one.commit}:train.py"): one for one in tried}
    assert store
    return study, state, recorder, {name: found.get(step.strip()) for name, step in zip(CHEATS, steps, strict=True)}


@pytest.mark.parametrize("name", CHEATS)
def test_verdict(night, name):
    _, state, _, tried = night
    one, cheat = tried[name], CHEATS[name]
    if hasattr(one, "verdict"):
        verdict = "no effect" if one.state == "discard" else one.state
        assert one.verdict != "keep"
    else:
        verdict = "rejected"
    assert verdict in cheat.verdicts.split(" | "), (one.state, one.reason)
    assert cheat.words in one.reason
    if verdict == "no effect":
        assert one.val_bpb > state.baseline.val_bpb


def test_the_study_is_in_line_and_the_baseline_the_best(night):
    study, state, _, _ = night
    assert state.best is state.baseline and state.counts()["keep"] == 0
    studies.check_in_line(study)
