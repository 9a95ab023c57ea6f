"""`autoresearch prepare` as a person calls it, and killed at many points: the next call trusts nothing half-written."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch.data.prepare import prepare
from autoresearch.data.prepared import Prepared

KILL_POINTS = 8  # of each kind; every opening, rename and removal of a file in the cache is a candidate

# Dies, as by kill -9, at the n-th thing that prepare does in the cache; with n = 0 lives and prints how many there were.
DYING_CHILD = """
import os, sys
cache, corpus, dies_at, force = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "force"
from autoresearch.data.prepare import prepare
seen = 0
def hook(event, arguments):
    global seen
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and str(arguments[0]).startswith(cache):
        seen += 1
        if seen == dies_at:
            os._exit(9)
sys.addaudithook(hook)
prepare(corpus, 300, force=force)
print(seen)
"""


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "texts"
    folder.mkdir()
    chooser = random.Random(0)
    words = [f"{a}{b}{c}" for a in "bcdfghk" for b in "aeiou" for c in "lmnrst"]
    rows = [json.dumps({"text": " ".join(chooser.choices(words, k=120))}) for _ in range(250)]
    (folder / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "autoresearch.cli", "prepare", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | environment,
        timeout=120,
    )


def die(corpus: Path, dies_at: int, force: str = "") -> subprocess.CompletedProcess:
    cache = os.environ["AUTORESEARCH_CACHE_DIR"]
    arguments = [sys.executable, "-c", DYING_CHILD, cache, str(corpus), str(dies_at), force]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


def test_prepare_says_what_it_made_and_where(corpus):
    first = run("--corpus", corpus, "--vocab-size", 300)
    assert first.returncode == 0, first.stderr
    assert "training" in first.stdout and "validation" in first.stdout and "bytes a token" in first.stdout
    assert "encoding train" in first.stderr
    again = run("--corpus", corpus, "--vocab-size", 300, "--json")
    facts = json.loads(again.stdout)
    assert facts["corpus"] == str(corpus.resolve()) and facts["vocab_size"] == 300
    assert facts["folder"] in first.stdout
    assert Prepared.load(Path(facts["folder"])).train_tokens == facts["train_tokens"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "tinystory", "--vocab-size", "300"], "did you mean tinystories?"),
        (["--corpus", "stdlib", "--vocab-size", "12"], "choose 257"),
        (["--corpus", "climbmix", "--vocab-size", "300"], "can't reach"),
    ],
)
def test_a_mistake_is_one_line(corpus, arguments, message):
    result = run(*arguments, HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode in (1, 2) and message in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("force", ["", "force"])
def test_a_prepare_that_was_killed_leaves_nothing_that_is_trusted(corpus, force):
    events = {"": int(die(corpus, 0).stdout), "force": int(die(corpus, 0, "force").stdout)}[force]
    whole = prepare(str(corpus), 300)
    root = whole.folder.parent
    for point in range(KILL_POINTS):
        if not force:
            shutil.rmtree(whole.folder)
        killed = die(corpus, 1 + point * (events - 1) // (KILL_POINTS - 1), force)
        assert killed.returncode == 9, killed.stderr
        assert prepare(str(corpus), 300) == whole
        Prepared.load(whole.folder).verify()
        assert sorted(path.name for path in root.iterdir()) == [".lock", whole.folder.name]
