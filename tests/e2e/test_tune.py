"""Autotune with real trials, which train and are scored: PyTorch on the CPU, not compiled, which would take half a minute each."""

from dataclasses import replace

import pytest
import studies

from autoresearch.data.prepare import prepare
from autoresearch.hardware.autotune import tune, tune_runtime
from autoresearch.hardware.autotune.stopwatch import Limits
from autoresearch.hardware.planner import plan, profiles
from autoresearch.hardware.planner.model import Sizes


def other_than(order, tried):
    """One more candidate than the named profile, with its vocabulary: the text is prepared once."""
    own = tried[0].sizes
    alike = [one for one in order if one.sizes != own and one.sizes.vocab_size == own.vocab_size]
    return alike[0] if len(tried) < 2 else None


@pytest.mark.slow
@pytest.mark.thorough
def test_trials_are_made_once_and_the_outcome_is_kept(tmp_path, monkeypatch):
    (tmp_path / "text").mkdir()
    name = str(studies.write_corpus(tmp_path / "text", words=4000))

    def text(vocab_size: int):
        return prepare(name, vocab_size)

    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AUTORESEARCH_COMPILE", "off")
    monkeypatch.setattr(tune, "FINALISTS", 2)  # time
    monkeypatch.setattr(tune.trials, "next_candidate", other_than)
    monkeypatch.setattr(tune_runtime, "ROUNDS", 3)
    attention = tune_runtime.alternatives
    monkeypatch.setattr(tune_runtime, "alternatives", lambda facts: [one for one in attention(facts) if one[0] == "attention"])
    monkeypatch.setattr(tune, "others_load", lambda: None)  # other tests run beside this one
    own = profiles.load("cpu-small")
    data = replace(own.data, seq_len=128, vocab_size=2048)
    profile = replace(own, data=data).with_train_seconds(20)
    made = replace(plan.make("cpu", "cpu-small"), profile=profile)
    said = []
    with monkeypatch.context() as hasty:
        hasty.setattr(tune, "measure_limits", lambda *_: Limits(1e11, 1e10))
        assert tune.tuned(made, name, text, said.append, seconds=1.0).profile == profile, "no time to try anything"
    assert tune.remembered(made) is None, "and the next study tries again"
    long = 600.0  # however slow the machine is: nothing is left out for time
    first = tune.tuned(made, name, text, said.append, seconds=long)
    found = tune.remembered(made, name)
    assert any("1 s with depth 3, width 192" in line for line in said)
    own, other, *last = found.trials
    assert all(trial.learnt for trial in found.trials), [trial.reason for trial in found.trials]
    assert own.sizes == Sizes.of(profile, made.choice.backend.train_py.read_text("utf-8")) != other.sizes
    # A trial ends with the step during which its time ran out, and beside a load that step is long.
    first_round, last_round = ([trial.learnt.seconds for trial in half] for half in (found.trials[:2], last))
    assert min(first_round) >= 20 * tune.SHORT and min(last_round) >= 20 * tune.LONG and max(first_round) < min(last_round)
    assert {trial.sizes for trial in last} == {own.sizes, other.sizes}
    assert all(0 < trial.expected <= trial.learnt.bpb * 1.01 < 20 for trial in found.trials), "more time, a better score"
    assert tune.remembered(made) == found and tune.remembered(made, "another text") is None
    assert found.limits.matmul_flops > 1e9 and found.limits.bandwidth > 1e8
    # Beside a busy process a smaller model may be no better than the named one: then that stays.
    assert first.profile.name == ("auto" if found.sizes or found.runtime else "cpu-small")
    assert "autotune" in first.profile_reason
    train_py = made.choice.backend.train_py.read_text(encoding="utf-8")
    assert Sizes.of(first.profile, train_py) == (found.sizes or Sizes.of(profile, train_py))

    offered = made.choice.facts.choices
    assert [change.name for change in found.changes] == ["attention"] and "compile" not in offered
    assert all(change.ratio for change in found.changes), found.changes
    assert first.profile.runtime == found.runtime == {change.name: change.value for change in found.changes if change.taken}
    assert all(getattr(first.choice.facts, name) == value for name, value in found.runtime.items())

    said.clear()
    again = tune.tuned(made, name, text, said.append)
    assert not any("s left" in line for line in said) and "found before, for this text on this machine" in said[0]
    assert again.profile == first.profile
    with monkeypatch.context() as busy:
        busy.setattr(tune, "_measure", lambda *_: found)
        busy.setattr(tune, "others_load", lambda: "other processes take 76% of the usable cores")
        tune.tuned(made, "a text beside a load", text, said.append)
    assert tune.remembered(made, "a text beside a load") is None
    assert "autotune  not remembered for other studies: other processes take 76% of the usable cores" in said
    other = replace(made, profile=profile.with_train_seconds(300))
    assert tune.remembered(other) is None  # other terms


def test_what_trains_nothing_is_not_tuned():
    made = plan.make("null", "null")
    assert tune.tuned(made, "stdlib", lambda vocab_size: None) == made
