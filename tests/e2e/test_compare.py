"""`autoresearch compare`: the same text, another text, a shorter one, and runs whose documents are not what was scored."""

import json
import shutil
import tomllib

import numpy as np
import pytest
import tomli_w
from studies import BETTER, WORSE, make, play, played, state_of, without_pictures, write_corpus


@pytest.fixture
def study(tmp_path, corpus):
    return played(tmp_path / "a", corpus, BETTER, WORSE, decide="confirmed")[0]


def compared(typed, *words):
    status, out, complaint = typed("compare", *map(str, words), "--json")
    assert status == 0, complaint
    return json.loads(out)


def test_two_experiments_of_a_study_are_paired_by_document(study, typed):
    found = compared(typed, f"{study.folder}@0", study.folder)
    baseline, best = state_of(study).experiments[0], state_of(study).best
    assert found["b"]["experiment"] == best.number == 1 and found["different"] is True
    assert found["paired"]["bpb"] == pytest.approx(baseline.val_bpb - best.val_bpb, abs=1e-9)
    low, high = found["paired"]["interval"]
    assert low < found["paired"]["bpb"] < high and found["sentence"].startswith("B is better than A")
    shown = typed("compare", f"{study.folder}@0", str(study.folder))[1]
    assert found["sentence"] in shown and "by documents" in shown


def test_a_smaller_text_is_a_prefix_of_a_larger_one(study, tmp_path, corpus, typed):
    """As a study of a smaller eval_bytes has it: the first documents alone, and their score."""
    short = tmp_path / "short"
    shutil.copytree(study.folder, short, symlinks=True)
    table = tomllib.loads((short / "study.toml").read_text(encoding="utf-8"))
    (short / "study.toml").write_text(tomli_w.dumps(table | {"created": "later"}), encoding="utf-8")
    lines = (short / ".autoresearch" / "events.jsonl").read_text(encoding="utf-8")
    for run in (run for one in state_of(study).experiments for run in one.runs):
        path = short / ".autoresearch" / "runs" / run.folder / "documents.npy"
        bits, sizes = np.load(path)[:, :2]
        np.save(path, np.stack([bits, sizes]))
        lines = lines.replace(repr(run.result.val_bpb), repr(float(bits.sum() / sizes.sum())))
    from autoresearch.study.lines import encode

    before, rewritten = "", b""
    for line in lines.splitlines():
        entry = json.loads(line)
        entry.pop("check")
        encoded, before = encode(entry, before)
        rewritten += encoded
    (short / ".autoresearch" / "events.jsonl").write_bytes(rewritten)
    found = compared(typed, f"{study.folder}@0", f"{short}@0")
    assert found["paired"]["documents"] == 2 and found["paired"]["bpb"] == pytest.approx(0, abs=1e-9)
    assert found["different"] is False and "No difference that can be told from chance" in found["sentence"]


def test_another_text_is_not_paired_and_the_rest_stands_side_by_side(study, tmp_path, typed):
    (tmp_path / "text").mkdir()
    other = make(tmp_path / "b", write_corpus(tmp_path / "text", words=310))
    with without_pictures():
        play(*other, [])
    found = compared(typed, study.folder, other[0].folder)
    assert found["paired"] is None and found["different"] is None and "their texts are not the same" in found["sentence"]
    assert found["b"]["val_bpb"] == state_of(other[0]).best.val_bpb and found["a"]["experiments"] == 2


def test_documents_that_do_not_say_what_the_ledger_says_count_for_nothing(study, typed):
    for run in state_of(study).best.runs:
        np.save(study.runs / run.folder / "documents.npy", np.ones((2, 5)))
    found = compared(typed, f"{study.folder}@0", study.folder)
    assert found["paired"] is None and "say what the ledger says" in found["sentence"]


def test_strict_has_no_noise_and_so_no_verdict(tmp_path, corpus, typed):
    strict = played(tmp_path / "s", corpus, BETTER)[0]
    found = compared(typed, f"{strict.folder}@0", strict.folder)
    assert found["different"] is None and "noise" in found["sentence"] and found["paired"]["documents_error"] > 0


def test_what_names_no_two_experiments_is_told(study, typed):
    for words, cure in (((f"{study.folder}@1", study.folder), "same experiment"), ((f"{study.folder}@7", study.folder), "0 to 2")):
        status, _, complaint = typed("compare", *map(str, words))
        assert status == 2 and cure in complaint
