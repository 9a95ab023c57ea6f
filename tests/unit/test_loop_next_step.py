"""What an experiment needs next, from the state alone."""

import pytest
from report_events import study

from autoresearch.loop.next_step import Audit, RunNext, Verdict, next_step
from autoresearch.run.constraints import Constraints
from autoresearch.study.state import State


def under_way(events: list[dict], number: int, *results: dict) -> State:
    """A state in which experiment `number` has made these runs and has no verdict."""
    start = next(event for event in events if event["event"] == "start" and event["n"] == number)
    kept = events[: events.index(start) + 1]

    def add(**event) -> None:
        kept.append({"seq": len(kept) + 1, "time": start["time"], "n": number, **event})

    for k, result in enumerate(results, 1):
        where = {"k": k, "seed": 100 + k, "folder": f"{number}-{k}"}
        add(event="begin", **where)
        add(event="run", **where, **result)
    state = State.from_events(kept)
    assert state.skipped == [] and state.pending is state.experiments[number]
    return state


def score(val_bpb: float, **measured: float) -> dict:
    return {"status": "ok", "val_bpb": val_bpb} | ({"measured": measured} if measured else {})


def test_a_baseline_runs_until_the_noise_is_known_and_is_audited_then():
    events = study([])
    runs = [score(0.801), score(0.800), score(0.799)]
    assert [next_step(under_way(events, 0, *runs[:k]), 0, "confirmed") for k in range(3)] == [RunNext(0)] * 3
    step = next_step(under_way(events, 0, *runs), 0, "confirmed")
    assert isinstance(step, Audit) and step.keep.state == "baseline" and step.keep.scores == (0.801, 0.800, 0.799)
    assert isinstance(next_step(under_way(events, 0, runs[0]), 0, "strict"), Audit)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("crash", "crash"), ("oom", "crash"), ("timeout", "crash"), ("limit", "discard"), ("cheat", "discard"), ("futile", "discard")],
)
def test_a_run_that_failed_decides(status, verdict):
    failed = {"status": status, "reason": "why"}
    step = next_step(under_way(study([0.79]), 1, failed), 1, "confirmed")
    assert step == Verdict(verdict, status, "why")
    step = next_step(under_way(study([0.79]), 1, score(0.7), failed), 1, "confirmed")
    assert step == Verdict(verdict, status, "on seed 102, its run 2: why")


def test_a_loser_costs_one_run_and_a_winner_is_run_again_and_audited():
    events = study([0.79])
    step = next_step(under_way(events, 1, score(0.9)), 1, "confirmed")
    assert isinstance(step, Verdict) and (step.verdict, step.state, step.val_bpb) == ("discard", "discard", 0.9)
    assert next_step(under_way(events, 1, score(0.7)), 1, "confirmed") == RunNext(1)
    step = next_step(under_way(events, 1, *[score(0.7 + k / 10_000) for k in range(5)]), 1, "confirmed")
    assert isinstance(step, Audit) and step.keep.verdict == "keep"
    assert step.keep.val_bpb == pytest.approx(0.70025), "without the first score, which let it in"


def test_the_best_is_run_again_on_its_behalf():
    runs = [score(0.797), score(0.7975), score(0.797), score(0.7972), score(0.7971)]
    asked = [next_step(under_way(study([0.79]), 1, *runs[: k + 1]), 1, "confirmed") for k in range(5)]
    assert RunNext(0) in asked and all(isinstance(step, RunNext) for step in asked)


def test_the_strict_rule_asks_once():
    step = next_step(under_way(study([0.79]), 1, score(0.7999)), 1, "strict")
    assert isinstance(step, Audit) and step.keep.scores == (0.7999,)
    assert next_step(under_way(study([0.79]), 1, score(0.8001)), 1, "strict").verdict == "discard"


def measured(*latencies: float, baseline: tuple[float, ...] = (5.0, 5.25, 4.75)) -> State:
    """Of a candidate that wins by its scores; the baseline's own latencies spread by 5 %."""
    events = study([0.7])
    for event in events:
        if event["event"] == "run" and event["n"] == 0:
            event["measured"] = {"latency_ms": baseline[event["k"] - 1]}
    return under_way(events, 1, *[score(0.7 + k / 10_000, latency_ms=value) for k, value in enumerate(latencies)])


