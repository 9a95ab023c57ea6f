"""Studies whose agent cheats: every row of processes.py and border.py is an experiment, in real processes. None is kept.

    pytest tests/cheats/test_processes.py --cheats-on null torch mlx jax --cheats-at 2 3

By default on the null backend, in the best cell that there is, and a sample of border.py and of the numbers: a third of it in the
plain run. More takes minutes, for what hardly depends on the framework.
"""

import functools
from dataclasses import replace

import audited
import pytest
from border import BORDER, SAMPLE
from e2e import studies
from processes import MODELS, NUMBERS, PROCESSES

from autoresearch.measure import scorer
from autoresearch.run import experiment
from autoresearch.sandbox import levels

pytestmark = pytest.mark.slow  # whole studies
# test_numbers.py has all of those numbers; here one for each verdict.
SOME = {"minus infinity for all", "another vocabulary", "all zeros"}
SAMPLED = {name: one for name, one in MODELS.items() if name not in NUMBERS.keys() - SOME}
_ALL = list((SAMPLED | PROCESSES | SAMPLE).items())
CHEATS = {"sample": dict(_ALL[::3]), "rest": dict(_ALL[1::3] + _ALL[2::3]), "null": MODELS | PROCESSES | BORDER}
CHEATS |= dict.fromkeys(("torch", "mlx", "jax"), PROCESSES | BORDER)


def pytest_generate_tests(metafunc):
    places = metafunc.config.getoption("--cheats-on") or ["sample", "rest"]
    levels_at = metafunc.config.getoption("--cheats-at") or [levels.reach().level]
    nights = [(place, level) for place in places for level in levels_at]
    if "name" in metafunc.fixturenames:
        nights = [(*night, name) for night in nights for name in CHEATS[night[0]]]
    names = "place, level, name" if "name" in metafunc.fixturenames else "place, level"
    thorough = {"rest": pytest.mark.thorough}
    metafunc.parametrize(names, [pytest.param(*night, marks=thorough.get(night[0], ())) for night in nights])


@pytest.fixture(scope="module")
def nights(tmp_path_factory, corpus):
    """Of a place: (Study, its state, {name of a cheat: its experiment or rejection}). Experiment 1 is honest and much better than
    the baseline, whose text the cheats edit: what a cheat itself does not gain is a discard. A function and no parameter of the
    fixture: by those pytest would order the tests so that a night is played several times.
    """

    @functools.cache
    def played(place: str, level: int) -> tuple:
        folder = tmp_path_factory.mktemp("cheats") / "study"
        if place in ("sample", "rest", "null"):
            study, setup = studies.make(folder, corpus)
            text = studies.text_of(study)
            better = studies.BETTER
        else:
            audited.runtime(place)  # skips without its package
            study, setup = studies.make(folder, corpus, backend=audited.FOLDERS[place][0], startup_limit_seconds=60)
            better = audited.train_py(place, "return 0 * x")
            text = better.replace("SHARPNESS = 1.0", "SHARPNESS = 0.5")
            (study.folder / "train.py").write_text(text, encoding="utf-8")
        setup = replace(setup, sandbox=level)
        steps = {name: cheat.applied(text) for name, cheat in CHEATS[place].items()}
        studies.play(study, setup, [better, *steps.values()])
        state = studies.state_of(study)
        tried = [*state.experiments, *state.rejections]
        found = {studies.git(study.folder, "show", f"{one.commit}:train.py"): one for one in tried}
        return study, state, {name: found[step.strip()] for name, step in steps.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "GRACE_MOST_SECONDS", 0.3)
        patch.setattr(scorer, "SLOT_BYTES", 8 * 4 * 64 * 320)  # 8 rows at a time, so that a scoring is many calls
        yield played


def test_verdict(nights, place, level, name):
    _, state, tried = nights(place, level)
    one, cheat = tried[name], CHEATS[place][name]
    verdict = "rejected" if one in state.rejections else "no effect" if one.state == "discard" else one.state
    assert verdict in cheat.verdicts.split(" | "), (one.state, one.reason)
    assert cheat.words in one.reason
    if verdict == "no effect":
        assert one.val_bpb > state.baseline.val_bpb - 0.005, "five times the noise of the seed"


def test_the_honest_one_is_the_best_and_all_is_in_line(nights, place, level):
    study, state, _ = nights(place, level)
    assert not state.skipped
    assert state.best.number == 1 and state.counts()["keep"] == 1
    assert not any(audit.reason for audit in state.best.audits)
    studies.check_in_line(study)
