"""The one fold over a ledger, as reports, panel and picture read it."""

from report_events import study

from autoresearch.measure.summary import RunResult
from autoresearch.report.words import running, span
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.state import State
from autoresearch.text import one_line


def later(events: list[dict], *more: dict) -> list[dict]:
    """events, and more of them after the last."""
    return [*events, *({"seq": len(events) + k, "time": events[-1]["time"]} | event for k, event in enumerate(more, 1))]


def test_fold_counts_the_best_and_the_noise():
    state = State.from_events(study([0.79, 0.82, None, 0.78]))
    assert [one.outcome for one in state.decided] == ["baseline", "keep", "discard", "crash", "keep"]
    assert state.counts() == {"keep": 2, "discard": 1, "crash": 1}
    assert (state.best.val_bpb, state.best.number) == (0.78, 4)
    assert abs(state.gain.bpb - 0.02) < 1e-12
    assert abs(state.noise.sigma - 0.001) < 1e-12  # of 0.801, 0.800, 0.799
    assert abs(state.gain.error - 0.001 * (1 + 1 / 3) ** 0.5) < 1e-12
    assert state.experiment_seconds == 400  # verdict, start, begin, run, verdict: 100 s apart


def test_a_revoked_keep_gives_the_best_back():
    state = State.from_events(later(study([0.79, 0.78]), {"event": "revoked", "n": 2, "reason": "it cheats"}))
    assert state.best.number == 1 and state.counts() == {"keep": 1, "discard": 1, "crash": 0}
    assert state.experiments[-1].val_bpb is None and state.experiments[-1].state == "cheat"


def test_the_best_measured_again_is_reported_by_those_runs():
    which = {"n": 1, "k": 2, "seed": 9, "folder": "1-2"}
    more = [{"event": "begin", **which}, {"event": "run", **which, "status": "ok", "val_bpb": 0.795}]
    events = study([0.79, 0.82])
    state = State.from_events(later(events, *more))
    assert state.best.val_bpb == 0.795 and abs(state.gain.bpb - 0.005) < 1e-12 and state.runs_again is None
    state = State.from_events(later(events, *more[:1]))
    assert state.runs_again is state.best and running(state) == "the best, experiment 1, runs again (run 2, seed 9)"


def test_what_is_said_of_a_run_has_its_place_though_an_earlier_one_was_lost():
    first, second = ({"n": 0, "k": k, "seed": k, "folder": f"0-{k}"} for k in (1, 2))
    start = later(study([])[:1], {"event": "workers", "count": 2}, study([])[1])
    start = later(
        start, *({"event": "begin", **one} for one in (first, second)), {"event": "lost", "n": 0, "k": 1, "reason": "killed"}
    )
    state = State.from_events(later(start, {"event": "run", **second, "status": "ok", "val_bpb": 0.8}))
    assert state.apply({"seq": 8, "time": start[0]["time"], "event": "tested", "n": 0, "k": 2, "test_bpb": 0.8})
    assert not state.apply({"seq": 9, "time": start[0]["time"], "event": "tested", "n": 0, "k": 1, "test_bpb": 0.8})
    assert state.experiments[0].tests == {2: 0.8}


def test_what_runs_is_known_until_its_verdict():
    events = study([0.79])
    state = State.from_events(events[:-1])
    assert running(state) == "experiment 1 run 1 (seed 1): MATRIX_LR 0.04 -> 0.06"
    state.apply(events[-1])
    assert running(state) == ""


def test_a_baseline_that_failed_and_was_tried_again_is_one_experiment():
    """The panel's fold and the loop's had differed in it."""
    events = study([], baseline=(0.8,))
    failed = [*events[:-1], events[-1] | {"verdict": "crash", "state": "crash", "val_bpb": None, "scores": []}]
    state = State.from_events(failed)
    assert state.best is None and state.gain is None and sum(state.counts().values()) == 0
    assert [one.outcome for one in state.decided] == ["crash"]
    again = [event | {"seq": len(failed) + k} for k, event in enumerate(events[1:], 1)]
    state = State.from_events([*failed, *again])
    assert [one.outcome for one in state.decided] == ["baseline"] and sum(state.counts().values()) == 0
    assert state.noise is None


def test_one_line_lets_nothing_through_that_moves_a_cursor_or_turns_writing_round():
    assert one_line("a\x1b[2Jb\r\n\tc\u202ed\x9be", 80) == "a [2Jb c d e"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


def test_span():
    assert [span(s) for s in (0, 59.2, 245, 3723)] == ["0:00", "1:00", "4:05", "1:02:03"]


def test_a_clock_that_was_set_back_makes_no_negative_time():
    events = study([0.79, 0.82])
    events[-1] = events[-1] | {"time": events[0]["time"]}
    state = State.from_events(events)
    assert state.experiments[2].seconds is None and state.experiment_seconds == 400


def test_what_decides_is_asked_in_the_order_of_the_runs():
    """With several workers a lucky run may end first, and a train.py could see to it."""
    experiment = Experiment(1, "c", None, "b", "k", "d", "", "a", None, "")
    ended = {k: RunResult("ok", k, None, 4.0 + k) for k in range(1, 6)}
    experiment.runs = [Run(k, k, f"f{k}", result=None if k == 3 else ended[k]) for k in (1, 2, 3, 4)]
    assert experiment.settled == [ended[1], ended[2]] and len(experiment.results) == 3
    experiment.runs[2].result = ended[3]
    assert experiment.settled == [ended[k] for k in (1, 2, 3, 4)]
    del experiment.runs[1]  # lost: it is done again
    assert experiment.settled == [ended[1]]
