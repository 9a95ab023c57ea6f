"""`autoresearch repair`: back to the last good line, with nothing thrown away."""

import faults
import pytest
import studies
from studies import BETTER, WORSE, check_in_line, git, play, state_of

from autoresearch.errors import StoredStateError
from autoresearch.propose import proposals
from autoresearch.study import commits, lock, repair
from autoresearch.study.ledger import read


@pytest.fixture
def damaged(tmp_path, corpus):
    """(study, setup, the good lines, the bytes of the damaged ledger): the verdict of experiment 1 is damaged."""
    study, setup = studies.played(tmp_path / "study", corpus, BETTER, WORSE)
    events = read(study.events)
    at = next(i for i, event in enumerate(events) if event["event"] == "verdict" and event["n"] == 1)
    lines = study.events.read_bytes().splitlines(keepends=True)
    lines[at] = lines[at].replace(b"keep", b"Keep")
    study.events.write_bytes(b"".join(lines))
    return study, setup, events[:at], b"".join(lines)


@pytest.mark.slow
def test_a_damaged_line_stops_with_status_3_and_repair_goes_back(damaged, typed):
    study, setup, good, whole = damaged
    names = ("--workspace", str(study.folder))
    status, _, complaint = typed("status", *names)
    assert status == 3 and f"line {len(good) + 1} is damaged" in complaint and "autoresearch repair" in complaint
    status, shown, _ = typed("repair", *names)
    assert status == 0 and f"line {len(good) + 1} is damaged" in shown
    assert "verdict, n 2, verdict discard" in shown and "--yes" in shown
    assert study.events.read_bytes() == whole, "it only shows"
    with lock.hold(study.lock):
        status, _, complaint = typed("repair", *names, "--yes")
    assert status == 2 and "is at work in process" in complaint and study.events.read_bytes() == whole
    status, shown, _ = typed("repair", *names, "--yes")
    assert status == 0 and read(study.events) == good
    assert (study.state_folder / "events.damaged-1.jsonl").read_bytes() == whole
    assert "nothing to mend" in typed("repair", *names)[1]
    tips = {ref.split()[1] for ref in git(study.folder, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()}
    play(study, setup, [BETTER, WORSE])
    assert [one.verdict for one in state_of(study).experiments] == ["keep", "keep", "discard"]
    kept = git(study.folder, "for-each-ref", "--format=%(objectname)").splitlines()
    assert tips <= set(kept), "every commit keeps a ref"
    check_in_line(study)


@pytest.mark.parametrize("k", range(1, 8))
def test_cut_short_it_can_be_done_again(tmp_path, k):
    from autoresearch.study.ledger import Ledger

    ledger = Ledger(tmp_path / "events.jsonl")
    for number in range(5):
        ledger.append("pause", reason=str(number))
    whole = ledger.path.read_bytes().replace(b'"2"', b'"7"')
    ledger.path.write_bytes(whole)
    with faults.armed(faults.Fault("EIO", k)) as fault, pytest.raises(OSError, match="Input/output"):
        repair.repair(repair.damage(ledger.path))
    assert fault.hits == 1
    found = repair.damage(ledger.path)
    if found:
        with pytest.raises(StoredStateError):
            read(ledger.path)
        repair.repair(found)
    assert [event["reason"] for event in read(ledger.path)] == ["0", "1"]
    assert (tmp_path / "events.damaged-1.jsonl").read_bytes() == whole
    assert len(list(tmp_path.glob("events.*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_lost_ledger_is_begun_anew_from_the_best(is_gone, tmp_path, corpus, typed):
    study, setup = studies.played(tmp_path / "study", corpus, BETTER, WORSE)
    before, results = state_of(study), (study.folder / "results.tsv").read_bytes()
    study.events.unlink() if is_gone else study.events.write_bytes(b"")
    names = ("--workspace", str(study.folder))
    status, _, complaint = typed("status", *names)
    assert status == 3 and "git has 3 experiments" in complaint and "autoresearch repair" in complaint
    status, shown, _ = typed("repair", *names)
    assert status == 0 and before.experiments[2].description in shown and "measured anew as experiment 0" in shown
    assert "--yes" in shown and not (study.events.exists() and study.events.stat().st_size), "it only shows"
    status, shown, _ = typed("repair", *names, "--yes")
    assert status == 0 and "run --workspace" in shown
    assert (study.state_folder / "results.lost-1.tsv").read_bytes() == results
    assert "nothing to mend" in typed("repair", *names)[1] and typed("status", *names)[0] == 0

    play(study, setup, [])
    after = state_of(study)
    assert [one.blob for one in after.experiments] == [before.best.blob] and after.best.verdict == "keep"
    worse = commits.text_of(study.folder, before.experiments[2].commit)
    assert proposals.objection(worse, after).startswith("this program was tried before the ledger was lost: ")
    kept = git(study.folder, "for-each-ref", "--format=%(objectname)").splitlines()
    assert {one.commit for one in before.experiments} <= set(kept), "every commit keeps a ref"
    check_in_line(study)
