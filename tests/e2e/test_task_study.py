"""A study of a task that lies outside the package, on the null backend: from `init` through a night to the best."""

import json
import shutil
from pathlib import Path

import pytest
import studies
from studies import git, state_of

TOY = Path(__file__).parents[1] / "toy"
FLIPPED = ("return np.stack([-z, z], axis=1)", "return np.stack([z, -z], axis=1)")  # answers the wrong way round
# Answers by what lies beside a question: better than it can be, and not by itself.
OF_THE_BATCH = ('z = model(inputs["x"])', 'z = model(inputs["x"]); z = z - z.mean() + 0.2 * inputs["x"].mean()')
NOT_A_NUMBER = ("return np.stack", "return np.nan * np.stack")
SILENT = ("return np.stack([-z, z], axis=1)", "return -z[:, None]")

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(tmp_path):
    shutil.copytree(TOY, tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def begun(toy, tmp_path, typed):
    """A strict study of it: (Study, its train.py)."""
    words = ("--task", str(toy), "--backend", "null", "--profile", "null", "--decide", "strict", "--hardness", "1.5", "--plain")
    status, _, complaint = typed("init", str(tmp_path / "study"), *words)
    assert status == 0, complaint
    study = studies.workspace.load(tmp_path / "study")
    return study, studies.text_of(study)


def play(study, *texts, experiments=None):
    setup = studies.terms.ready(study, 0)
    return studies.play(study, setup, list(texts), experiments=len(texts) if experiments is None else experiments)


def test_a_night_of_another_task(begun, toy, typed, monkeypatch):
    study, text = begun
    assert (study.task.name, study.options, study.metric.name) == ("toy", {"hardness": 1.5}, "accuracy")
    assert study.profile.data is None and "train_seconds = 0.3" in (study.folder / "study.toml").read_text(encoding="utf-8")
    wrong = text.replace(*FLIPPED)
    steps = [wrong, text.replace(*NOT_A_NUMBER), text.replace(*SILENT), text.replace(*OF_THE_BATCH)]
    assert play(study, *steps)[0].exit_status == 0
    state = state_of(study)
    baseline, flipped, nothing, silent, beside = state.experiments
    assert 0.6 < state.metric.shown(baseline.val_bpb) < 1, "a linear model tells them apart, not always"
    assert flipped.verdict == "discard" and state.metric.shown(flipped.val_bpb) < 0.5
    assert (nothing.verdict, silent.verdict, beside.verdict) == ("crash", "crash", "discard")
    assert nothing.reason == "the model gave an answer that is no number"
    assert [(one.audits[0].reason, len(one.slices)) for one in (baseline,)] == [(None, 1)]
    assert baseline.tests and 0.5 < state.metric.shown(baseline.test_bpb) < 1
    status, out, _ = typed("best", "--workspace", str(study.folder), "--json")
    assert status == 0 and json.loads(out)["accuracy"] == state.metric.shown(baseline.val_bpb)
    head, *rows = (study.folder / "results.tsv").read_text(encoding="utf-8").splitlines()
    words = [row.split("\t")[3] for row in rows]
    assert head.split("\t")[1] == "accuracy" and words == ["keep", "discard", "crash", "crash", "discard"]
    assert git(study.folder, "status", "--porcelain") == ""


def test_a_study_goes_on_with_its_task_alone(begun, toy, typed, tmp_path):
    study, _ = begun
    assert play(study, experiments=0)[0].exit_status == 0
    where = ("run", "--workspace", str(study.folder), "--agent", "search", "--experiments", "0", "--sandbox", "none", "--plain")
    assert typed(*where, "--task", str(toy), "--hardness", "1.5")[0] == 0
    status, _, complaint = typed(*where, "--task", "pretrain")
    assert status == 2 and "--task pretrain: the study in" in complaint and "keeps it" in complaint
    status, _, complaint = typed(*where, "--task", str(toy), "--hardness", "2")
    assert status == 2 and "--hardness 2.0: the study in" in complaint
    path = toy / "task.py"
    path.write_text(path.read_text(encoding="utf-8").replace("0.5 *", "0.6 *"), encoding="utf-8")
    status, _, complaint = typed(*where)
    assert status == 2 and "the code of the task toy changed" in complaint
    shutil.rmtree(toy)
    status, _, complaint = typed(*where)
    assert status == 2 and f"there is no task '{toy}'" in complaint
    status, out, _ = typed("results", "--workspace", str(study.folder))
    assert status == 0 and "accuracy" in out, "what was measured can be read without the task"


def test_what_is_made_for_text_alone_says_so(begun, typed):
    study, _ = begun
    play(study, experiments=0)
    where = ("--workspace", str(study.folder))
    for words in (("sample", *where), ("export", *where)):
        status, _, complaint = typed(*words)
        assert status == 2 and "of the task toy" in complaint and complaint.count("\n") == 1, complaint


def test_a_task_that_fails_leaves_nothing(toy, tmp_path, typed):
    words = ("--backend", "null", "--profile", "null", "--plain")
    path = toy / "task.py"
    path.write_text(path.read_text(encoding="utf-8").replace("import numpy as np", "import numpy as np, nowhere"), encoding="utf-8")
    status, _, complaint = typed("init", str(tmp_path / "study"), "--task", str(toy), *words)
    assert status == 2 and "task.py does not load: ModuleNotFoundError" in complaint and not (tmp_path / "study").exists()
    for named in ("nowhere", str(tmp_path / "nowhere")):
        status, _, complaint = typed("init", str(tmp_path / "study"), "--task", named, *words)
        assert status == 2 and "there is no task" in complaint and not (tmp_path / "study").exists()
    status, _, complaint = typed("init", str(tmp_path / "study"), "--hardness", "1", *words)
    assert status == 2 and "no option" in complaint
