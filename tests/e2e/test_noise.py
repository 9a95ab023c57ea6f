"""The noise of a machine: measured by the command, known to every later decision, finished when it was cut short."""

import json
import shutil
import subprocess
import sys

import pytest
import studies
from studies import BETTER, BROKEN, check_in_line, play, state_of, verdicts

from autoresearch.errors import UsageError
from autoresearch.loop import measure_noise
from autoresearch.study import decide, terms, workspace
from autoresearch.study.ledger import read


@pytest.fixture
def confirmed(tmp_path, corpus):
    return studies.make(tmp_path / "study", corpus, decide="confirmed")


def autoresearch(study, *arguments):
    command = [sys.executable, "-m", "autoresearch.cli", *arguments, "--workspace", str(study.folder)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.slow
def test_noise_runs_what_is_missing_and_prints_what_can_be_told(confirmed):
    study, setup = confirmed
    ended = autoresearch(study, "noise", "--runs", "4", "--json", "--on-battery")
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout)
    baseline = state_of(study).baseline
    assert facts["dof"] == 3 and len(baseline.scores) == 3 and len(baseline.again) == 1
    assert facts["measured"][0]["scores"] == baseline.counted
    assert facts["sigma_low"] < facts["sigma"] < facts["sigma_high"] and facts["seen_gain_bpb"] > facts["sigma"]
    assert len({run.seed for run in baseline.runs}) == 4
    runs = len(baseline.runs)
    shown = autoresearch(study, "noise", "--runs", "4")  # nothing is missing: nothing is trained
    assert f"sigma     {facts['sigma']:.6f}" in shown.stdout and len(state_of(study).baseline.runs) == runs
    play(study, setup, [BETTER])
    assert "of 6: lower" in state_of(study).experiments[1].reason  # those four, and two for the candidate's sake
    check_in_line(study)


@pytest.mark.slow
def test_noise_goes_on_where_it_was_cut_short(tmp_path, corpus):
    study, setup = studies.played(tmp_path / "study", corpus, decide="confirmed")
    measure_noise.measure(study, setup, 2, True, studies.Recorder())
    lines = study.events.read_bytes().splitlines(keepends=True)
    cut = max(k for k, event in enumerate(read(study.events)) if event["event"] == "begin")
    study.events.write_bytes(b"".join(lines[: cut + 1]))  # killed in the second of the two
    state = state_of(study)
    assert state.unfinished is state.best
    measure_noise.measure(study, setup, 2, True, studies.Recorder())
    best = state_of(study).best
    assert (len(best.again), best.wanted, state_of(study).lost) == (2, 2, 1)
    measure_noise.measure(study, setup, 2, True, studies.Recorder())
    assert len(state_of(study).best.again) == 4
    check_in_line(study)


@pytest.mark.slow
def test_noise_says_in_one_line_why_it_can_not(tmp_path, confirmed):
    study, _ = confirmed
    alone = subprocess.run(
        [sys.executable, "-m", "autoresearch.cli", "noise", "--workspace", str(tmp_path)], capture_output=True, encoding="utf-8"
    )
    assert alone.returncode == 2 and "no study in" in alone.stderr and len(alone.stderr.splitlines()) == 1
    (study.folder / "train.py").write_text(BROKEN, encoding="utf-8")
    ended = autoresearch(study, "noise", "--on-battery", "--plain")
    assert ended.returncode == 1 and "the baseline failed" in ended.stderr.splitlines()[-1]
    assert "nothing ran twice" in ended.stdout


@pytest.mark.slow
def test_a_keep_is_run_again_and_reported_by_those_runs_alone(tmp_path, corpus):
    study, _ = studies.played(tmp_path / "study", corpus, BETTER, decide="confirmed")
    kept = state_of(study).best
    assert kept.number == 1 and len(kept.again) == decide.CHECK_RUNS["confirmed"]
    assert kept.val_bpb == pytest.approx(sum(kept.again) / len(kept.again))
    gain = state_of(study).gain
    assert gain.bpb == pytest.approx(state_of(study).baseline.val_bpb - kept.val_bpb) and 0 < gain.error < 0.01
    assert f"{gain.bpb:.6f} +- {gain.error:.6f}" in autoresearch(study, "best").stdout
    facts = json.loads(autoresearch(study, "status", "--json").stdout)
    assert (facts["gain_bpb"], facts["best_val_bpb"]) == (gain.bpb, kept.val_bpb)
    assert len({event["seed"] for event in read(study.events) if event["event"] == "begin"}) == state_of(study).results
    check_in_line(study)


@pytest.mark.slow
def test_killed_while_the_best_runs_again_it_ends_the_same(corpus, tmp_path):
    study, setup = studies.played(tmp_path / "study", corpus, BETTER, decide="confirmed")
    events = read(study.events)
    decided = next(k for k, event in enumerate(events) if event["event"] == "verdict" and event["n"] == 1)
    cuts = [k + 1 for k, event in enumerate(events) if k >= decided and event["event"] in ("verdict", "begin", "run")]
    assert len(cuts) == 1 + 2 * decide.CHECK_RUNS["confirmed"]
    lines = study.events.read_bytes().splitlines(keepends=True)
    for cut in cuts[::3]:
        copy = tmp_path / f"copy-{cut}"
        shutil.copytree(study.folder, copy)
        again = workspace.load(copy)
        again.events.write_bytes(b"".join(lines[:cut]))
        play(again, setup, [BETTER], experiments=0)
        assert verdicts(again) == verdicts(study), cut
        check_in_line(again)


# As the null backend's, but every step's loss is told, so that a short training has a curve.
CURVED = "from autoresearch.measure import run as reporting\n\nreporting.REPORT_EVERY_SECONDS = 0.0\n"


@pytest.mark.slow
def test_stop_early_ends_a_hopeless_training_as_a_discard(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, stop_early=True, train_seconds=2.0)
    text = studies.text_of(study)
    good = text.replace("import time\n", "import time\n" + CURVED, 1)
    (study.folder / "train.py").write_text(good, encoding="utf-8")
    hopeless = good.replace("run.report(loss=", "run.report(loss=3 + ")
    harmless = good.replace("run.report(loss=", "run.report(loss=0.0 + ")
    assert len({text, good, hopeless, harmless}) == 4
    play(study, setup, [hopeless, harmless])
    _, stopped, whole = state_of(study).experiments
    assert (stopped.verdict, stopped.state, stopped.val_bpb) == ("discard", "futile", None)
    assert "ended early, hopeless: after 50% of the time its training loss is" in stopped.reason
    assert stopped.runs[0].result.total_seconds < whole.runs[0].result.total_seconds
    assert whole.runs[0].result.ok
    check_in_line(study)
    with pytest.raises(UsageError, match="--stop-early"):
        terms.check_options(workspace.load(study.folder), {"stop_early": False})
