"""A task whose score is an accuracy, on the null backend: what people, programs, a page and agents are shown of a real study."""

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import studies
from click.testing import CliRunner

from autoresearch.cli import cli
from autoresearch.commands import mcp_tools
from autoresearch.commands.compare import subject
from autoresearch.errors import UsageError
from autoresearch.metric import Metric
from autoresearch.propose.views import Views
from autoresearch.report import answers, compare, picture
from autoresearch.report.page import table
from autoresearch.report.page.details import Details
from autoresearch.study.store import Store
from autoresearch.study.workspace import Study, agents_md, load
from autoresearch.task.registry import find

pytestmark = pytest.mark.slow
TASK_TOML = """
title = "Halves: is a number in the upper one"
corpus = "made-up"
train_seconds = 0.1
[metric]
name = "accuracy"
direction = "max"
"""
TASK_PY = """
import numpy as np
from autoresearch import task

class Task(task.Task):
    TARGETS = ("is_upper",)
    answer = (1,)

    @classmethod
    def prepare(cls, source, options, folder, on_progress):
        for seed, split in enumerate(("train", "val", "test", "slice")):
            rows = np.zeros(1000, [("x", "f4"), ("is_upper", "i4")])
            rows["x"] = np.random.default_rng(seed).uniform(size=1000)
            rows["is_upper"] = rows["x"] > 0.5
            np.save(folder / f"{split}.npy", rows)
        return {}

    def spec(self):
        return {}

    def losses(self, answers, targets):
        return -((answers[:, 0] > 0) == targets).astype(np.float32)[:, None]
"""
TRAIN_PY = """import time

import numpy as np
import runtime

from autoresearch import measure

CUT = 0.9  # [0..1]


class Model:
    def __init__(self):  # the backend saves what is called logits
        self.logits = np.zeros(1, np.float32)


def build_model(spec):
    return Model()


def answer(model, inputs):
    return (inputs["x"] - model.logits[0])[:, None].astype(np.float32)


def main():
    run = measure.start()
    model = build_model(run.spec)
    model.logits[0] = CUT
    for step in run.steps(save=lambda path: runtime.save_weights(model, path)):
        run.batch(16)
        time.sleep(0.01)
        run.report(loss=CUT)


if __name__ == "__main__":
    main()
"""
MOVES = 'source = "the middle"\n[[move]]\ngain = 0.3\nwhat = "cut nearer to it"\nedits = [{ constant = "CUT", set = 0.6 }]\n'


