"""The loop of several workers, with workers in virtual time: who gets what, what is judged against what, what a death loses."""

import random
import re
from collections import Counter

import pytest
import studies
from virtual_crew import Virtual, unaudited

from autoresearch import constants
from autoresearch.agents.base import Exhausted, Proposal
from autoresearch.agents.mix import Agents
from autoresearch.loop.loop import Until, run_study
from autoresearch.study import decide
from autoresearch.study.ledger import read
from autoresearch.study.state import State

pytestmark = pytest.mark.slow  # a study's git and ledger, on a disk


class Ideas:
    """An agent that proposes values[n] for DEPTH, whatever is the best; what it is shown is kept."""

    name = "ideas"
    thinks = False

    def __init__(self, *edits: dict):
        self.edits, self.next = edits, 0

    def propose(self, view):
        if self.next == len(self.edits):
            raise Exhausted("that was all")
        edit = self.edits[self.next]
        self.next += 1
        return Proposal(constants.write(view.train_py, edit), str(edit), "because")


def score(gains: dict[str, float], sigma: float = 0.001):
    """A train.py's score: 4, less the gain of each constant that is not as in the baseline; and the seed's noise."""
    first = {"DEPTH": 16, "ASPECT_RATIO": 128, "MLP_RATIO": 4, "SOFTCAP": 15.0}

    def of(text: str, seed: int) -> float:
        values = {name: one.value for name, one in constants.read(text).items()}
        gained = sum(gains.get(name, 0.0) for name, value in first.items() if values[name] != value)
        return 4.0 - gained + random.Random(f"{seed} {text}").gauss(0, sigma)

    return of


def night(tmp_path, corpus, crew, agent, rule="confirmed", experiments=None):
    study, setup = studies.make(tmp_path / "study", corpus, decide=rule)
    recorder = studies.Recorder()
    with unaudited(), studies.without_pictures():
        ending = run_study(study, setup, Agents(agent), Until(experiments), recorder, crew=lambda: crew)
    return study, studies.state_of(study), ending, recorder


def sound(study) -> None:
    """Each run that was begun has one end, each seed one result, each experiment one verdict, and each keep the base it was of."""
    state, best, under_way, seeds = State(), None, set(), Counter()
    for entry in read(study.events):
        kind, run = entry["event"], (entry.get("n"), entry.get("k"))
        if kind == "begin":
            assert run not in under_way
            under_way.add(run)
        if kind in ("run", "lost", "invalid"):
            under_way.remove(run)
        if kind == "run":
            seeds[entry["seed"]] += 1
        if kind == "verdict" and entry["verdict"] == "keep":
            base = state.experiments[entry["n"]].base
            assert entry["n"] == 0 or base in (None, best), "kept over another base than it was measured against"
            best = entry["n"]
        assert state.apply(entry)
    assert not state.skipped and not under_way
    assert set(seeds.values()) <= {1}
    assert [one.number for one in state.experiments] == list(range(len(state.experiments)))


def test_workers_are_all_at_work_and_a_night_is_sound(tmp_path, corpus):
    edits = [{"DEPTH": 2 + n} for n in range(12)]
    crew = Virtual(4, score({"DEPTH": -0.05}))
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*edits))
    sound(study)
    assert ending.reason == "that was all" and ending.exit_status == 0
    assert state.workers == 4 and len(state.experiments) == 13 and state.counts()["discard"] == 12
    assert len(state.experiments[0].runs) == 4, "no worker stands still beside the baseline"
    assert crew.trainings == 16 and state.lost == 0, "a loser costs one run, also while workers are free"
    assert crew.now <= 300 * 1 + 320 * 3 + 1, "all at once: the baseline, and three rounds of four"


def test_an_edit_of_an_older_best_is_made_again_on_the_new_one(tmp_path, corpus):
    """Two edits that gain, at once: the second one is not judged against the first, but made again on it and tested from run 1."""
    crew = Virtual(
        2, score({"DEPTH": 0.05, "MLP_RATIO": 0.04}), seconds=lambda order: 300.0 if "MLP_RATIO = 4" in order.text else 330.0
    )
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}, {"MLP_RATIO": 3}))
    sound(study)
    first, second, again = state.experiments[1:4]
    assert (first.verdict, second.state, again.verdict) == ("keep", "rebased", "keep")
    assert second.base == 0 and again.base == 1 and again.runs[0].k == 1
    text = studies.git(study.folder, "show", f"{again.commit}:train.py")
    assert re.search(r"^DEPTH = 8\b", text, re.M) and re.search(r"^MLP_RATIO = 3\b", text, re.M)
    assert state.best is again and state.best.val_bpb == pytest.approx(3.91, abs=0.003)
    assert len(again.results) >= decide.LEAST_RUNS + decide.CHECK_RUNS["confirmed"]
    assert not state.to_rebase and not state.open


