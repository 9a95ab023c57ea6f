"""The loop of several workers, with workers in virtual time: who gets what, what is judged against what, what a death loses."""

import random
import re
import time
from collections import Counter
from dataclasses import replace

import pytest
import studies
from virtual_crew import Virtual, unaudited

from autoresearch import constants
from autoresearch.agents.base import Exhausted, Proposal
from autoresearch.agents.mix import Agents
from autoresearch.loop import steering, together
from autoresearch.loop.loop import Until, run_study
from autoresearch.loop.next_step import RunNext
from autoresearch.loop.steering import PAUSED
from autoresearch.loop.stop import ENVIRONMENT_TRIES
from autoresearch.loop.together import MOST_BASELINE_RUNS
from autoresearch.study import decide, inbox
from autoresearch.study.inbox import Request
from autoresearch.study.ledger import read
from autoresearch.study.state import State
from autoresearch.workers.work import Done, Failed, Here

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


def night(tmp_path, corpus, crew, agent, rule="confirmed", experiments=None, **audited):
    study, setup = studies.make(tmp_path / "study", corpus, decide=rule)
    recorder = studies.Recorder()
    agents = agent if isinstance(agent, Agents) else Agents(agent)
    with unaudited(**audited), studies.without_pictures():
        ending = run_study(study, setup, agents, Until(experiments), recorder, crew=lambda: crew)
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
    assert len(state.experiments[0].runs) == 1 and state.counts() == {"keep": 3, "discard": 0, "crash": 0}
    assert state.gain.bpb == pytest.approx(0.03, abs=0.005)
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


def test_the_first_run_begins_when_all_are_here(tmp_path, corpus):
    """Else the baseline's would have the machine for themselves."""
    crew = Virtual(2, score({"DEPTH": -0.05}), late={2: 500.0})
    night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}))
    assert crew.now == pytest.approx(500 + 2 * 300 + 320), "the baseline's three runs, two at once; and an experiment"


def test_many_workers_make_no_more_of_the_baseline_than_is_useful(tmp_path, corpus):
    study, state, _, _ = night(tmp_path, corpus, Virtual(MOST_BASELINE_RUNS + 2, score({})), Ideas())
    sound(study)
    assert len(state.experiments[0].runs) == MOST_BASELINE_RUNS


def test_the_best_is_run_again_where_that_is_what_is_in_doubt(tmp_path, corpus):
    crew = Virtual(4, score({"DEPTH": 0.003}))
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}))
    sound(study)
    first, second = state.experiments
    assert second.verdict == "keep" and len(second.scores) == decide.LEAST_RUNS
    assert len(first.scores) == 4 and first.again and crew.now <= 300 + 320 + 3 * 300 + 1, (
        "several at once: it, the best, its check"
    )


def test_a_best_that_fails_in_its_check_is_run_no_more(tmp_path, corpus):
    known, seen = score({"DEPTH": 0.05}), []

    def fails_later(text: str, seed: int) -> float | None:
        seen.append("DEPTH = 8 " in text)
        return known(text, seed) if sum(seen) <= decide.LEAST_RUNS or not seen[-1] else None

    study, state, ending, _ = night(tmp_path, corpus, Virtual(2, fails_later), Ideas({"DEPTH": 8}))
    sound(study)
    assert ending.reason == "that was all" and state.best.number == 1
    assert len(state.best.runs) == decide.LEAST_RUNS + decide.CHECK_RUNS["confirmed"] and not state.best.again


def test_what_fails_before_its_training_is_no_experiment(tmp_path, corpus):
    """An agent's edit goes back to it; one that was made again on a new best is over."""
    crew = Virtual(
        2, score({"DEPTH": 0.05, "MLP_RATIO": 0.04}), seconds=lambda order: 300.0 if "MLP_RATIO = 4" in order.text else 330.0,
        refuses=lambda text: "SOFTCAP = 20.0" in text or ("DEPTH = 8 " in text and "MLP_RATIO = 3 " in text),
    )  # fmt: skip
    edits = [{"DEPTH": 8}, {"MLP_RATIO": 3}, {"SOFTCAP": 20.0}]
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*edits))
    sound(study)
    assert ending.reason == "that was all" and not state.to_rebase
    assert [one.state for one in state.experiments] == ["baseline", "keep", "rebased"]
    assert {(one.description, one.reason) for one in state.rejections} == {(str(edit), "it fell over") for edit in edits[1:]}


