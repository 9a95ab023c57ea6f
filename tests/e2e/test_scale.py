"""What an experiment costs beside its training does not grow with the study: counted, not timed (docs/design/scale.md)."""

import pages
import pytest

from autoresearch.propose import views
from autoresearch.study import ledger
from autoresearch.study.state import State
from autoresearch.study.store import Store


@pytest.fixture
def long(tmp_path, corpus):
    """(A study of 25 experiments, its events)."""
    study = pages.made(tmp_path / "study", corpus, 25)
    return study, ledger.read(study.events)


def sent_back(entries: list[dict], at: int) -> dict:
    """A proposal that failed before its training, before the event `at` of an experiment."""
    start = entries[at]
    words = {"description": "sent back", "reasoning": "", "agent": "search", "cost_usd": 0.0, "reason": "no", "log": "no"}
    commit = {"commit": start["commit"], "key": f"k{start['n']}", "state": "crash"}
    return {"event": "rejected", "n": start["n"], "time": start["time"]} | words | commit


@pytest.mark.slow
def test_what_an_agent_is_shown_is_read_once_and_stays_what_a_fresh_reader_sees(long, monkeypatch):
    study, entries = long
    starts = [at for at, entry in enumerate(entries) if entry["event"] == "start"]
    for at in (starts[20], starts[12], starts[12]):
        entries.insert(at, sent_back(entries, at))
    best = [entry["n"] for entry in entries if entry["event"] == "verdict" and entry["verdict"] == "keep"][-1]
    last = entries[-1]["time"]
    which = {"n": best, "k": 6, "seed": 999, "folder": "again"}
    entries += [{"time": last, "event": "begin", **which}, {"time": last, "event": "run", "status": "ok", "val_bpb": 0.2, **which}]
    entries += [{"time": last, "event": "revoked", "n": best, "reason": "it cheats"}]
    store, state, read, made = Store(study.folder, study.tag), State(), [], []
    text, decided = Store.text, views.Views._decided
    monkeypatch.setattr(Store, "text", lambda self, commit: read.append(commit) or text(self, commit))
    monkeypatch.setattr(views.Views, "_decided", lambda self, one: made.append(one.number) or decided(self, one))
    grown = views.Views(study, store)
    for line, entry in enumerate(entries, 1):
        assert state.apply(entry | {"seq": line}), state.skipped
        read.clear()
        made.clear()
        history = grown.history(state)
        assert len(made) <= 1 and len(read) <= 1, entry
        if entry["event"] == "rejected" or line % 20 == 0 or line > len(entries) - 3:
            assert history == views.Views(study, store).history(state)
            assert grown.lessons(state) == views.Views(study, store).lessons(state)
    assert len(history) == 26 + 3 and history[best + 3].val_bpb is None
    assert grown.history(State.from_events([])) == []
