"""A study whose score is no val_bpb, and better when it is higher: what every reader of its ledger shows."""

import csv
import io
import json
import re
from datetime import datetime

import numpy as np
import pytest
from report_events import study
from rich.console import Console

from autoresearch import bundle
from autoresearch.agents import lessons
from autoresearch.agents.base import Expected, Past, View
from autoresearch.agents.command import scratch
from autoresearch.agents.llm import edits, prompt
from autoresearch.commands import best, mcp_tools, replay, results, show
from autoresearch.loop.replay import judge
from autoresearch.loop.val_only import Documents, Texts, compare, unlike
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Noise
from autoresearch.report import answers, picture, screen, summary, table, words
from autoresearch.report.panel import JsonLines
from autoresearch.study.state import State

ACCURACY = Metric("accuracy", "", "max", data="data", pieces="rows")
NO_BPB = re.compile(r"bpb|bits|\btext\b|lower is|-0\.\d{4}")
START, BEST = "LR = 0.04\n", "LR = 0.05\n"
HISTORY = (Past(0, "baseline", "baseline", -0.80, START), Past(1, "LR 0.04 -> 0.05", "keep", -0.85, BEST, None, "a"),
           Past(2, "LR 0.05 -> 0.06", "discard", -0.82, "LR = 0.06\n", None, "a"))  # fmt: skip
VIEW = View(
    "Be bold.", BEST, -0.85, HISTORY, metric=ACCURACY, research='the task "Digits"', keeps="build_model, answer and main",
    lessons=lessons.text(HISTORY, ACCURACY), expected=(Expected("LR", 0.05, 0.055, -0.002, 0.001),),
)  # fmt: skip


@pytest.fixture
def events():
    return study([-0.83, None, -0.85, -0.82], baseline=(-0.801, -0.8, -0.799), metric=ACCURACY)


@pytest.fixture
def state(events):
    found = State.from_events(events)
    assert not found.skipped
    return found


def test_results_tsv_is_named_after_the_metric(state, tmp_path):
    table.Results(tmp_path / "results.tsv").draw(state)
    lines = (tmp_path / "results.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["commit", "accuracy", "memory_gb", "status", "description"]
    assert [line.split("\t")[1] for line in lines[1:]] == ["0.800000", "0.830000", "0.000000", "0.850000", "0.820000"]


def test_csv_has_its_values_and_intervals_in_the_metrics_direction(state):
    text = table.csv_text(state.experiments, state.noise, {}, state.metric)
    row = list(csv.DictReader(io.StringIO(text, newline="")))[1]
    assert row["accuracy"] == "0.83" and row["test_accuracy"] == "" and "val_bpb" not in row
    assert float(row["low_95"]) < 0.83 < float(row["high_95"])


def test_sentences_lists_and_the_best_say_higher(events, state):
    shown, said = State(), []
    for event in events:
        shown.apply(event)
        said.append(words.sentence(event, shown) or "")
    assert "experiment 1 run 1: accuracy 0.830000" in said
    above = "0.050000 +- 0.001155 (6.25 %) above the baseline"
    assert best.gain(state) == f"best accuracy 0.850000 by experiment 3, {above}"
    assert results.lines(state.experiments, state.metric)[2].split()[:4] == ["1", "c1", "0.830000", "keep"]
    shown = {"ref": "r", "diff": "", "log_tail": "", "startup_seconds": None}
    one = "\n".join(show.lines(state.experiments[3], shown, state.metric))
    assert "keep  accuracy 0.850000" in one and "accuracy:         0.850000" in one
    assert "data that no decision saw" in summary.belief(state)
    assert not NO_BPB.search("\n".join([*said, summary.belief(state), one, best.tested(state), best.elsewhere(state)]))


def test_a_program_gets_the_scores_as_a_person_sees_them(events, state):
    record = state.metric.told(answers.record(state.experiments[3]))
    assert record["accuracy"] == 0.85 and record["runs"][0]["accuracy"] == 0.85 and "bpb" not in json.dumps(record)
    stream = io.StringIO()
    listener = JsonLines(stream, state.metric)
    for event in events:
        listener.event(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["accuracy"] for line in lines if line["event"] == "run"] == [0.801, 0.8, 0.799, 0.83, None, 0.85, 0.82]


def test_the_screen_has_the_best_on_top(state):
    console = Console(file=io.StringIO(), width=80)
    console.print(screen.screen(screen.View(state, datetime(2026, 1, 3)), screen.Terminal(80, 32, "ascii")))
    lines = console.file.getvalue().splitlines()
    top, bottom = (next(line for line in lines if f" {score} |" in line) for score in ("0.8500", "0.8000"))
    assert lines.index(top) < lines.index(bottom) and "|-" in bottom and re.search(r"-[. ]*\|$", top)
    assert any(re.search(r"3  keep      0\.8500 +\+0\.0200  ", line) for line in lines)
    assert any(re.search(r"4  discard   0\.8200 +-0\.0300  ", line) for line in lines)


def test_the_picture_rises_and_names_its_axis(state, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path))
    canvas = picture.compose(state)
    canvas.draw()
    axes = canvas.figure.axes[0]
    ticks = [text.get_text() for text in axes.get_yticklabels() if text.get_text()]
    assert axes.get_ylabel() == "accuracy (higher is better)" and len(ticks) > 2 and all(0.7 < float(tick) < 0.9 for tick in ticks)
    higher, lower = (axes.transData.transform((0, score))[1] for score in (-0.85, -0.80))
    assert higher > lower
    title = canvas.figure.texts[0].get_text()
    assert title == "accuracy 0.8500, 0.0500 ± 0.0012 (6.2 %) above the baseline 0.8000"