def test_an_edit_whose_check_was_lost_is_not_taken_for_one_of_the_new_best(tmp_path, corpus):
    """It would take back what that has gained."""

    class SlowCheck(Virtual):
        def order(self, worker, order):
            self._check_seconds = 5000.0 if "MLP_RATIO = 3 " in order.text else 20.0
            super().order(worker, order)

    crew = SlowCheck(2, score({"DEPTH": 0.05, "MLP_RATIO": 0.04}), deaths={4500.0: 2})
    study, state, _, _ = night(tmp_path, corpus, crew, Ideas({"DEPTH": 8}, {"MLP_RATIO": 3}))
    sound(study)
    assert [one.description for one in state.experiments] == ["baseline", "{'DEPTH': 8}"] and state.best.number == 1


# What goes wrong


def test_a_night_goes_on_with_the_workers_that_are_left_and_ends_without_any(tmp_path, corpus):
    edits = [{"DEPTH": 2 + n} for n in range(8)]
    crew = Virtual(3, score({"DEPTH": -0.05}), gone={100.0: 1, 800.0: 3, 1500.0: 2})
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*edits))
    sound(study)
    assert (ending.reason, ending.exit_status) == ("no worker is left; the last one: its machine left", 1)
    assert state.best is not None and 1 < len(state.experiments) < 9 and state.lost >= 2


class Failing(Virtual):
    """The machines of some workers fail each training, after so many seconds."""

    def __init__(self, *args, workers: set[int], after: float):
        super().__init__(*args)
        self.workers, self.after, self.failures = workers, after, 0

    def _train(self, worker, order):
        if worker not in self.workers:
            return super()._train(worker, order)
        self.failures += 1
        self._say(self.after, worker, Failed(order.id, "no room on the card"))


EIGHT = [{"DEPTH": 2 + n} for n in range(8)]


def test_a_machine_that_fails_now_and_then_ends_nothing(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(together, "ENVIRONMENT_WAIT_SECONDS", 0.0)
    crew = Failing(2, score({"DEPTH": -0.05}), workers={2}, after=250.0)
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*EIGHT))
    sound(study)
    assert ending.reason == "that was all" and len(state.experiments) == 9
    assert state.lost == crew.failures > 2 * ENVIRONMENT_TRIES, "never so often in a row"


def test_a_machine_that_has_failed_rests_while_others_work(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(together, "ENVIRONMENT_WAIT_SECONDS", 3600.0)
    crew = Failing(2, score({"DEPTH": -0.05}), workers={2}, after=1.0)
    study, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*EIGHT))
    sound(study)
    assert ending.reason == "that was all" and len(state.experiments) == 9 and state.lost == crew.failures == 1


