"""Limits on what is measured, from the option to the verdict: real processes, real git, figures that are a hundred times apart."""

import json
from dataclasses import replace

import pytest
import studies
from studies import BETTER, git, play, state_of

from autoresearch.loop import audits
from autoresearch.propose.views import Views
from autoresearch.report.page.details import Details
from autoresearch.run import scoring
from autoresearch.run.constraints import Constraints
from autoresearch.study.ledger import read
from autoresearch.study.store import Store
from autoresearch.task import Task

pytestmark = pytest.mark.slow
# A model of the null backend that is told apart by how many rows it is asked at once.
MODEL = """
class Model(runtime.Table):
    def __call__(self, ids):
        answers = super().__call__(ids)
        {does}
        return answers


def build_model(spec: measure.Spec) -> runtime.Table:
    return Model(spec.vocab_size)


def main"""
SLOW = "time.sleep(0.12 * (len(ids) == 1))"
QUICK_AND_BAD = "answers = answers * (len(ids) > 1)"
REMEMBERS = """seen = self.__dict__.setdefault("seen", set())
        if len(ids) == 1:
            seen.add(ids.tobytes())
        answers = answers * np.array([row.tobytes() not in seen for row in ids])[:, None, None]"""


def text(study, does: str) -> str:
    """The best of the landscape so far, with a model that does so."""
    found = git(study.folder, "show", "HEAD:train.py").replace("def main", MODEL.format(does=does), 1)
    for name, value in BETTER.items():
        found = found.replace(f"{name} = {16 if name == 'DEPTH' else 128}", f"{name} = {value}", 1)
    return found.replace("import landscape", "import landscape\nimport numpy as np", 1)


def test_an_edit_that_answers_too_slowly_is_a_discard_that_says_so_and_its_score_is_known(tmp_path, corpus, typed):
    study, setup = studies.played(tmp_path / "study", corpus)
    limited = replace(setup, constraints=Constraints().changed(["latency_ms<=60"]))
    play(study, limited, [text(study, SLOW)], experiments=1)
    state = state_of(study)
    slow = state.experiments[1]
    assert (slow.verdict, slow.state) == ("discard", "limit") and slow.val_bpb < state.best.val_bpb
    assert slow.reason.startswith("one answer takes 1") and slow.reason.endswith(" ms, and the limit is latency_ms<=60")
    assert slow.quantities["latency_ms"] > 120 and state.best.quantities["latency_ms"] < 60

    assert Details(study).of(slow)["runs"][0]["measured"]["latency_ms"] > 120

    shown = Views(study, Store(study.folder, study.tag)).history(state)[-1]
    assert (shown.status, shown.val_bpb) == ("limit", None), "a score would lead the search to what may not be"

    where = ("--workspace", str(study.folder))
    assert f"latency_ms:       {slow.quantities['latency_ms']:.4g}" in typed("show", "1", *where)[1]
    runs = json.loads(typed("show", "1", "--json", *where)[1])["runs"]
    known = runs[0]["quantities"]
    assert {"params", "memory_gb", "answers_per_second", "checkpoint_mb", "startup_seconds"} <= known.keys()
    assert known["params"] == 320 and 0.01 < known["memory_gb"] < 1

    status, out, _ = typed("best", "--limit", "latency_ms <= 60", *where)
    assert status == 0 and out.startswith("best within latency_ms<=60: experiment 0, val_bpb")
    status, out, _ = typed("best", "--limit", "latency_ms<=9999", "--json", *where)
    found = json.loads(out)
    assert status == 0 and found["experiment"] == 1 and not found["has_weights"] and "class Model" in found["train_py"]
    status, out, _ = typed("best", "--limit", "latency_ms<=0.000001", *where)
    assert status == 1 and out.startswith("no experiment keeps latency_ms<=1e-06; the nearest is experiment 0")
    assert f"autoresearch export 0 --workspace {study.folder}" in out

    status, out, _ = typed("pareto", *where)
    assert status == 0 and [line.split()[:2] for line in out.splitlines()[1:3]] == [["*", "0"], ["*", "1"]]
    assert (study.folder / "pareto.png").stat().st_size > 10_000
    status, out, _ = typed("pareto", "--csv", "--quantity", "params", *where)
    assert [row.split(",")[0] for row in out.splitlines()] == ["experiment", "1", "0"]


