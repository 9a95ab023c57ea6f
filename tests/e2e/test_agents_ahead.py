"""A slow agent beside the search: it thinks while the machine trains, and nobody waits for it."""

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import studies
from scripted import Scripted
from studies import BETTER, BROKEN, WORSE, Recorder, check_in_line, git, state_of

from autoresearch import constants
from autoresearch.agents.base import COURSE_AT, REJECTED, RUNNING, Ask, Exhausted, Past, Proposal, Unavailable
from autoresearch.agents.mix import Agents
from autoresearch.agents.search.search import Search
from autoresearch.errors import EnvironmentFailure
from autoresearch.loop import begin
from autoresearch.loop.loop import Until, run_study
from autoresearch.propose import thinker
from autoresearch.propose.proposer import Proposer
from autoresearch.report import words
from autoresearch.run.constraints import Constraints
from autoresearch.study import inbox
from autoresearch.study.session import opened
from autoresearch.study.state import State

ASK = Ask("model-1", "answered", 0.1, input_tokens=100, output_tokens=10, cost_usd=0.01)


class Slow:
    """Thinks ahead. Each step is a function of the view, which gives values for constants, a whole text, or raises."""

    name, thinks = "slow", True

    def __init__(self, *steps):
        self.steps, self.views = list(steps), []

    def propose(self, view):
        self.views.append(view)
        view.on_ask(ASK)
        if not self.steps:
            raise Exhausted("the slow one's steps are done")
        made = self.steps.pop(0)(view)
        text = made if isinstance(made, str) else constants.write(view.train_py, made)
        return Proposal(text, f"slow {len(self.views)}", "", 0.01)


def play(study, setup, slow, quick, experiments, share=1.0, recorder=None):
    recorder = recorder or Recorder()
    outcome = run_study(study, setup, Agents(quick and Scripted(quick), slow, share), Until(experiments), recorder)
    return outcome, recorder


@pytest.mark.slow
def test_where_nobody_fills_in_the_wait_is_said_again_and_again(begun, monkeypatch):
    monkeypatch.setattr(begin, "SAY_SECONDS", 0.3)
    recorder, seen = Recorder(), threading.Event()

    def slowly(view):
        assert seen.wait(60)
        return BETTER

    def event(one):
        recorder.events.append(one)
        if sum(known["event"] == "wait" for known in recorder.events) >= 2:
            seen.set()

    play(*begun, Slow(slowly), None, 1, recorder=SimpleNamespace(event=event, progress=recorder.progress))
    waits = [words.sentence(one, State()) for one in recorder.events if one["event"] == "wait"]
    assert len(waits) >= 2 and set(waits) == {"waiting for a proposal; nothing trains meanwhile"}
    assert state_of(begun[0]).experiments[1].verdict == "keep"


@pytest.mark.slow
def test_an_ask_that_the_ledger_refuses_ends_no_night(begun):
    slow = Slow(lambda view: view.on_ask(replace(ASK, cost_usd=9e11)) or BETTER)
    _, recorder = play(*begun, slow, None, 1)
    assert state_of(begun[0]).experiments[1].verdict == "keep"
    assert sum("says of a request is left out" in note for note in recorder.notes) == 1


class Leaver(Recorder):
    """Ctrl-C at the first event that has these fields."""

    def __init__(self, **fields):
        super().__init__()
        self._fields = fields.items()

    def event(self, event: dict) -> None:
        super().event(event)
        if self._fields <= event.items():
            raise KeyboardInterrupt


def by(study) -> list[str]:
    return [one.agent for one in state_of(study).experiments[1:]]


@pytest.mark.slow
def test_it_thinks_while_the_machine_trains_and_the_search_fills_in(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=0.3)
    started = threading.Event()

    def slowly(view):
        started.set()
        time.sleep(2.0)  # the null backend's experiments take less than a second
        return BETTER

    slow = Slow(lambda view: WORSE, slowly, lambda view: {"DEPTH": 9})
    outcome, _ = play(study, setup, slow, [{"ROPE_BASE": 9000.0 + n} for n in range(20)], experiments=8)
    assert outcome.exit_status == 0 and started.is_set()
    agents = by(study)
    assert agents[0] == "slow", "it thought while the baseline trained"
    assert agents[1] == "scripted", "the machine did not wait for the second answer"
    assert "slow 2" in [one.description for one in state_of(study).experiments]
    assert [past.description for past in slow.views[1].under_way] == ["slow 1"] and slow.views[1].best_val_bpb is not None
    state = state_of(study)
    assert state.asked == len(slow.views) and state.cost_usd == pytest.approx(0.01 * state.asked)
    check_in_line(study)