LATENCY = Constraints().changed(["latency_ms<=5"])


def test_a_run_that_is_clearly_beyond_a_limit_decides_whatever_its_score():
    step = next_step(measured(7.0), 1, "confirmed", LATENCY)
    assert isinstance(step, Verdict) and (step.verdict, step.state, step.scores) == ("discard", "limit", (0.7,))
    assert step.reason == "one answer takes 7 ms, and the limit is latency_ms<=5"
    assert next_step(measured(7.0), 1, "confirmed") == RunNext(1)
    unknown = under_way(study([0.7]), 1, score(0.7))
    assert (
        next_step(unknown, 1, "confirmed", LATENCY).reason == "its latency_ms could not be measured, and the limit is latency_ms<=5"
    )


def test_one_that_is_within_the_noise_of_a_limit_runs_again_and_the_median_decides():
    assert next_step(measured(5.3), 1, "confirmed", LATENCY) == RunNext(1)
    assert isinstance(next_step(measured(5.3, 5.1, 4.9, 4.8, 4.9), 1, "confirmed", LATENCY), Audit)
    step = next_step(measured(5.3, 5.1, 4.9, 4.8, 5.2), 1, "confirmed", LATENCY)
    assert step.state == "limit" and step.reason.startswith("one answer takes 5.1 ms") and "median of 5 runs" in step.reason


def test_a_limit_that_the_baseline_breaks_ends_it_at_its_first_run():
    step = next_step(under_way(study([]), 0, score(0.8, latency_ms=7.0)), 0, "confirmed", LATENCY)
    assert isinstance(step, Verdict) and step.state == "limit" and "one answer takes 7 ms" in step.reason


def test_a_limit_that_warns_keeps_and_says_so():
    wish = Constraints().changed(["latency_ms<=5 warn"])
    step = next_step(measured(6.0, 6.0, 6.0, 6.0, 6.0), 1, "confirmed", wish)
    assert isinstance(step, Audit) and step.keep.reason.endswith("; one answer takes 6 ms, and the limit is latency_ms<=5 warn")


def beside(events: list[dict], *more: dict) -> State:
    """With two workers, after those events."""
    rest = [{"event": "workers", "count": 2}, *more]
    state = State.from_events(
        [*events, *({"time": events[0]["time"], "seq": len(events) + k} | one for k, one in enumerate(rest, 1))]
    )
    assert state.skipped == []
    return state


def begun(number: int, base: int, *ks: int) -> list[dict]:
    start = next(event for event in study([0.7]) if event["event"] == "start" and event["n"] == 1)
    own = {"n": number, "commit": f"c{number}", "key": f"k{number}", "base": base}
    start = {name: value for name, value in start.items() if name not in ("seq", "time")} | own
    return [start, *({"event": "begin", "n": number, "k": k, "seed": 100 + k, "folder": f"{number}-{k}"} for k in ks)]


def ended(number: int, k: int, val_bpb: float) -> dict:
    return {"event": "run", "n": number, "k": k, "seed": 100 + k, "folder": f"{number}-{k}", **score(val_bpb)}


def test_a_run_that_ends_before_an_earlier_one_decides_nothing():
    events = study([])
    state = beside(events, *begun(1, 0, 1, 2), ended(1, 2, 0.9))
    assert next_step(state, 1, "confirmed") == RunNext(1)
    state = beside(events, *begun(1, 0, 1, 2), ended(1, 2, 0.9), ended(1, 1, 0.9))
    assert next_step(state, 1, "confirmed").verdict == "discard"


def test_an_edit_of_a_best_that_was_revoked_is_made_again_whatever_it_scored():
    """There is nothing left to hold it against."""
    revoked = {"event": "revoked", "n": 1, "reason": "it cheats"}
    state = beside(study([0.79]), *begun(2, 1, 1), revoked, ended(2, 1, 0.9))
    step = next_step(state, 2, "confirmed")
    assert (step.state, step.scores) == ("rebased", (0.9,)) and "experiment 0 is the best now" in step.reason