def test_a_model_that_is_another_one_where_it_is_timed_is_a_cheat(tmp_path, corpus):
    study, setup = studies.played(tmp_path / "study", corpus)
    play(study, setup, [text(study, QUICK_AND_BAD)], experiments=1)
    (cheat,) = state_of(study).experiments[1:]
    assert (cheat.verdict, cheat.state) == ("discard", "cheat") and "questions that are asked alone are others" in cheat.reason


def test_one_that_remembers_what_it_was_asked_alone_is_found_by_a_process_that_does_not(tmp_path, corpus, monkeypatch):
    """It tells the same lie twice, so that its answers agree. Few lies and few cuts: none lies at a lie by chance."""
    study, setup = studies.played(tmp_path / "study", corpus)
    monkeypatch.setattr(scoring, "MOST_ALONE", 2)
    monkeypatch.setattr(audits, "KEEP_CUTS", 1)
    play(study, setup, [text(study, REMEMBERS)], experiments=1)
    (cheat,) = state_of(study).experiments[1:]
    assert (cheat.verdict, cheat.state) == ("discard", "cheat") and "the log-probability at position" in cheat.reason
    assert not any(entry["event"] == "revoked" for entry in read(study.events)), "it was never kept"


def test_a_limit_on_the_command_line_is_checked_kept_and_lifted(fresh, typed):
    study, _ = fresh
    call = ("run", "--workspace", str(study.folder), "--sandbox", "none", "--experiments", "0", "--agent", "search", "--plain")
    status, _, complaint = typed(*call, "--limit", "latncy_ms<=5")
    assert status == 2 and "nothing here measures 'latncy_ms'; did you mean latency_ms?" in complaint
    status, _, complaint = typed(*call, "--limit", "train_memory_gb<=5")
    assert status == 2 and "the backend null does not know how much memory a training took" in complaint
    assert not state_of(study).experiments

    status, out, _ = typed(*call, "--limit", "latency_ms<=0.000001", "--limit", "num_steps≥1")
    assert status == 1 and "limits from now on: --limit 'latency_ms<=1e-06', --limit 'num_steps>=1'" in out
    assert "the baseline failed (limit): one answer takes " in out and "run again with a limit that the baseline keeps" in out
    status, out, _ = typed(*call, "--limit", "latency_ms=none")
    assert status == 0 and "limits from now on: --limit 'num_steps>=1'" in out
    written = [entry for entry in read(study.events) if entry["event"] == "limits"]
    assert [entry.get("limits") for entry in written] == [["latency_ms<=1e-06", "num_steps>=1"], ["num_steps>=1"]]
    state = state_of(study)
    assert state.limits == Constraints().changed(["num_steps>=1"])
    told = Views(study, Store(study.folder, study.tag)).view(state).limits
    assert told == {"limits": ["num_steps>=1"], "baseline": {"num_steps": state.best.quantities["num_steps"]}}


def test_a_new_study_is_not_made_with_a_limit_that_nothing_measures(tmp_path, typed):
    folder = tmp_path / "study"
    status, _, complaint = typed("init", str(folder), "--backend", "null", "--profile", "null", "--limit", "latncy_ms<=5")
    assert status == 2 and "nothing here measures 'latncy_ms'; did you mean latency_ms?" in complaint and not folder.exists()


def test_a_task_brings_a_quantity_of_its_own(tmp_path, corpus):
    class Guarded(type(studies.make(tmp_path / "other", corpus)[1].task)):
        @classmethod
        def guards(cls, options) -> dict[str, str]:
            return {"bits_elsewhere": "test", "gone": "gone"}

        def questions(self, split):
            return None if split == "gone" else super().questions(split)

    study, setup = studies.played(tmp_path / "study", corpus)
    task = setup.task
    guarded = Guarded(task.table, task.prepared, task.options, task.sizes)
    assert isinstance(guarded, Task)
    limited = replace(setup, task=guarded, constraints=Constraints().changed(["bits_elsewhere<=0.5", "gone<=1 warn"]))
    play(study, limited, [text(study, "pass")], experiments=1)
    (tried,) = state_of(study).experiments[1:]
    assert tried.state == "limit" and tried.reason.endswith("and the limit is bits_elsewhere<=0.5")
    assert tried.runs[0].result.measured["bits_elsewhere"] == pytest.approx(tried.val_bpb, rel=0.05), "bits a byte of another text"