@pytest.mark.slow
def test_it_is_shown_how_trainings_went(begun):
    study, setup = begun
    run = state_of(study).experiments[0].runs[0]
    steps = [(n / 100, 6.0 - 4.0 * n / 100) for n in range(1, 101)]
    # A machine under load makes two steps in this training: what it wrote down is replaced by a hundred.
    (study.runs / run.folder / "curve.jsonl").write_text(
        "".join(
            json.dumps({"seconds": at * setup.train_seconds, "type": "step", "loss": loss, "progress": at}) + "\n"
            for at, loss in steps
        )
    )
    slow = Slow(lambda view: WORSE, lambda view: BETTER)
    play(study, setup, slow, None, experiments=2)
    (course,) = slow.views[1].courses
    result = run.result
    assert (course.number, course.steps, course.memory_bytes) == (0, result.num_steps, result.peak_memory_bytes)
    assert course.tokens_per_second == pytest.approx(result.total_tokens / result.training_seconds)
    for at, shown in zip(COURSE_AT, course.losses, strict=True):
        there = [loss for when, loss in steps if at - 0.1 < when - 1e-9 and when <= at + 1e-9]
        assert len(there) == 10 and shown == pytest.approx(sum(there) / len(there), abs=0.05)


@pytest.mark.slow
def test_an_answer_to_an_older_best_is_made_again_on_the_new_one(begun):
    study, setup = begun
    slow = Slow(lambda view: BETTER, lambda view: {"MATRIX_LR": 0.05})
    play(study, setup, slow, None, experiments=2)
    first, second = state_of(study).experiments[1:]
    assert first.verdict == "keep"
    assert "DEPTH = 8 " not in slow.views[1].train_py, "the second was asked for before the first was kept"
    text = git(study.folder, "show", f"{second.commit}:train.py")
    assert "DEPTH = 8 " in text and "MATRIX_LR = 0.05 " in text


@pytest.mark.slow
def test_an_answer_that_fits_no_longer_goes_back_with_the_reason(begun):
    study, setup = begun
    slow = Slow(lambda view: {"DEPTH": 8}, lambda view: {"DEPTH": 7}, lambda view: {"ASPECT_RATIO": 64})
    _, recorder = play(study, setup, slow, None, experiments=2)
    rejected = next(event for event in recorder.events if event["event"] == "rejected")
    assert rejected["reason"].startswith("the best changed meanwhile")
    last = slow.views[2].history[-1]
    assert (last.status, last.description) == (REJECTED, "slow 2") and "the best changed meanwhile" in last.reason
    assert [one.description for one in state_of(study).experiments[1:]] == ["slow 1", "slow 3"]


@pytest.mark.slow
def test_what_fails_goes_back_twice_with_its_error_and_then_the_idea_is_dropped(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 0.01)
    slow = Slow(lambda view: "x = (", lambda view: BROKEN, lambda view: BROKEN + "y = 1\n", lambda view: WORSE)
    _, recorder = play(study, setup, slow, None, experiments=1)
    sent_back = [[past for past in view.history if past.status == REJECTED] for view in slow.views[:4]]
    assert [len(one) for one in sent_back] == [0, 1, 2, 0]
    assert "does not parse" in sent_back[1][0].reason
    assert "broken from the start" in sent_back[2][1].reason and "Traceback" in sent_back[2][1].reason
    assert any("2 repairs did not help" in note for note in recorder.notes)
    assert [one.description for one in state_of(study).experiments[1:]] == ["slow 4"]
    assert [one.state for one in state_of(study).rejections] == ["crash", "crash"]
    crash = next(past for past in slow.views[3].history if past.status == "crash")
    assert "Traceback" in crash.log and crash.agent == "slow"


@pytest.mark.slow
def test_a_slow_agent_alone_that_only_fails_ends_the_study(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 0.01)
    slow = Slow(*(lambda view, n=n: f"{BROKEN}y = {n}\n" for n in range(9)))
    outcome, _ = play(study, setup, slow, None, experiments=3)
    assert outcome.exit_status == 1 and "last 5 proposals failed before their training" in outcome.reason
    assert len(state_of(study).rejections) == 5


@pytest.mark.slow
def test_an_answer_that_is_ready_survives_a_stop(begun):
    study, setup = begun
    slow = Slow(lambda view: WORSE, lambda view: BETTER)

    play(study, setup, slow, None, experiments=3, recorder=Leaver(event="proposed", description="slow 2"))
    (waiting,) = state_of(study).waiting
    assert waiting.description == "slow 2"
    again = Slow()
    play(study, setup, again, [{"DEPTH": 18}], experiments=2)
    assert [one.description for one in state_of(study).experiments[1:3]] == ["slow 1", "slow 2"]
    assert state_of(study).experiments[2].verdict == "keep" and not state_of(study).waiting