def answer(*arguments: object) -> str:
    ended = CliRunner().invoke(cli, list(map(str, arguments)))
    assert ended.exit_code == 0
    return ended.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The baseline, a keep and a discard."""
    root = tmp_path_factory.mktemp("halves")
    task = root / "halves"
    (task / "null").mkdir(parents=True)
    files = {"task.toml": TASK_TOML, "task.py": TASK_PY, "null/train.py": TRAIN_PY, "moves.toml": MOVES, "program.md": "Halve.\n"}
    for name, text in files.items():
        (task / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(root / "cache"))
        for key in [key for key in os.environ if key.startswith(("ANTHROPIC", "OPENAI"))]:
            patch.delenv(key)
        told = root / "told.jsonl"
        tells = f"{sys.executable} -c \"import sys; open(r'{told}', 'a').write(sys.stdin.read())\""
        said = answer(
            "run", "--task", task, "--backend", "null", "--agent", "search", "--experiments", 2, "--decide", "strict", "--sandbox",
            "none", "--notify", tells, "--workspace", root / "study", "--json",
        )  # fmt: skip
        (root / "said.jsonl").write_text(said, encoding="utf-8")
        yield load(root / "study")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_files_of_the_study_name_its_metric(study: Study):
    rows = [row.split("\t") for row in (study.folder / "results.tsv").read_text(encoding="utf-8").splitlines()]
    assert rows[0][:2] == ["commit", "accuracy"] and [row[3] for row in rows[1:3]] == ["keep", "keep"]
    assert 0.5 < float(rows[1][1]) < 0.7 < 0.85 < float(rows[2][1]) < 0.95
    assert (study.folder / "program.md").read_text(encoding="utf-8") == "Halve.\n"
    told = (study.folder / "AGENTS.md").read_text(encoding="utf-8")
    assert "`train.py` trains a model for a fixed time, and a sealed scorer measures `accuracy`, on\ndata that" in told
    assert "higher is better" in told and "bpb" not in told and "vocab" not in told


def test_answers_for_programs_name_it_and_have_its_direction(study: Study):
    status = json.loads(answer("status", "--json", "--workspace", study.folder))
    assert 0.5 < status["baseline_accuracy"] < 0.7 < status["best_accuracy"] and status["direction"] == "max"
    assert status["gain"] == pytest.approx(status["best_accuracy"] - status["baseline_accuracy"]) and status["gain_test"] > 0.2
    found = json.loads(answer("results", "--json", "--workspace", study.folder))
    assert found[0]["accuracy"] == status["baseline_accuracy"] and found[0]["runs"][0]["accuracy"] == found[0]["scores"][0]
    assert 0.5 < found[0]["tests"]["1"] < 0.7 and "bpb" not in json.dumps([status, found])


def test_a_run_tells_programs_and_commands_the_same(study: Study):
    said, told = lines(study.folder.parent / "said.jsonl"), lines(study.folder.parent / "told.jsonl")
    scores = [event["accuracy"] for event in said if event["event"] == "run"]
    assert len(scores) == 3 and min(scores) > 0.3
    kept = next(news for news in told if news["event"] == "keep")
    assert kept["gain"] > 0.2 and kept["best_accuracy"] == kept["accuracy"] == scores[1]
    assert "above the baseline" in kept["message"] and "bpb" not in json.dumps(told)


def test_people_read_that_it_is_higher(study: Study):
    place = ("--workspace", study.folder)
    shown = [answer(*words, *place) for words in (("status",), ("best",), ("show", 1), ("results",), ("watch", "--once"))]
    shown += [answer("compare", f"{study.folder}@0", f"{study.folder}@1"), answer("finalize", *place)]
    assert "(+- between rows)" in shown[1] and "above the baseline's, on data that no decision saw" in shown[1]
    assert "is higher than the best's" in shown[2] and "keep  accuracy 0." in shown[2]
    assert "B above A" in shown[5] and "on 1000 rows" in shown[5]
    assert "1 kept edit of train.py: accuracy 0." in shown[6]
    assert not any(word in "".join(shown) for word in ("bpb", "bits", "below the baseline"))


def test_picture_and_page_are_drawn_of_it(study: Study, tmp_path):
    state = answers.state_of(study)
    image = io.BytesIO()
    canvas = picture.compose(state)
    canvas.print_png(image)
    assert len(image.getvalue()) > 10_000 and canvas.figure.axes[0].get_ylabel() == "accuracy (higher is better)"
    page = table.table(study, state, Details(study).category, "2026-01-01T00:00:00", None)
    assert (page["metric"], page["rises"], page["loss"]) == ("accuracy", True, "")
    assert page["tiles"][0][:2] == ("Best accuracy", f"{-state.best.val_bpb:.6f}")
    assert dict(page["again"])["the same study anew"].startswith("autoresearch run --task halves --profile null --corpus made-up ")
    assert page["kept"][0]["words"].startswith("raised accuracy by 0.")
    assert "bpb" not in json.dumps([page[part] for part in ("tiles", "texts", "kept", "facts")])


def test_an_mcp_client_reads_it_and_may_ask_for_it_by_name(study: Study):
    asked = mcp_tools.taken(mcp_tools.Page, {"fields": ["number", "accuracy"]}, study.metric)
    rows = mcp_tools.results(study, asked)["experiments"]
    assert [row["number"] for row in rows] == [0, 1, 2] and all(0.3 < row["accuracy"] < 1 for row in rows)
    whole = [mcp_tools.status(study, mcp_tools.Nothing()), mcp_tools.best(study, mcp_tools.Lines()), mcp_tools.report(study)]
    assert "bpb" not in json.dumps(whole) and whole[1]["accuracy"] == rows[1]["accuracy"]


def test_agents_get_the_tasks_moves_and_words(study: Study):
    view = Views(study, Store(study.folder, study.tag)).view(answers.state_of(study))
    assert view.metric.name == "accuracy" and view.moves[0].source == "the middle"
    assert view.research == 'the task "Halves: is a number in the upper one"' and view.program_md == "Halve.\n"
    reasoning = answers.state_of(study).experiments[1].reasoning
    assert reasoning == "known move: cut nearer to it; 0.3 accuracy where it was found (the middle)"


def test_two_metrics_are_not_compared(study: Study, tmp_path, corpus):
    other, _ = studies.played(tmp_path / "text", corpus)
    with pytest.raises(UsageError, match=r"has accuracy .* has val_bpb .*, which don't compare; name two studies"):
        compare.table(*(subject(str(one.folder)) for one in (study, other)))


def test_a_task_with_files_of_its_own_has_its_own_words_for_a_coding_agent(study: Study):
    told = agents_md(replace(study, task=find("command"), files=("src/*.py",), metric=Metric("seconds", "s")))
    assert "and gets `seconds`; lower is better." in told and "files that match `src/*.py`" in told
    assert "train.py" not in told and "$" not in told
