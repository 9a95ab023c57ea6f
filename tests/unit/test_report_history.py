from report_events import study

from autoresearch.report.history import History, span
from autoresearch.text import one_line


def test_fold_counts_the_best_and_the_noise():
    history = History.of(study([0.79, 0.82, None, 0.78]))
    assert [e.outcome for e in history.experiments] == ["baseline", "keep", "discard", "crash", "keep"]
    assert history.counts == {"keep": 2, "discard": 1, "crash": 1}
    assert (history.best, history.best_number) == (0.78, 4)
    assert abs(history.gain - 0.02) < 1e-12
    assert abs(history.sigma - 0.001) < 1e-12  # of 0.801, 0.800, 0.799
    assert history.experiment_seconds == 300  # start, begin, run, verdict: 100 s apart


def test_what_runs_is_known_until_its_verdict():
    events = study([0.79])
    history = History.of(events[:-1])
    assert history.running == (1, "MATRIX_LR 0.04 -> 0.06") and (history.run, history.seed) == (1, 1)
    history.add(events[-1])
    assert history.running is None


def test_a_baseline_that_ran_once_has_no_sigma_and_one_that_crashed_is_no_experiment():
    assert History.of(study([], baseline=(0.8,))).sigma is None
    events = [{**event, "val_bpb": None} if event["event"] == "verdict" else event for event in study([], baseline=(0.8,))]
    events[-1]["verdict"] = "crash"
    history = History.of(events)
    assert history.best is None and history.gain is None and sum(history.counts.values()) == 0
    assert history.experiments[0].outcome == "crash"


def test_one_line_lets_nothing_through_that_moves_a_cursor_or_turns_writing_round():
    assert one_line("a\x1b[2Jb\r\n\tc\u202ed\x9be", 80) == "a [2Jb c d e"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


def test_span():
    assert [span(s) for s in (0, 59.2, 245, 3723)] == ["0:00", "1:00", "4:05", "1:02:03"]