class Several(Slow):
    """Answers with an idea a step, all at once."""

    def propose(self, view):
        first, *others = [super(Several, self).propose(view) for _ in self.steps[:]]
        return replace(first, others=tuple(others))


@pytest.mark.slow
def test_further_ideas_of_an_answer_are_tried_in_their_order_before_it_is_asked_again(begun):
    study, setup = begun
    slow = Several(
        lambda view: {"MATRIX_LR": 0.05}, lambda view: {"DEPTH": 9}, lambda view: "x = (", lambda view: {"SCALAR_LR": 0.4}
    )
    play(study, setup, slow, None, experiments=2, recorder=Leaver(event="start", n=2))
    assert [one.description for one in state_of(study).experiments[1:]] == ["slow 1", "slow 2"]
    assert [(one.description, one.rank) for one in state_of(study).waiting] == [("slow 4", 2)]
    _, recorder = play(study, setup, Slow(lambda view: {"ROPE_BASE": 9000.0}), None, experiments=3)
    assert [one.description for one in state_of(study).experiments[2:]] == ["slow 2", "slow 4", "slow 1"]
    assert not state_of(study).waiting and not recorder.notes


@pytest.mark.slow
def test_a_further_idea_that_no_longer_fits_is_passed_over_and_one_that_knew_nothing_of_a_wish_is_dropped(begun):
    study, setup = begun
    slow = Several(lambda view: BETTER, lambda view: WORSE, lambda view: {"SCALAR_LR": 0.4})
    play(study, setup, slow, None, experiments=2)
    assert [one.description for one in state_of(study).experiments[1:]] == ["slow 1", "slow 3"], (
        "the second edits the lines of the first"
    )
    slow = Several(lambda view: {"MATRIX_LR": 0.05}, lambda view: {"MATRIX_LR": 0.06})
    play(study, setup, slow, None, experiments=1)
    assert len(state_of(study).waiting) == 1
    inbox.put(study.inbox, inbox.Request(kind="tell", text="no learning rates"))
    play(study, setup, Slow(lambda view: {"ROPE_BASE": 9000.0}), None, experiments=1)
    assert state_of(study).experiments[-1].description == "slow 1" and not state_of(study).waiting


@pytest.mark.slow
def test_what_is_checked_is_given_to_nobody_else_and_told_as_under_way(begun):
    """As the loop does for several devices: each proposal is asked for while earlier ones compile."""
    study, setup = begun
    one, other, third = {"SCALAR_LR": 0.4}, {"ROPE_BASE": 9000.0}, {"MATRIX_LR": 0.05}
    play(study, setup, Several(lambda view: WORSE, lambda view: one, lambda view: other), None, experiments=1)
    slow = Slow(lambda view: one, lambda view: third)
    with opened(study, setup, Recorder()) as session:
        proposer = Proposer(session, Agents(None, slow))
        for number, values in ((2, one), (3, other), (4, third)):
            proposal = proposer.next()
            assert {name: constants.read(proposal.train_py)[name].value for name in values} == values
            checked = Past(number, proposal.description, RUNNING, None, proposal.train_py, agent="slow")
            proposer.checked = (*proposer.checked, checked)
        assert [[past.number for past in view.under_way] for view in slow.views] == [[2, 3]] * 2
        assert [past.reason for past in slow.views[1].history[-1:]] == ["this program is under way"]
        proposer.close()


@pytest.mark.slow
def test_it_is_told_the_lessons_and_what_the_search_expects(begun):
    study, setup = begun
    slow = Slow(lambda view: WORSE, lambda view: BETTER, lambda view: {"DEPTH": 9})
    run_study(study, setup, Agents(Search(), slow, 1.0), Until(3), Recorder())
    assert "1 tried: 0 kept, 1 no better" in slow.views[2].lessons
    assert (study.state_folder / "lessons.md").read_text().startswith("# Lessons of this study")
    assert slow.views[1].expected and slow.views[1].expected[0].constant in constants.read(slow.views[1].train_py)


