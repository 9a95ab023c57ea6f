import pytest
from report_events import study

from autoresearch.report.summary import summarise
from autoresearch.study.state import State

ERRORS = "the gain is 17.3 times its standard error"


def told(outcomes, *more, decide="confirmed", baseline=(0.801, 0.800, 0.799)):
    entries = study(outcomes, baseline=baseline)
    entries[0]["decide"] = decide
    for event in more:
        entries.append({"seq": len(entries) + 1, "time": entries[-1]["time"], **event})
    state = State.from_events(entries)
    assert not state.skipped
    return summarise(state)


def scored(baseline, best):
    return [{"event": "tested", "n": n, "k": 1, "test_bpb": bpb} for n, bpb in ((0, baseline), (1, best))]


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        (summarise(State()), "Nothing to believe yet: the baseline has no score."),
        (told([]), "Nothing to believe yet: only the baseline has been tried."),
        (told([0.9]), "No edit was better than the baseline by more than the noise: the seed alone moves val_bpb by some 0.0010."),
        (told([0.9], decide="strict", baseline=[0.8]), "No edit was better than the baseline."),
        (told([0.7], decide="strict", baseline=[0.8]), "Not known: with strict the noise is not measured"),
        (told([0.798]), "Not sure: the gain is 1.7 times its standard error, which chance may do (2 degrees of freedom)."),
        (told([0.78]), f"Believe it for this text: {ERRORS}"),
        (
            told([0.78], *scored(0.9, 0.88)),
            f"Believe it: {ERRORS}, and text that no decision saw shows 100 %",
        ),
        (
            told([0.78], *scored(0.9, 0.897)),
            f"Doubt it: {ERRORS}, but text that no decision saw shows 15 %",
        ),
    ],
)
def test_one_sentence_says_whether_to_believe_it(summary, words):
    assert summary.belief.startswith(words)


def test_totals_are_of_all_trainings_and_unknown_is_none():
    entries = study([0.78, None, 0.9])
    for event in entries:
        if event["event"] == "run":
            event |= {"training_seconds": 300.0, "total_seconds": 360.0}
    summary = summarise(State.from_events(entries))
    assert (summary.experiments, summary.keep, summary.discard, summary.crash, summary.trainings) == (3, 1, 1, 1, 6)
    assert summary.trained_hours == pytest.approx(0.5) and summary.machine_hours == pytest.approx(0.6)
    assert summary.false_keeps == pytest.approx(0.015) and summary.cost_usd == 0.0
    assert summary.began == "2026-01-02T20:03:20+00:00" and summary.ended > summary.began
    assert told([0.7], decide="strict").false_keeps is None
    asked = {"event": "asked", "agent": "a", "model": "m", "outcome": "answered", "seconds": 1.0, "cost_usd": None}
    assert told([0.7], asked).cost_usd is None