def test_machines_that_fail_all_the_time_end_it(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(together, "ENVIRONMENT_WAIT_SECONDS", 0.0)
    crew = Failing(2, score({}), workers={1, 2}, after=1.0)
    _, state, ending, _ = night(tmp_path, corpus, crew, Ideas(*EIGHT))
    assert ending.exit_status == 1 and state.lost == crew.failures
    assert ending.reason == f"{2 * ENVIRONMENT_TRIES} times in a row the machine failed, not the experiment: no room on the card"


def test_a_training_through_which_a_far_machine_slept_runs_again_with_its_seed(tmp_path, corpus):
    class Far(Virtual):
        slept = False

        def _say(self, seconds, worker, said):
            if isinstance(said, Here):
                said = replace(said, is_child=False)
            if isinstance(said, Done) and not self.slept:
                self.slept, said = True, replace(said, asleep_seconds=3600.0)
            super()._say(seconds, worker, said)

    study, state, _, recorder = night(tmp_path, corpus, Far(1, score({})), Ideas(), rule="strict")
    sound(study)
    (invalid,) = (event for event in recorder.events if event["event"] == "invalid")
    assert invalid["state"] == "suspended" and "slept for 3600 s" in invalid["reason"]
    assert [run.seed for run in state.best.runs] == [invalid["seed"]]


def test_an_audit_is_on_the_device_of_a_worker_and_may_want_one_more_run(tmp_path, corpus):
    class Cards(Virtual):
        def _say(self, seconds, worker, said):
            here = isinstance(said, Here)
            super()._say(seconds, worker, replace(said, variables={"CARD": f"card {worker}"}) if here else said)

    cards = []

    def of_keep(session, subject, keep):
        cards.append(session.setup.variables["CARD"])
        return keep if len(cards) > 1 else RunNext(subject.number)

    study, state, _, _ = night(tmp_path, corpus, Cards(2, score({})), Ideas(), of_keep=of_keep)
    sound(study)
    assert len(cards) == 2 and set(cards) <= {"card 1", "card 2"}
    assert len(state.best.results) == decide.BASELINE_RUNS["confirmed"] + 1


# A person, and an agent that thinks


def test_a_person_is_heeded_as_with_one_worker(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(steering, "LOOK_SECONDS", 0.0)
    place = tmp_path / "study" / ".autoresearch" / "inbox"

    class Steered(Virtual):
        """A person asks while two experiments train, and again when a pause has come."""

        asked = resumed = False

        def take(self, seconds):
            if self.now >= 400 and not self.asked:
                self.asked = True
                for request in (Request(kind="skip", n=1), Request(kind="tell", text="fewer layers"), Request(kind="pause")):
                    inbox.put(place, request)
            elif self.asked and not self._events and not self.resumed:
                self.resumed, self.at_rest = True, self.trainings
                text = constants.write((tmp_path / "study" / "train.py").read_text(encoding="utf-8"), {"SOFTCAP": 20.0})
                inbox.put(place, Request(kind="propose", text=text, description="mine"))
                inbox.put(place, Request(kind="resume"))
            return super().take(seconds)

    crew = Steered(2, score({"DEPTH": -0.05, "SOFTCAP": -0.05}))
    study, state, _, recorder = night(tmp_path, corpus, crew, Ideas(*EIGHT[:4]), rule="strict")
    sound(study)
    assert [one.agent for one in state.experiments].count("person") == 1 and state.experiments[3].agent == "person"
    assert state.experiments[1].state == "skip" and not state.experiments[1].results and state.told == ["fewer layers"]
    assert crew.at_rest == 2, "what trained was finished, and nothing begun"
    notes = [note for note in recorder.notes if note in (PAUSED, "it goes on")]
    assert notes == [PAUSED, "it goes on"] and len(state.experiments) == 6


def test_who_thinks_is_asked_for_the_next_idea_while_all_train(tmp_path, corpus):
    class Slow(Ideas):
        thinks = True

    class Busy(Virtual):
        """While both train the third idea is asked for, before anything is said."""

        def take(self, seconds):
            if self.now >= 320 and agent.next < 3:
                time.sleep(0.01)
                return self.idle()
            return super().take(seconds)

    agent = Slow(*EIGHT[:4])
    crew = Busy(2, score({"DEPTH": -0.05}))
    study, state, _, _ = night(tmp_path, corpus, crew, Agents(None, agent), rule="strict")
    sound(study)
    assert len(state.experiments) == 5


def test_agents_are_shown_what_is_checked(tmp_path, corpus):
    """Else the second of two free workers would get the first one's edit."""

    seen = []

    class Shown(Ideas):
        def propose(self, view):
            seen.append([past.description for past in view.under_way])
            return super().propose(view)

    night(tmp_path, corpus, Virtual(2, score({})), Shown(*EIGHT[:2]), rule="strict")
    assert seen[:2] == [[], [str(EIGHT[0])]]
