from report_events import study

from autoresearch.report.history import History, span
from autoresearch.text import one_line


def test_fold_counts_the_best_and_the_noise():
    history = History.of(study([0.79, 0.82, None, 0.78]))
    assert [e.outcome for e in history.experiments] == ["baseline", "keep", "discard", "crash", "keep"]
    assert history.counts == {"keep": 2, "discard": 1, "crash": 1}
    assert (history.best, history.best_number) == (0.78, 4)
    assert abs(history.gain.bpb - 0.02) < 1e-12
    assert abs(history.noise.sigma - 0.001) < 1e-12  # of 0.801, 0.800, 0.799
    assert abs(history.gain.error - 0.001 * (1 + 1 / 3) ** 0.5) < 1e-12
    assert history.experiment_seconds == 300  # start, begin, run, verdict: 100 s apart


def test_a_revoked_keep_gives_the_best_back():
    events = study([0.79, 0.78])
    history = History.of([*events, {"seq": 99, "time": events[-1]["time"], "event": "revoked", "n": 2, "reason": "it cheats"}])
    assert history.best_number == 1 and history.counts == {"keep": 1, "discard": 1, "crash": 0}
    assert history.experiments[-1].val_bpb is None


def test_the_best_measured_again_is_reported_by_those_runs():
    events = study([0.79, 0.82])
    which = {"seq": 99, "time": events[-1]["time"], "n": 1, "k": 2, "seed": 9, "folder": "1-2"}
    more = [{"event": "begin", **which}, {"event": "run", **which, "status": "ok", "val_bpb": 0.795}]
    history = History.of([*events, *more])
    assert history.best == 0.795 and abs(history.gain.bpb - 0.005) < 1e-12 and history.again is None
    assert History.of([*events, *more[:1]]).again == 1


def test_what_runs_is_known_until_its_verdict():
    events = study([0.79])
    history = History.of(events[:-1])
    assert history.running == (1, "MATRIX_LR 0.04 -> 0.06") and (history.run, history.seed) == (1, 1)
    history.add(events[-1])
    assert history.running is None


def test_a_baseline_that_ran_once_has_no_sigma_and_one_that_crashed_is_no_experiment():
    assert History.of(study([], baseline=(0.8,))).noise is None
    events = [{**event, "val_bpb": None} if event["event"] == "verdict" else event for event in study([], baseline=(0.8,))]
    events[-1]["verdict"], events[-1]["scores"] = "crash", []
    history = History.of(events)
    assert history.best is None and history.gain is None and sum(history.counts.values()) == 0
    assert history.experiments[0].outcome == "crash"


def test_one_line_lets_nothing_through_that_moves_a_cursor_or_turns_writing_round():
    assert one_line("a\x1b[2Jb\r\n\tc\u202ed\x9be", 80) == "a [2Jb c d e"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


def test_span():
    assert [span(s) for s in (0, 59.2, 245, 3723)] == ["0:00", "1:00", "4:05", "1:02:03"]
