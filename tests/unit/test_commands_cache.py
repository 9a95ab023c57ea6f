"""`autoresearch cache`: what lies there, and room made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch import locks
from autoresearch.data.prepared import META, write_meta


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path))
    for name, size in (("data/a/tokens.bin", 3000), ("compile/x/y.so", 500), ("compile/z.so", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    write_meta(tmp_path / "data" / "a", {"corpus": "tinystories"})
    return tmp_path


def test_it_is_shown_and_one_kind_is_removed(cache, typed):
    status, text, _ = typed("cache")
    assert status == 0 and str(cache) in text and "data                0.0 MB" in text
    size = json.loads(typed("cache", "--json")[1])["bytes"]["data"]
    assert size == 3000 + (cache / "data" / "a" / META).stat().st_size
    status, text, _ = typed("cache", "--clean", "compile", "--json")
    assert status == 0 and json.loads(text)["removed_bytes"] == 500
    assert not list((cache / "compile").iterdir()) and (cache / "data" / "a" / "tokens.bin").exists()
    assert json.loads(typed("cache", "--clean", "all", "--json")[1])["removed_bytes"] == size
    assert not (cache / "data" / "a").exists()


def test_what_can_not_be_made_again_goes_by_its_own_name_alone(cache, typed):
    for name, corpus in (("text", str(cache / "text")), ("stdlib", "stdlib"), ("hub", "hf://a/b")):
        (cache / "data" / name).mkdir()
        write_meta(cache / "data" / name, {"corpus": corpus})
    (cache / "data" / "base-1").mkdir()  # a fine-tuning's base has another description
    (cache / "agents" / "codex").mkdir(parents=True)
    (cache / "agents" / "codex" / "auth.json").write_text("{}", encoding="utf-8")
    assert typed("cache", "--clean", "all")[0] == 0
    assert sorted(path.name for path in (cache / "data").iterdir()) == [".lock", "base-1", "stdlib", "text"]
    assert (cache / "agents" / "codex" / "auth.json").exists()
    assert typed("cache", "--clean", "agents")[0] == 0 and typed("cache", "--clean", "copies")[0] == 0
    assert [path.name for path in (cache / "data").iterdir()] == [".lock"] and not list((cache / "agents").iterdir())


def test_nothing_is_removed_while_a_text_is_prepared(cache, typed):
    with locks.held(cache / "data" / ".lock", lambda: None):
        status, _, complaint = typed("cache", "--clean", "all")
    assert status == 2 and "is being prepared" in complaint and (cache / "data" / "a" / "tokens.bin").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--train-seconds", "1e-9"], "--train-seconds S takes a number of at least 0.05"),
        (["run", "--seed", "1" + 30 * "0"], "--seed N takes a whole number of at least 0"),
        (["cache", "--clean", "everything"], "--clean KIND|all takes one of downloads, "),
    ],
)
def test_numbers_that_can_not_be_are_refused(typed, arguments, words):
    status, _, complaint = typed(*arguments)
    assert status == 2 and words in complaint and complaint.count("\n") == 1


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "autoresearch", "--version"], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0 and done.stdout.startswith("autoresearch, version ")