def test_agents_are_told_of_the_task_and_which_way_is_better():
    told = "\n".join(block["text"] for block in [*prompt.system(VIEW), *prompt.content(VIEW, "")])
    assert 'You do research on the task "Digits", on one computer' in told
    assert "scores it by accuracy (on data that is never trained on; higher is better)" in told
    assert "The best train.py scores accuracy 0.8500." in told and "0.8200 (-0.0300) | discard" in told
    assert "LR 0.05 -> 0.055: +0.0020, give or take 0.0010" in told and "- LR: 0.05 +0.0500 kept, 0.06 -0.0300" in told
    assert "train.py keeps build_model, answer and main" in told
    folder = scratch.history_text(VIEW) + scratch._task(VIEW, [], 60.0, None) + scratch._lessons(VIEW)
    assert "reaches a higher `accuracy` (on data that the" in folder and "| 2 | discard | 0.820000 | -0.030000 |" in folder
    tools = json.dumps(edits.tools(True, ACCURACY))
    assert "raise accuracy: 0.004" in tools
    assert not re.search("bpb|bits per byte", told + folder + tools)


def test_who_edits_a_repository_is_told_of_files_and_not_of_a_training():
    text = bundle.join({"src/sort.py": "x = 1\n", "README.md": "no\n"})
    view = View("Be bold.", text, 2.5, (), metric=Metric("seconds", "s"), research='the task "Your own command"')
    told = prompt.system(view)[0]["text"]
    assert (
        "A harness measures what the code does, by turns with the best, scores it by seconds (lower is better), and keeps" in told
    )
    assert "each behind a line `#%% file: PATH`" in told and "runtime" not in told and "trains" not in told


def test_pretraining_is_told_what_it_was_ever_told():
    told = prompt.system(View("", "", None, ()))[0]["text"]
    assert told.startswith(
        "You do research on the training of a small language model, on one computer, alone, through a night. A harness trains "
        "train.py for a fixed time, scores it by val_bpb (bits per byte on text that is never trained on; lower is better), and "
        "keeps an edit only if it beats the best by more than this machine's noise."
    )
    assert "train.py keeps build_model, Trainer and main as the harness calls them." in told
    submit = edits.tools(True)[-1]["input_schema"]["properties"]
    assert submit["expected_gain"]["description"].startswith("how far you expect it to lower val_bpb, in bits per byte: 0.004.")


def test_mcp_names_the_field_after_the_metric_and_takes_that_name():
    schema = json.dumps(mcp_tools.schema(mcp_tools.Page, ACCURACY))
    assert '"accuracy"' in schema and "bpb" not in schema and "{" not in schema.replace("{", "", schema.count('{"'))
    assert mcp_tools.taken(mcp_tools.Page, {"fields": ["number", "accuracy"]}, ACCURACY).fields == ("number", "val_bpb")
    told = [mcp_tools.described(tool, ACCURACY) for _, tool in mcp_tools.READERS.values()] + [mcp_tools.loop(None, ACCURACY)]
    assert "best and baseline accuracy (higher is better)" in told[0] and "raise its accuracy" in told[-1]
    assert not NO_BPB.search(" ".join(told[:1] + told[-1:]).replace("whole text", "").replace("your text", ""))


def test_a_replay_says_above_where_the_score_is_higher():
    judged = judge([-0.80, -0.81], [-0.95], Noise(0.01, 4), ACCURACY)
    assert replay.verdict(judged, ACCURACY).startswith("not reproduced: 0.950000 is 0.145000 above what was recorded")
    facts = replay.facts(1, [], [], judged, ACCURACY)
    assert (facts["recorded"], facts["found"]) == (pytest.approx(0.805), 0.95) and facts["difference"] == pytest.approx(0.145)


def test_a_gain_on_val_alone_is_told_in_scores():
    """Of a root of a mean of squares, whose gain is not that of the squares."""
    rng = np.random.default_rng(0)

    def rows(level: float) -> Documents:
        return Documents(level + rng.normal(0, 0.05, 400), np.ones(400, np.int64))

    before, after = Texts(rows(4.0), rows(4.0)), Texts(rows(1.0), rows(4.0))
    found = compare(before, after, Metric("rmse", "m", data="data", pieces="rows"), np.sqrt)
    assert found.val.bpb == pytest.approx(1.0, abs=0.01) and found.val.error == pytest.approx(0.0025 * 2**0.5 / 3, rel=0.2)
    assert "rmse on the validation data, " in found.reason and found.reason.endswith(
        "audit slice, data that it can't have aimed at"
    )
    other = unlike(Texts(rows(4.0), rows(1.0)), Metric("rmse", "m", data="data", pieces="rows"), np.sqrt)
    assert other == "the validation data and the audit slice are not of one kind: the baseline needs 1.9987 and 0.9997 m"


def test_of_text_the_words_are_those_that_there_were():
    rng = np.random.default_rng(0)

    def text(rate: float) -> Documents:
        return Documents(1000 * (rate + rng.normal(0, 0.05, 40)), np.full(40, 1000))

    before, after = Texts(text(3.0), text(3.0)), Texts(text(2.5), text(3.0))
    found = compare(before, after)
    gains = f"{found.val.text(VAL_BPB)} bpb on the validation text, {found.slice.text(VAL_BPB)} on the audit slice"
    assert found.reason == f"gains on val alone: {gains}, a text that it can't have aimed at"
