"""`autoresearch studies`: what lies in a folder, whole or damaged."""

import json
import shutil

from studies import BETTER, WORSE, make, played

from autoresearch.study import lock


def test_studies_are_listed_and_a_damaged_one_ends_nothing(tmp_path, corpus, typed):
    make(tmp_path / "autoresearch-t", corpus)
    at_work, _ = played(tmp_path / "at-work", corpus, BETTER, WORSE)
    for name, harm in (("no-ledger", ".autoresearch/events.jsonl"), ("no-terms", "study.toml")):
        shutil.copytree(at_work.folder, tmp_path / name)
        (tmp_path / name / harm).write_bytes(b"\x1b[31m\xff")
    (tmp_path / "other").mkdir()
    (tmp_path / "a file").touch()
    with lock.hold(at_work.lock):
        status, out, _ = typed("studies", str(tmp_path), "--json")
        shown = typed("studies", str(tmp_path))[1]
    found = {table["workspace"].rsplit("/")[-1]: table for table in json.loads(out)}
    assert status == 0
    assert {name: table["state"] for name, table in found.items()} == {
        "autoresearch-t": "new", "at-work": "running", "no-ledger": "damaged", "no-terms": "damaged",
    }  # fmt: skip
    assert found["at-work"]["experiments"] == 2 and found["at-work"]["gain_bpb"] > 0.05
    lines = shown.splitlines()
    assert len(lines) == 5 and all(line.count("damaged") for line in lines[-2:]) and "\x1b" not in shown
    assert [line.split()[:3] for line in lines if "running" in line] == [["t", "in", "at-work"]]


def test_nothing_to_list_is_a_line_that_says_what_to_do(tmp_path, typed):
    assert typed("studies", str(tmp_path))[0::2] == (0, "")
    status, _, complaint = typed("studies", str(tmp_path / "nowhere"))
    assert status == 2 and "name one that holds studies" in complaint