@pytest.mark.slow
def test_while_it_can_not_answer_the_search_goes_on_and_it_is_asked_again_later(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(thinker, "FIRST_WAIT_SECONDS", 0.2)

    def busy_until_two_are_done(view):
        if sum(past.number > 0 for past in view.history) < 2:
            raise Unavailable("529 overloaded", retry_seconds=0.1)
        return BETTER

    slow = Slow(*[busy_until_two_are_done] * 999)
    until = Leaver(event="start", agent="slow")
    play(study, setup, slow, [{"DEPTH": 45 + n} for n in range(60)], experiments=60, recorder=until)
    assert any("529 overloaded" in note for note in until.notes)
    assert by(study)[:2] == ["scripted", "scripted"] and by(study)[-1] == "slow"


@pytest.mark.slow
def test_no_more_ideas_leave_the_night_to_the_search_and_a_rejected_key_for_a_while(begun, monkeypatch):
    study, setup = begun
    outcome, recorder = play(study, setup, Slow(), [WORSE], experiments=1)
    assert outcome.exit_status == 0 and by(study) == ["scripted"]
    assert any("steps are done; scripted goes on" in note for note in recorder.notes)

    def refuse(view):
        raise EnvironmentFailure("the key was rejected; set another")

    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 0.1)
    slow = Slow(refuse, refuse, *[lambda view: BETTER] * 99)
    until = Leaver(event="start", agent="slow")
    play(study, setup, slow, [{"DEPTH": 45 + n} for n in range(60)], experiments=60, recorder=until)
    notes = [note for note in until.notes if "the key was rejected; set another" in note]
    assert len(notes) == 2 and "scripted goes on alone, and it is asked again in" in notes[0]
    assert by(study)[-1] == "slow"


@pytest.mark.slow
def test_ideas_that_are_no_use_are_asked_for_less_and_it_is_told_why(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 3600.0)
    slow = Slow(*[lambda view: "x = ("] * 99)
    play(study, setup, slow, [{"DEPTH": 45 + n} for n in range(9)], experiments=9)
    assert len(slow.views) == 3, "an idea and its two repairs"
    monkeypatch.setattr(thinker, "FIRST_REST_SECONDS", 0.01)
    again = Slow(*[lambda view: "x = ("] * 4, *[lambda view: BETTER] * 99)
    until = Leaver(event="start", agent="slow")
    play(study, setup, again, [{"DEPTH": 60 + n} for n in range(60)], experiments=60, recorder=until)
    assert again.views[0].wish is None
    assert "Your last 3 proposals could not be used, the last one because: train.py does not parse" in again.views[3].wish


def test_a_night_ends_in_time_when_only_one_that_does_not_answer_is_left(begun):
    study, setup = begun

    def refuse(view):
        raise EnvironmentFailure("the key was rejected; set another")

    play(study, setup, None, [], experiments=0)
    outcome = run_study(study, setup, Agents(None, Slow(refuse), 1.0), Until(9, hours=2 / 3600), Recorder())
    assert outcome.exit_status == 0 and outcome.reason == "the time is over, and slow had no answer"


@pytest.mark.slow
def test_one_that_gives_no_word_is_given_up_and_asked_anew(begun, monkeypatch):
    study, setup = begun
    monkeypatch.setattr(thinker, "ABANDON_SECONDS", 0.5)
    monkeypatch.setattr(thinker, "FIRST_WAIT_SECONDS", 0.01)
    end, wanted = threading.Event(), []

    def silent(view):
        wanted.append(view.wanted)
        assert end.wait(60)
        return WORSE

    _, recorder = play(study, setup, Slow(silent, lambda view: BETTER), None, experiments=1)
    assert not wanted[0]()
    end.set()
    assert [one.description for one in state_of(study).experiments[1:]] == ["slow 2"]
    assert any("no word from it for" in note for note in recorder.notes)


@pytest.mark.slow
def test_nothing_is_asked_for_after_the_last_experiment(begun):
    study, setup = begun
    slow = Slow(lambda view: WORSE, lambda view: BETTER)
    play(study, setup, slow, None, experiments=1)
    assert len(slow.views) == 1 and not state_of(study).waiting


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_params": 100}, "it has 320 parameters, and --max-params allows 100"),
        ({"min_tok_s": 1e12}, "and --min-tok-s asks for 1,000,000,000,000"),
    ],
)
def test_a_constraint_is_enforced(tmp_path, corpus, limits, reason):
    study, setup = studies.played(tmp_path / "study", corpus)
    play(study, replace(setup, constraints=Constraints.from_dict(limits)), None, [BETTER], experiments=1)
    state = state_of(study)
    assert state.best.number == 0
    found = [*state.rejections, *state.experiments[1:]][0]
    assert found.state == "limit" and reason in found.reason
    if state.experiments[1:]:
        assert state.experiments[1].verdict == "discard"


@pytest.mark.slow
def test_parameters_are_counted_where_train_py_says_nothing_of_them(tmp_path, corpus):
    study, setup = studies.played(tmp_path / "study", corpus)
    text = git(study.folder, "show", "HEAD:train.py").replace("num_params=run.spec.vocab_size, ", "")
    play(study, replace(setup, constraints=Constraints.from_dict({"max_params": 319})), None, [text], experiments=1)
    (tried,) = state_of(study).experiments[1:]
    assert (tried.state, tried.verdict) == ("limit", "discard") and "it has 320 parameters" in tried.reason