def test_what_is_in_doubt_has_all_runs_that_a_keep_needs_at_once(tmp_path, corpus):
    crew = Virtual(5, score({"DEPTH": 0.05}))
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}))
    sound(study)
    assert state.best is state.experiments[1] and len(state.best.scores) == decide.LEAST_RUNS
    assert crew.now <= 4 * 300 + 20 + 1, "the baseline, its first run, the others, the check"


def test_edits_of_the_same_line_are_not_merged(tmp_path, corpus):
    crew = Virtual(2, score({"DEPTH": 0.05}), seconds=lambda order: 300.0 if "DEPTH = 9" in order.text else 330.0)
    study, state, _, recorder = night(tmp_path, corpus, crew, Ideas({"DEPTH": 9}, {"DEPTH": 10}))
    sound(study)
    assert state.experiments[1].verdict == "keep" and state.experiments[2].state == "rebased"
    assert len(state.experiments) == 3 and not state.to_rebase
    assert any("in the lines of this edit" in event.get("reason", "") for event in recorder.events if event["event"] == "rejected")


def test_what_loses_to_its_own_base_is_not_made_again(tmp_path, corpus):
    crew = Virtual(
        2, score({"DEPTH": 0.05, "MLP_RATIO": -0.1}), seconds=lambda order: 300.0 if "MLP_RATIO = 4" in order.text else 2900.0
    )
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}, {"MLP_RATIO": 3}))
    sound(study)
    loser = state.experiments[2]
    assert state.best.number == 1 and loser.state == "discard" and "of experiment 0, its base" in loser.reason


def test_a_worker_that_dies_loses_its_run_and_nothing_else(tmp_path, corpus):
    edits = [{"DEPTH": 2 + n} for n in range(8)]
    deaths = {at: 1 + k % 3 for k, at in enumerate(range(100, 2000, 130))}
    crew = Virtual(3, score({"DEPTH": -0.05}), deaths=deaths)
    study, state, ending, recorder = night(tmp_path, corpus, crew, Ideas(*edits))
    sound(study)
    assert ending.reason == "that was all"
    assert [one.verdict for one in state.experiments] == ["keep"] + ["discard"] * 8
    assert state.lost >= 3 and any("is started again" in note for note in recorder.notes)


def test_strict_and_a_limit_of_experiments(tmp_path, corpus):
    crew = Virtual(3, score({"DEPTH": 0.01, "MLP_RATIO": 0.01, "SOFTCAP": 0.01}))
    edits = [{"DEPTH": 8}, {"MLP_RATIO": 3}, {"SOFTCAP": 20.0}, {"ASPECT_RATIO": 64}, {"ADAM_BETA1": 0.7}]
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*edits), rule="strict", experiments=3)
    sound(study)
    assert ending.reason == "3 experiments done"
    assert state.counts()["keep"] == 3 and state.gain.bpb == pytest.approx(0.03, abs=0.005)
    assert sum(one.state == "rebased" for one in state.experiments) == 3, "two when the first was kept, and one of them again"


def test_one_worker_goes_on_where_several_were(tmp_path, corpus):
    gains = score({"DEPTH": 0.05, "MLP_RATIO": 0.04})

    class Interrupted(Virtual):
        def take(self, seconds):
            if self.trainings >= 9:
                raise KeyboardInterrupt
            return super().take(seconds)

    study, state, ending, _ = night(tmp_path, corpus, Interrupted(2, gains), Ideas({"DEPTH": 8}, {"MLP_RATIO": 3}))
    assert ending.exit_status == 130 and len(state.open) == 2 and not state.under_way and state.lost
    setup = studies.terms.setup(study, studies.detected("null").backend, studies.prepare(str(corpus), 320), sandbox=0)
    with unaudited(), studies.without_pictures():
        run_study(study, setup, Agents(Ideas()), Until(), studies.Recorder(), crew=lambda: Virtual(1, gains))
    sound(study)
    state = studies.state_of(study)
    assert state.workers == 1 and not state.open and state.gain.bpb == pytest.approx(0.09, abs=0.005)
