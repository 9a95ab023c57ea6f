"""The run card: as text, compared with another, and read back from a file that may be anything."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch.bench import card, text
from autoresearch.bench.card import Row
from autoresearch.bench.measure import checksum
from autoresearch.errors import UsageError
from autoresearch.hardware.autotune.stopwatch import Limits
from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.now.conditions import Conditions
from autoresearch.hardware.now.load import Load
from autoresearch.hardware.now.power import Heat, Power
from autoresearch.hardware.planner import profiles

QUIET = Conditions(8, Power("mains"), Heat(False, "no event"), Load(0.0, 0.0, None, None))
BUSY = replace(QUIET, load=Load(0.5, 4.0, "a video player", None))
PREDICTED = {
    "tokens_per_second": {"value": 120_000, "error": 0.25}, "train_memory_bytes": {"value": 3 << 29, "error": 0.05},
    "first_startup_seconds": None, "startup_seconds": {"value": 20.0, "error": 1.0}, "scoring_seconds": None,
    "experiments_per_hour": None,
}  # fmt: skip
ROW = Row(
    profile="cpu", checksum="a", corpus="stdlib", corpus_checksum="t", train_seconds=300, untimed=None, tokens_per_second=100_000,
    run_tokens_per_second=90_000, step_seconds=0.04, step_spread=0.031, mfu_of_product=0.41, mfu_of_data_sheet=None,
    peak_memory_bytes=1 << 30,
    cold_start_seconds=57.7, start_seconds=11.2, scoring_seconds=7.4, loader_share=0.0004, scoring_share=0.023,
    experiments_per_hour=11.3, val_bpb=1.2345, predicted=PREDICTED, runtime={},
)  # fmt: skip
UNTIMED = replace(
    ROW, profile="plug-in", untimed="no Trainer", tokens_per_second=None, step_seconds=None, step_spread=None, mfu_of_product=None,
    cold_start_seconds=None, loader_share=None, predicted=None,
)  # fmt: skip
LIMITS = Limits(matmul_flops=1.4e12, bandwidth=19e9)


def make(*rows: Row, conditions: Conditions = QUIET, quick: bool = False, limits: Limits = LIMITS, failed=(), **facts) -> dict:
    """As a file would give it back."""
    facts = {"device": "a CPU", "dtype": "bfloat16", "cores": 8, "versions": {"torch": "2.9"}} | facts
    choice = Choice(registry.scan()["cpu"], Facts(ok=True, **facts), "asked for by name", [])
    return json.loads(json.dumps(card.make(choice, list(rows), [limits] * len(rows), list(failed), conditions, quick)))


def cells(lines: list[str], start: str) -> list[str]:
    return next(line for line in lines if line.startswith(start)).removeprefix(start).split()


# As text


def test_every_figure_is_in_the_table_and_unknown_is_na():
    lines = text.lines(make(ROW, UNTIMED, conditions=BUSY))
    known = ["100,000", "90,000", "41.0%", "n/a", "1,024", "57.7", "11.2", "7.4", "0.04%", "2.3%", "11.3", "1.2345", "3.1%"]
    assert cells(lines, "cpu ") == known
    assert cells(lines, "plug-in ") == ["n/a", "90,000", "n/a", "n/a", "1,024", "n/a", *known[6:8], "n/a", *known[9:12], "n/a"]
    assert "plug-in: no Trainer, hence n/a" in lines
    assert "matrix product 1.4 TFLOP/s, data sheet n/a" in lines
    assert "memory copy    19 GB/s, read and written" in lines
    assert any(line.startswith("  warning   other processes take 50%") for line in lines)
    start = next(place for place, line in enumerate(lines) if line.startswith("profile "))
    assert len({len(line) for line in lines[start : start + 3]}) == 1  # aligned


def test_the_plan_is_beside_what_was_measured():
    lines = text.lines(make(ROW, UNTIMED))
    start = next(place for place, line in enumerate(lines) if line.startswith("plan "))
    row = ["120,000", "(+20%)", "1,536", "(+50%)", "n/a", "20.0", "(+79%)", "n/a", "n/a"]
    assert lines[start + 1].split() == ["cpu", *row]
    assert not lines[start + 2].startswith("plug-in")
    assert not any(line.startswith("plan") for line in text.lines(make(UNTIMED)))


def test_what_was_chosen_in_the_runtimes_place_is_named():
    lines = text.lines(make(ROW, replace(UNTIMED, runtime={"compile": False, "threads": 2})))
    assert "plug-in: compile off, threads 2 by its [runtime]" in lines
    assert not any(line.startswith("cpu: ") for line in lines)


def test_what_failed_is_named_even_when_nothing_else_is_there():
    lines = text.lines(make(failed=[("cpu", "oom: no room")]))
    assert "cpu failed: oom: no room" in lines
    assert not any(line.startswith("profile ") for line in lines)


# Cards beside each other


def compared(*cards: dict) -> list[str]:
    return text.comparison(cards).text()


def test_a_comparison_gives_the_second_card_over_the_first():
    faster = replace(ROW, tokens_per_second=250_000, val_bpb=1.1)
    lines = compared(make(ROW), make(faster, limits=replace(LIMITS, matmul_flops=2.8e12), device="another"))
    assert lines[0].split() == ["a", "CPU,", "cpu", "another,", "cpu", "ratio"]
    assert cells(lines, "matrix product TFLOP/s") == ["1.4", "2.8", "2.00"]
    assert cells(lines, "  tokens/s") == ["100,000", "250,000", "2.50"]
    assert cells(lines, "  of data sheet") == ["n/a", "n/a", "n/a"]
    assert cells(lines, "  val_bpb") == ["1.2345", "1.1000", "0.89"]
    assert lines[-1].startswith("  noise")  # no notes: the cards are of one kind


def test_other_sizes_have_no_ratio_and_another_text_has_none_of_val_bpb():
    lines = compared(make(ROW), make(replace(ROW, checksum="b")))
    assert cells(lines, "  tokens/s")[-1] == cells(lines, "  val_bpb")[-1] == "n/a"
    assert lines[-1].startswith("cpu: other sizes")
    lines = compared(make(ROW), make(replace(ROW, corpus_checksum="u")))
    assert (cells(lines, "  tokens/s")[-1], cells(lines, "  val_bpb")[-1]) == ("1.00", "n/a")
    assert lines[-2].startswith("cpu: another text")


def test_a_comparison_names_what_disturbs_it():
    one, other = make(ROW, conditions=BUSY), make(UNTIMED, failed=[("cpu", "oom: no room")]) | {"autoresearch": "0.0.1"}
    notes = text.comparison([one, other]).notes
    assert notes[:2] == ["cpu: only in card 1", "plug-in: only in card 2"]
    assert notes[2].startswith("other versions of autoresearch: ") and ", 0.0.1" in notes[2]
    assert notes[3] == "card 1: other processes take 50% of the usable cores, a video player most"
    assert notes[4] == "card 2: cpu failed: oom: no room"


def test_three_cards_are_held_against_the_first_in_every_form():
    half, other = replace(ROW, tokens_per_second=50_000), replace(ROW, checksum="b", tokens_per_second=300_000)
    found = text.comparison([make(ROW), make(half, device="an | old one"), make(other, device="new")])
    lines = found.text()
    assert lines[0].split()[-6:] == ["2", ":", "1", "3", ":", "1"]
    assert cells(lines, "  tokens/s") == ["100,000", "50,000", "300,000", "0.50", "n/a"]
    assert found.notes == ["cpu: other sizes or another training time in card 3, so nothing of it compares"]
    marked = found.markdown()
    assert marked[0].count(" | ") == marked[1].count(" | ") == 5 and "an \\| old one" in marked[0]
    assert {line.replace("\\|", "").count("|") for line in marked[: len(found.table) + 1]} == {7} and marked[
        -1
    ] == f"- {found.notes[0]}"
    rows = {row[0]: row[1:] for row in csv.reader(found.csv())}
    assert rows["cpu tokens/s"] == ["100000", "50000", "300000", "0.50", ""]
    assert {len(row) for row in rows.values()} == {5} and "cpu" not in rows


def test_what_the_steps_scatter_hides_is_said():
    """46 % of noise stood in the table, and nothing said what it means."""
    noisy = replace(ROW, step_spread=0.46)
    [note] = [line for line in text.lines(make(noisy)) if "measure again when the machine is quiet" in line]
    assert note.startswith("cpu: a step's time spread by 46%")
    assert not any("measure again" in line for line in text.lines(make(ROW)))
    [note] = text.comparison([make(ROW), make(replace(noisy, tokens_per_second=130_000))]).notes
    assert note == "cpu: tokens/s differ by 30% and the steps' own time by up to 46%: not told apart from the first in card 2"
    assert text.comparison([make(ROW), make(replace(ROW, tokens_per_second=104_000))]).notes == [], "3.1 % of noise, 4 % apart"


def test_a_card_names_the_commit_that_it_was_made_with():
    made = make(ROW)
    assert re.fullmatch(r"[0-9a-f]{40}\+?", made["revision"]) or made["revision"] is None
    assert text._version(made | {"revision": "0123456789abcdef+"}) == f"{made['autoresearch']} (0123456789)"
    assert text._version({"autoresearch": "0.1.0"}) == "0.1.0", "older cards have none"


def test_the_checksum_is_of_the_sizes_and_the_time_and_not_of_the_notes():
    backend, profile = registry.scan()["cpu"], profiles.load("cpu")
    train_py = backend.train_py.read_text(encoding="utf-8")
    usual = checksum(profile, train_py)
    patient = replace(profile, title="Another", budget=replace(profile.budget, startup_limit_seconds=7))
    assert usual == checksum(patient, train_py + "\n# a remark\n")
    assert usual != checksum(profile, train_py.replace("MLP_RATIO = 4 ", "MLP_RATIO = 3 "))
    assert usual != checksum(replace(profile, data=replace(profile.data, seq_len=128)), train_py)
    assert usual != checksum(profile.with_train_seconds(7), train_py)


# From a file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])  # PowerShell's > writes the last
def test_a_card_is_read_back_as_it_was_written(tmp_path, encoding):
    path = tmp_path / "card.json"
    made = make(ROW, UNTIMED, conditions=BUSY, failed=[("gpu", "oom: no room")])
    path.write_text(json.dumps(made), encoding=encoding)
    assert card.read(path) == made


def damaged(**changes) -> str:
    return json.dumps(make(ROW) | changes)


def row(**changes) -> dict:
    return make(ROW)["profiles"][0] | changes


def without(key: str) -> str:
    table = make(ROW)
    del table[key]
    return json.dumps(table)


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "not JSON"),
        (json.dumps(make(ROW))[:-200], "not JSON, or cut off"),
        ("\x00\xff", "not JSON"),
        ("[1]", "but no run card"),
        ('{"kind": "package.json"}', "but no run card"),
        (damaged(format=1), "of format 1, and this version reads 2"),
        (without("format"), "of format None"),
        (without("limits"), "limits is missing"),
        (without("failed"), "failed is missing"),
        (damaged(profiles={}), "profiles must be a list"),
        (damaged(profiles=[3]), "profiles[0] must be a table"),
        (damaged(profiles=[{"profile": "cpu"}]), "profiles[0].checksum is missing"),
        (damaged(profiles=[row(tokens_per_second="fast")]), "profiles[0].tokens_per_second must be a number or null"),
        (damaged(profiles=[row(start_seconds=None)]), "profiles[0].start_seconds must be a number"),
        (damaged(conditions=None), "conditions must be a table"),
        (damaged(conditions={"warnings": [3]}), "conditions.warnings[0] must be text"),
        (damaged(failed=["cpu"]), "failed[0] must be a table"),
        (damaged(facts={"ok": True}), "the key 'device' is missing"),
        (damaged(device=True), "device must be text or null"),
    ],
)  # fmt: skip
def test_anything_else_is_one_line_that_says_what_to_do(tmp_path, content, said):
    path = tmp_path / "card.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError) as error:
        card.read(path)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1
    assert "autoresearch bench --json" in str(error.value) or "make it again" in str(error.value)


def test_a_card_that_is_not_there_is_a_users_error(tmp_path):
    with pytest.raises(UsageError, match=r"mine\.json can't be read"):
        card.read(tmp_path / "mine.json")


def test_a_card_holds_no_home_folder():
    made = make(ROW, compile_reason=f"a compiler in {Path.home() / 'bin'}")
    assert str(Path.home()) not in json.dumps(made) and "~" in made["facts"]["compile_reason"]
