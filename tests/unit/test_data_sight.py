"""A study on a text that train.py can read says so, wherever its results are shown."""

from dataclasses import replace

import pytest
from e2e import studies

from autoresearch.commands.run import farewell
from autoresearch.loop.stop import Ending


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["stdlib", "tinystories"])
def test_a_text_in_sight_is_said(tmp_path, typed, corpus, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "text").mkdir()
    study, setup = studies.make(tmp_path / "study", studies.write_corpus(tmp_path / "text"))
    studies.play(study, setup, [])
    study = replace(study, corpus=corpus)
    is_said = corpus == "stdlib"
    assert any("train.py can read all of stdlib" in line for line in farewell(study, Ending("done"))) == is_said
    assert ("in train.py's sight" in study.machine_line) == is_said
    terms = study.folder / "study.toml"
    terms.write_text(terms.read_text().replace(str(tmp_path / "text"), corpus))
    for command, words in (("status", "which train.py can read"), ("best", "train.py can read all of stdlib")):
        status, out, _ = typed(command, "--workspace", str(study.folder))
        assert status == 0 and (words in out) == is_said, out
