"""The tables for other programs: results.tsv as the original project's tools read it, and CSV that a spreadsheet can open."""

import csv
import io
import json
import subprocess
import sys

import pytest
from faults import armed
from report_events import night, study

from autoresearch.report import table
from autoresearch.study.state import State

HOSTILE = (
    '"an open quotation mark', '\u200b"hidden before it', '"', "", " \t ", "two\nlines\r\n", "a\ttab",
    "a\x85line\u2028end", "\x1b[31mred",
    "=1+1", "+1", "-1", "@SUM(A1)", "a;=1+1", 'a; "=1+1', "\uff1d1+1", 'plain, with a comma and a "word"', "ünï 漢字",
)  # fmt: skip


def hostile() -> State:
    """A night whose descriptions are those, one after the other."""
    events, words = study([*night(2 * len(HOSTILE)), None]), iter(HOSTILE * 3)
    return State.from_events([event | ({"description": next(words)} if event["event"] == "start" else {}) for event in events])


def test_results_tsv_is_read_alike_by_those_who_split_and_those_who_parse_csv(tmp_path):
    """autojudge: strip, splitlines, split at tabs, five fields, numbers, one of three words. autosteer: csv.DictReader."""
    state, path = hostile(), tmp_path / "results.tsv"
    table.Results(path).draw(state)
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    split = [line.split("\t") for line in lines]
    parsed = list(csv.DictReader(lines, delimiter="\t"))
    assert len(lines) - 1 == len(parsed) == len(state.experiments)
    assert split[0] == ["commit", "val_bpb", "memory_gb", "status", "description"]
    for fields, row, experiment in zip(split[1:], parsed, state.experiments, strict=True):
        assert fields == list(row.values()) and all(fields) and fields[3] == experiment.verdict
        assert float(fields[1]) == pytest.approx(experiment.val_bpb or 0.0, abs=1e-6) and float(fields[2]) >= 0
    described = [fields[4] for fields in split[1:]]
    assert "an open quotation mark" in described and "hidden before it" in described and "no description" in described


def test_results_tsv_grows_by_its_last_row_and_is_written_anew_where_an_earlier_one_changed(tmp_path):
    """A study of a hundred thousand would write some megabytes after each verdict."""
    state, path, wrote = State(), tmp_path / "results.tsv", []
    results = table.Results(path)
    events = study(night(60))
    best = [event["n"] for event in events if event["event"] == "verdict" and event["verdict"] == "keep"][-1]
    which = {"n": best, "k": 2, "seed": 9, "folder": "again"}
    events += [event | {"time": events[-1]["time"]} for event in (
        {"event": "begin", **which}, {"event": "run", **which, "status": "ok", "val_bpb": 0.5},
        {"event": "revoked", "n": best, "reason": "it cheats"},
    )]  # fmt: skip

    def drawn() -> list[str]:
        """The operations on the disk that it took."""
        wrote.clear()
        with armed(lambda kind, *_: wrote.append(kind)):
            results.draw(state)
        fresh = tmp_path / "fresh.tsv"
        table.Results(fresh).draw(state)
        assert path.read_bytes() == fresh.read_bytes()
        return list(wrote)

    for line, event in enumerate(events, 1):
        assert state.apply(event | {"seq": line})
        anew = line == 1 or line >= len(events) - 1  # the best measured again; revoked
        assert drawn().count("rename") == anew, event
        assert anew or wrote.count("write") == (event["event"] == "verdict")
    path.write_text("somebody else's\n")
    assert "rename" in drawn() and not drawn()


def test_a_row_between_others_is_put_in_its_place(tmp_path):
    """Of several workers a later experiment may be decided first."""
    events, path = study([0.79, 0.82, 0.83]), tmp_path / "results.tsv"
    second, third = ([event for event in events if event.get("n") == n] for n in (2, 3))
    rest = [event for event in events if event.get("n", 0) < 2]
    now = rest[-1]["time"]
    early = [event for event in (second[0], third[0], *second[1:-1], *third[1:], second[-1])]
    state, results = State(), table.Results(path)
    for line, event in enumerate([*rest, {"event": "workers", "count": 2}, *early], 1):
        assert state.apply(event | {"seq": line, "time": now}), state.skipped
        results.draw(state)
    rows = path.read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[0] for row in rows] == ["commit", "c0", "c1", "c2", "c3"]


@pytest.mark.thorough
@pytest.mark.parametrize("tool", ["auto_judge", "auto_steer"])  # of the packages autojudge and autosteer 1.0.1
def test_the_tools_themselves_count_every_experiment(tool, tmp_path):
    pytest.importorskip(tool)
    state, path = hostile(), tmp_path / "results.tsv"
    table.Results(path).draw(state)
    call = [sys.executable, "-m", tool, "--results", str(path), "--format", "json"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode in (0, 2), done.stderr  # 2: its verdict on the last one is a discard
    said, counts = json.loads(done.stdout), state.counts()
    if tool == "auto_judge":  # the baseline is one of its keeps
        known = said["total_keeps"] - 1, said["total_discards"], said["total_crashes"]
    else:  # and leaves it out
        known = tuple(sum(kind[word] for kind in said["category_stats"].values()) for word in ("keeps", "discards", "crashes"))
    assert known == (counts["keep"], counts["discard"], counts["crash"])


def test_csv_has_a_row_an_experiment_and_nothing_that_a_spreadsheet_computes():
    state = hostile()
    text = table.csv_text(state.experiments, state.noise, {1: "schedules"}, state.metric)
    assert text.count("\r\n") == len(state.experiments) + 1 and "\n" not in text.replace("\r\n", "")  # RFC 4180
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [int(row["number"]) for row in rows] == list(range(len(state.experiments)))
    for separator in ",;\t":
        cells = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]
        assert not [cell for cell in cells if cell.lstrip(' "')[:1] in tuple("=+-@＝＋－＠")]
    assert rows[1]["category"] == "schedules" and rows[2]["category"] == ""
    assert 'plain, with a comma and a "word"' in [row["description"] for row in rows]


def test_csv_says_how_sure_a_score_is():
    """Three runs of the baseline, sigma 0.001, 2 degrees of freedom: Student's t for 95 % is 4.30 in printed tables."""
    state = State.from_events(study([0.9, None]))
    baseline, discard, crash = csv.DictReader(
        io.StringIO(table.csv_text(state.experiments, state.noise, {}, state.metric), newline="")
    )
    assert float(baseline["standard_error"]) == pytest.approx(0.001 / 3**0.5)
    assert float(discard["high_95"]) - 0.9 == pytest.approx(4.30 * 0.001, rel=0.05)
    assert (crash["val_bpb"], crash["low_95"], crash["state"], crash["runs"]) == ("", "", "crash", "1")
