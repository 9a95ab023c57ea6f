"""Nights on a table: odd but honest models are kept, what is no answer or answers by its batch is not; the network learns."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import studies
import tables

from autoresearch.commands.bars import bars
from autoresearch.study import new

ROWS = 3000
SAID: list[str] = []


def table(folder: Path) -> Path:
    """What a line can't tell: the class is the sign of a product, turned round for one kind, and wrong now and then."""
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, ROWS)).round(4)
    kind = rng.choice(["here", "there", "nowhere"], ROWS)
    much = (a * b * np.where(kind == "here", -1, 1) + 0.1 * noise).round(3)
    late = np.where(much > 0, "yes", "no")
    lines = [",".join(map(str, row)) for row in zip(a, b, kind, late, much, strict=True)]
    path = folder / "table.csv"
    path.write_text("a,b,kind,late,much\n" + "\n".join(lines) + "\n")
    return path


def made(folder: Path, **chosen: object):
    """(Study, Setup)"""
    wanted = {
        "tag": "t", "task": "tabular", "target": "late", "corpus": str(table(folder)), "backend": "null", "profile": "null",
        "train_seconds": 0.2, "decide": "strict", "drop": ["much"],
    }  # fmt: skip
    SAID.clear()
    return new.make(folder / "study", wanted | chosen, SAID.append, partial(bars, quiet=True, plain=True), 0)


@pytest.mark.slow
def test_honest_models_of_every_kind_are_scored_audited_and_kept_and_others_are_not(tmp_path):
    study, setup = made(tmp_path)
    honest = [tables.PRIOR, tables.STUMPS, tables.NEIGHBOURS, tables.WAVES, tables.COARSE]
    steps = [*honest, tables.NOT_A_NUMBER, tables.BY_ITS_BATCH]
    ending, _ = studies.play(study, setup, [tables.train_py(lines) for lines in steps], experiments=len(steps))
    state = studies.state_of(study)
    line, prior, *able, coarse, no_number, by_batch = state.experiments
    print([(one.verdict, one.state, one.val_bpb) for one in state.experiments])
    assert ending.exit_status == 0
    assert state.metric.name == "log_loss" and line.val_bpb == pytest.approx(np.log(2), abs=0.01)
    assert prior.val_bpb == pytest.approx(np.log(2), abs=0.01)
    assert [one.verdict for one in able] == ["keep"] * 3 and all(one.audits for one in able)
    assert coarse.val_bpb == pytest.approx(able[-1].val_bpb, abs=0.01)
    assert no_number.state == "invalid"
    assert by_batch.state == "cheat"
    assert state.best.test_bpb == pytest.approx(state.best.val_bpb, abs=0.1)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_study_of_the_network_on_a_cpu(tmp_path):
    pytest.importorskip("torch")
    study, setup = made(tmp_path, backend="cpu", profile="cpu-small", train_seconds=1, target="much", drop=["late"])
    ending, _ = studies.play(study, setup, [], experiments=0)
    best = studies.state_of(study).best
    assert ending.exit_status == 0
    assert study.metric.name == "rel_rmse" and 0 < best.val_bpb < 1.1
    assert "`much`, a number" in (study.folder / "program.md").read_text(encoding="utf-8")
    assert any(line.startswith("warning   only 450 rows") for line in SAID)
