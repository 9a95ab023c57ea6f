"""The front of score against what was measured, from events alone."""

import json

import pytest
from report_events import study

from autoresearch.report import pareto
from autoresearch.run.constraints import Constraints
from autoresearch.study.state import State

SIGMA = 0.001  # of the baseline's scores: 0.801, 0.800, 0.799


def state(*outcomes: tuple[float, float], baseline: float = 10.0, **changed: dict) -> State:
    """(score, latency) of each experiment; the baseline's runs are 1 % apart. changed: fields of the verdict of experiment n."""
    events = study([score for score, _ in outcomes])
    for event in events:
        if event["event"] == "run":
            latency = baseline * (0.98 + 0.01 * event["k"]) if event["n"] == 0 else outcomes[event["n"] - 1][1]
            event["measured"] = {"latency_ms": latency, "params": latency * 100}
        if event["event"] == "verdict" and f"n{event['n']}" in changed:
            event |= changed[f"n{event['n']}"]
    return State.from_events(events)


def places(found: pareto.Front) -> dict[int, str]:
    return {point.experiment.number: point.place for point in found.points}


def test_the_front_is_what_no_other_beats_and_what_may_be_there_but_for_chance_is_marked():
    found = pareto.front(state((0.70, 20.0), (0.72, 30.0), (0.7005, 20.1), (0.9, 5.0), (0.69, 40.0)), "latency_ms")
    assert places(found) == {4: "front", 0: "front", 1: "front", 3: "near", 2: "", 5: "front"}
    assert [point.experiment.number for point in found.points] == [4, 0, 1, 3, 2, 5], "the least cost first"
    assert [point.rival for point in found.points if point.place == "front"] == [None] * 4
    close = pareto.front(state((0.70, 20.0), (0.6995, 40.0)), "latency_ms")
    assert [(point.experiment.number, point.rival) for point in close.points if point.place == "front"] == [
        (0, None),
        (1, None),
        (2, 1),
    ]


def test_equal_ones_are_both_on_the_front():
    assert places(pareto.front(state((0.70, 5.0), (0.70, 5.0)), "latency_ms")) == {0: "", 1: "front", 2: "front"}


def test_more_is_better_where_it_is():
    events = study([0.7, 0.75])
    for event in events:
        if event["event"] == "run":
            event |= {"total_tokens": {0: 50, 1: 100, 2: 200}[event["n"]], "training_seconds": 1.0}
    found = pareto.front(State.from_events(events), "tokens_per_second")
    assert places(found) == {0: "", 1: "front", 2: "front"}


def test_cheats_and_what_was_revoked_take_no_part():
    cheat = {"verdict": "discard", "state": "cheat"}
    held = {"verdict": "discard", "state": "val-only"}
    crash = {"verdict": "discard", "state": "limit"}
    made = state((0.1, 1.0), (0.2, 1.0), (0.3, 9.0), n1=cheat, n2=held, n3=crash)
    assert set(places(pareto.front(made, "latency_ms"))) == {0, 3}, "what broke a limit does"


def test_without_a_measured_noise_nothing_is_called_near():
    events = [event for event in study([0.7005, 0.70], baseline=(0.8,))]
    for event in events:
        if event["event"] == "run":
            event["measured"] = {"latency_ms": 10.0 + event["n"]}
    found = pareto.front(State.from_events(events), "latency_ms")
    assert places(found) == {0: "front", 1: "front", 2: "front"} and all(point.rival is None for point in found.points)
    assert "the noise was not measured" in "\n".join(pareto.lines(State.from_events(events), found))


def test_the_best_within_limits_or_the_nearest():
    made = state((0.70, 20.0), (0.72, 8.0), (0.75, 6.0))

    def within(*texts: str):
        found, broken = pareto.within(made, Constraints().changed(texts).limits)
        return found and found.number, broken

    assert within("latency_ms<=20") == (1, [])
    assert within("latency_ms<=10") == (2, [])
    assert within("latency_ms<=100", "params>=1500") == (1, [])
    assert within("latency_ms<=3") == (3, ["one answer takes 6 ms, and the limit is latency_ms<=3"])
    assert within("joules<=3") == (None, [])


def test_what_programs_get_is_json_and_the_table_names_the_front(tmp_path):
    made = state((0.70, 20.0), (0.7005, 20.1), (0.72, 300.0))
    found = pareto.front(made, "latency_ms")
    rows = json.loads(json.dumps(pareto.rows(made, found)))
    assert [row["experiment"] for row in rows if row["front"]] == [0, 1]
    assert rows[0]["val_bpb"] == pytest.approx(0.8) and rows[0]["latency_ms"] == pytest.approx(10.0) and rows[0]["runs"] == 3
    table = pareto.lines(made, found)
    assert [line.split()[:2] for line in table[1:4]] == [["*", "0"], ["*", "1"], ["~", "2"]]
    assert "1 clearly behind are left out" in "\n".join(table)
    pareto.draw(made, found, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_held_against_by_default():
    assert pareto.usual_quantity(Constraints()) == "latency_ms"
    assert pareto.usual_quantity(Constraints().changed(["checkpoint_mb<=3"])) == "checkpoint_mb"
    assert pareto.measured(state((0.7, 1.0))) == ["latency_ms", "params"]
