"""A study whose agent cheats: every row of processes.py is an experiment of it, in real processes. None is kept."""

import pytest
from e2e import studies
from processes import CHEATS

from autoresearch.loop import experiment
from autoresearch.measure import scorer

pytestmark = pytest.mark.slow  # whole studies


@pytest.fixture(scope="module")
def night(tmp_path_factory, corpus):
    """(Study, its state, {name of a cheat: its experiment or rejection}). Experiment 1 is honest and much better than the baseline,
    whose text the cheats edit: what a cheat itself does not gain is a discard.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "GRACE_SECONDS", 0.3)
        patch.setattr(scorer, "SLOT_BYTES", 8 * 2 * 64 * 320)  # 8 rows at a time, so that a scoring is many calls
        study, setup = studies.make(tmp_path_factory.mktemp("cheats") / "study", corpus)
        text = (study.folder / "train.py").read_text(encoding="utf-8")
        steps = [cheat.applied(text) for cheat in CHEATS.values()]
        studies.play(study, setup, [studies.BETTER, *steps])
    state = studies.state_of(study)
    tried = [*state.experiments, *state.rejections]
    found = {studies.git(study.folder, "show", f"{one.commit}:train.py"): one for one in tried}
    return study, state, {name: found[step.strip()] for name, step in zip(CHEATS, steps, strict=True)}


@pytest.mark.parametrize("name", CHEATS)
def test_verdict(night, name):
    _, state, tried = night
    one, cheat = tried[name], CHEATS[name]
    verdict = "rejected" if one in state.rejections else "no effect" if one.state == "discard" else one.state
    assert verdict in cheat.verdicts.split(" | "), (one.state, one.reason)
    assert cheat.words in one.reason
    if verdict == "no effect":
        assert one.val_bpb > state.baseline.val_bpb - 0.005, "five times the noise of the seed"


def test_the_honest_one_is_the_best_and_all_is_in_line(night):
    study, state, _ = night
    assert state.best.number == 1 and state.counts()["keep"] == 1
    assert not any(audit.reason for audit in state.best.audits)
    studies.check_in_line(study)
