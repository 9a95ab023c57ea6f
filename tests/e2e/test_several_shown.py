"""What commands and the page say of a study with several workers; the panel: tests/unit/test_report_slots.py, test_watch.py."""

import json
import os
import time

import msgspec
import pytest
import studies
from browser import Watched, launched
from studies import BETTER, played, state_of
from test_together import Ideas, night, score
from virtual_crew import Virtual

from autoresearch.report import answers
from autoresearch.report.page import html
from autoresearch.report.page.table import head
from autoresearch.study import follow, inbox
from autoresearch.study.inbox import Request
from autoresearch.study.ledger import Ledger, read

pytestmark = pytest.mark.slow


@pytest.fixture
def several_open(tmp_path, corpus):
    """A study that was cut short while three of four workers were at experiments 2 and 3, and at the best again; 4 waits."""
    study, setup = played(tmp_path / "study", corpus, BETTER)
    ledger = Ledger(study.events)
    start = next(one for one in reversed(ledger.events) if one["event"] == "start")
    kept = {name: start[name] for name in ("commit", "parent", "blob", "reasoning", "agent", "cost_usd")}
    ledger.append("workers", count=4)
    for n in (2, 3, 4):
        ledger.append("start", n=n, description=f"idea {n}", key=f"key{n}", base=1, **kept)
    for worker, (n, k) in enumerate(((2, 1), (3, 1), (1, 2)), 1):
        ledger.append("begin", n=n, k=k, seed=9000 + worker, folder=f"{n:04d}-{k}", sandbox=0, worker=worker)
    assert not state_of(study).skipped
    return study, setup


def test_status_and_watch_tell_every_run(several_open, typed):
    study, _ = several_open
    here = ("--workspace", str(study.folder))
    facts = json.loads(typed("status", "--json", *here)[1])
    assert facts["pending"]["experiment"] == 2 and facts["best_runs_again"] and facts["workers"] == 4 and facts["open"] == [2, 3, 4]
    assert [(one["experiment"], one["run"], one["worker"]) for one in facts["under_way"]] == [(2, 1, 1), (3, 1, 2), (1, 2, 3)]
    said = " ".join(typed("status", *here)[1].split())
    assert "under way worker 1: experiment 2, run 1: idea 2; worker 2: experiment 3, run 1: idea 3; worker 3: exp" in said
    assert "experiment 1, run 2, the best, again:" in said
    assert said.count("experiment 4 waits for a run") == 1
    table = head(study, state_of(study), lambda one: None, "2026-01-01T00:00:00", process=1)
    assert table["standing"] == "running: experiment 2; experiment 3; the best, 1"
    folder = study.runs / "0003-1"
    folder.mkdir()
    (folder / "train.py").touch()
    os.utime(folder / "train.py", (time.time() - 5,) * 2)
    first, second, third, fourth = follow.workers(study, state_of(study), time.time())
    assert (first["n"], first["progress"]) == (2, None) and second["progress"].phase == "startup"
    assert 4 < second["progress"].elapsed_seconds < 60 and (third["n"], third["k"]) == (1, 2)
    assert fourth == {"worker": 4, "state": "unseen"}


def test_skip_needs_a_number_where_several_train(several_open, typed):
    study, _ = several_open
    here = ("--workspace", str(study.folder))
    status, _, error = typed("skip", *here)
    assert status == 2 and "experiments 2, 3, 4 have no verdict yet; say which one: `autoresearch skip N`" in error
    status, _, error = typed("skip", "7", *here)
    assert status == 2 and "no experiment 7 waits for a verdict" in error and not list(study.inbox.glob("*"))
    assert typed("skip", "3", *here)[0] == 0
    (asked,) = [request for _, request in inbox.waiting(study.inbox)]
    assert msgspec.structs.asdict(asked) == msgspec.structs.asdict(Request(kind="skip", n=3))


def test_one_worker_fills_in_the_run_that_several_left_out(tmp_path, corpus):
    """Runs 1 and 3 of the baseline have results, and run 2 was lost."""
    study, setup = studies.make(tmp_path / "study", corpus, decide="confirmed")
    studies.play(study, setup, [], experiments=0)
    events = [{name: value for name, value in one.items() if name not in ("seq", "time", "check")} for one in read(study.events)]
    study.events.unlink()
    ledger = Ledger(study.events)
    wanted = [one for one in events if one["event"] in ("study", "start", "begin", "run") and one.get("k") != 2]
    begin = next(one for one in events if one["event"] == "begin" and one["k"] == 2)
    third = next(at for at, one in enumerate(wanted) if one["event"] == "begin" and one["k"] == 3)
    wanted[third:third] = [{"event": "workers", "count": 3}, begin]
    for one in [*wanted, {"event": "lost", "n": 0, "k": 2, "reason": "a kill"}]:
        ledger.append(one.pop("event"), **one)
    assert [run.k for run in state_of(study).experiments[0].runs] == [1, 3] and not state_of(study).skipped
    ending, _ = studies.play(study, setup, [], experiments=0)
    assert ending.exit_status == 0, ending
    assert [run.k for run in state_of(study).best.runs] == [1, 2, 3] and state_of(study).best.runs[1].seed == begin["seed"]


def test_a_rebased_edit_is_told_from_both_ends(tmp_path, corpus, typed):
    crew = Virtual(
        2, score({"DEPTH": 0.05, "MLP_RATIO": 0.04}), seconds=lambda order: 300.0 if "MLP_RATIO = 4" in order.text else 330.0
    )
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}, {"MLP_RATIO": 3}))
    here = ("--workspace", str(study.folder))
    assert state.experiments[2].state == "rebased" and state.counts() == {"keep": 2, "discard": 0, "crash": 0}
    assert "judged against experiment 0; it goes on as experiment 3" in typed("show", "2", *here)[1]
    shown = typed("show", "3", *here)[1]
    assert "judged against experiment 1; the edit of experiment 2, made again" in shown and ", worker " in shown
    assert [line.split()[3] for line in typed("results", *here)[1].splitlines()[1:]] == ["baseline", "keep", "rebased", "keep"]
    assert "2 tried: 2 kept, 0 no better" in (study.state_folder / "lessons.md").read_text(encoding="utf-8")
    page = html.write(study, answers.state_of(study))
    with launched() as browser:
        for n, words in ((2, "an edit of experiment 0 · rebased as experiment 3"), (3, "experiment 1 · experiment 2 made again")):
            seen = Watched(browser, f"{page.as_uri()}#{n}")
            seen.page.wait_for_selector("#d-runs td")
            assert words in seen.page.locator("#d-by").inner_text()
            assert "worker" in seen.page.locator("#d-runs").inner_text() and seen.complaints == []
