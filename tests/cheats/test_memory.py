"""A model that remembers rows from one process to the next: what sandbox level 0 lets pass, and how a keep is revoked."""

from dataclasses import replace

import pytest
from e2e import studies
from processes import REMEMBERS, model

from autoresearch.propose.views import Views
from autoresearch.report import picture
from autoresearch.sandbox import levels
from autoresearch.study.session import opened

pytestmark = pytest.mark.slow  # whole studies
LEVEL = levels.reach().level
needs_level_2 = pytest.mark.skipif(LEVEL < 2, reason="no sandbox of level 2 here: a process can write for the next")


def remembers(study, uses: int) -> str:
    text = studies.text_of(study)
    return model(REMEMBERS.replace("USES", str(uses)), "").applied(text)


def test_a_keep_that_fails_a_later_audit_is_revoked(tmp_path, corpus):
    """It takes its rows from the file in its first audit, and no longer in the one at the end of the call."""
    study, setup = studies.played(tmp_path / "study", corpus, studies.BETTER)
    _, recorder = studies.play(study, setup, [studies.BETTER, remembers(study, uses=1)])
    state = studies.state_of(study)
    honest, cheat = state.experiments[1:]
    assert [bool(audit.reason) for audit in cheat.audits] == [False, True]
    assert (cheat.verdict, cheat.state, cheat.val_bpb) == ("discard", "cheat", None) and "changed by" in cheat.reason
    assert state.best is honest

    assert studies.git(study.folder, "rev-parse", "autoresearch/t") == honest.commit
    assert studies.git(study.folder, "rev-parse", "refs/autoresearch/t/2") == cheat.commit, "it can still be looked at"
    assert studies.git(study.folder, "status", "--porcelain") == ""
    assert not [note for note in recorder.notes if "did not make" in note], "the study's own commit is no user's"
    rows = [row.split("\t") for row in (study.folder / "results.tsv").read_text(encoding="utf-8").splitlines()]
    assert [row[3] for row in rows[1:]] == ["keep", "keep", "discard"] and rows[3][1] == "0.000000"

    assert state.counts() == {"keep": 1, "discard": 1, "crash": 0}
    assert [one.outcome for one in state.experiments] == ["baseline", "keep", "discard"]
    picture.draw(state, tmp_path / "picture.png", "a machine")

    with opened(study, setup, studies.Recorder()) as session:
        views = Views(session.study, session.store)
        at_keep = before_it_was_revoked(state)
        assert [past.status for past in views.history(at_keep)] == ["baseline", "keep", "keep"]
        shown = views.history(session.state)[-1]
        assert shown.status == "cheat" and shown.val_bpb is None and "uses tokens before" in shown.reason

    studies.play(study, setup, [studies.BETTER, "unused", {"WARMDOWN_RATIO": 0.3}])
    state = studies.state_of(study)
    assert state.experiments[3].parent == honest.commit, "the next proposal builds on the keep before"


def before_it_was_revoked(state):
    experiments = [*state.experiments[:2], replace(state.experiments[2], verdict="keep", state="keep", scores=[1.0])]
    return replace(state, experiments=experiments, best=experiments[2])


def test_at_level_0_a_memory_on_disk_passes(tmp_path, corpus):
    """No audit finds it, so no promise holds at level 0 against intent (docs/design/audit.md). When this fails, say so there."""
    study, setup = studies.played(tmp_path / "study", corpus)
    studies.play(study, setup, [remembers(study, uses=1000)])
    baseline, cheat = studies.state_of(study).experiments
    assert cheat.verdict == "keep" and cheat.val_bpb < baseline.val_bpb - 0.3
    assert max(audit.cuts for audit in cheat.audits) == 256 and not any(audit.reason for audit in cheat.audits)


@needs_level_2
def test_at_level_2_there_is_no_memory_on_disk(tmp_path, corpus):
    study, setup = studies.played(tmp_path / "study", corpus)
    studies.play(study, replace(setup, sandbox=LEVEL), [remembers(study, uses=1000)])
    cheat = studies.state_of(study).experiments[1]
    assert cheat.verdict == "crash"
    assert "PermissionError" in cheat.reason or "Read-only file system" in cheat.reason, "the second with bubblewrap"
