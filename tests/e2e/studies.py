"""Studies on the null backend, for the tests of the loop: real git, real child processes, a simulated score in under a second."""

import contextlib
import functools
import os
import random
import re
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scripted import Scripted

from autoresearch.agents.mix import Agents
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import detect
from autoresearch.hardware.planner import profile_file
from autoresearch.loop import loop
from autoresearch.loop.loop import Until, run_study
from autoresearch.study import session, terms, workspace
from autoresearch.study.ledger import read
from autoresearch.study.state import State

# The baseline is off the landscape's cliff, so that a step can be better by far more than the seed's noise of 0.001.
PROFILE = """
title = "Test"
backends = ["null"]
[match]
[data]
corpus = "stdlib"
vocab_size = 320
seq_len = 64
eval_bytes = 10000
[budget]
train_seconds = 0.1
startup_limit_seconds = 20
[train]
DEPTH = 16
ASPECT_RATIO = 128
COUNTED_BATCHES = 1
COUNTED_ROWS = 256
"""
BETTER = {"DEPTH": 8, "ASPECT_RATIO": 64}
WORSE = {"DEPTH": 17}
START = "from autoresearch import measure\nimport time\n"
TRAINS = START + "run = measure.start()\nfor step in run.steps(lambda path: path.write_bytes(b'x')): "
CRASH = TRAINS + "raise RuntimeError('a broken idea')\n"
BROKEN = START + "raise RuntimeError('broken from the start')\n"  # before READY: no experiment
NEVER_ASKS = START + "run = measure.start()\ntime.sleep(1000)\n"
OUT_OF_MEMORY = TRAINS + "raise MemoryError('no room')\n"


@dataclass
class Recorder:
    """A listener that remembers."""

    events: list[dict] = field(default_factory=list)
    phases: list[tuple] = field(default_factory=list)

    def event(self, event: dict) -> None:
        self.events.append(event)

    def progress(self, number: int, run: int, progress) -> None:
        self.phases.append((number, run, progress.phase))

    @property
    def notes(self) -> list[str]:
        return [event["reason"] for event in self.events if event["event"] == "note"]


def write_profile(folder: Path) -> Path:
    path = folder / "test.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


def write_corpus(folder: Path, words: int = 300) -> Path:
    """words: how many different ones; a larger vocabulary needs more."""
    rng = random.Random(0)
    known = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 7))) for _ in range(words)]
    for document in range(120):
        (folder / f"{document}.txt").write_text(" ".join(rng.choices(known, k=400)), encoding="utf-8")
    return folder


def make(
    folder: Path, corpus: Path, decide: str = "strict", stop_early: bool = False, backend: str = "null", train: dict | None = None,
    **budget: float,
):  # fmt: skip
    """(Study, Setup) of a new workspace in folder; train replaces [train], budget values of [budget]."""
    table = tomllib.loads(PROFILE) | {"backends": [backend]} | ({} if train is None else {"train": train})
    table["budget"] |= budget
    if backend != "null":
        del table["train"]  # constants of the null backend's train.py
    profile = profile_file.parse(table, "test", "PROFILE")
    choice = detected(backend)
    prepared = prepare(str(corpus), profile.data.vocab_size)
    study = workspace.create(
        folder, tag="t", backend=choice.backend, facts=choice.facts, profile=profile, prepared=prepared,
        corpus=prepared.corpus, decide=decide, stop_early=stop_early,
    )  # fmt: skip
    return study, terms.setup(study, choice.backend, prepared, sandbox=0)


detected = functools.cache(detect.detect)  # a probe is a process
_played: dict[tuple, Path] = {}


def played(folder: Path, corpus: Path, *steps, decide: str = "strict"):
    """(Study, Setup) of a workspace in folder that has its baseline and played the steps: a copy, they run once a process."""
    name = (corpus, decide, repr(steps))
    if name not in _played:
        template = corpus.with_name(f"{corpus.name}-played-{len(_played)}")
        assert play(*make(template, corpus, decide), steps, experiments=len(steps))[0].exit_status == 0
        _played[name] = template
    shutil.copytree(_played[name], folder, symlinks=True)
    study = workspace.load(folder)
    prepared = prepare(str(corpus), study.profile.data.vocab_size)
    return study, terms.setup(study, detected("null").backend, prepared, sandbox=0)


def play(study, setup, steps, experiments: int | None = None, pictures: bool = False):
    """Run the study with a script: (Ending, Recorder)."""
    recorder = Recorder()
    with contextlib.nullcontext() if pictures else without_pictures():
        return run(study, setup, steps, recorder, experiments), recorder


@contextlib.contextmanager
def without_pictures() -> Iterator[None]:
    """Half a second a night for matplotlib; progress.png and report.html are drawn anew at any time.

    Nights in two threads overlap: the first one begins it, and the last one ends it.
    """
    with _ONE_AT_A_TIME:
        _PICTURELESS.append(None)
        if len(_PICTURELESS) == 1:
            _PATCH.setattr(session.Session, "draw", lambda self: None)
            _PATCH.setattr(loop, "write_page", lambda session: None)
    try:
        yield
    finally:
        with _ONE_AT_A_TIME:
            _PICTURELESS.pop()
            if not _PICTURELESS:
                _PATCH.undo()


_PICTURELESS: list[None] = []
_ONE_AT_A_TIME, _PATCH = threading.Lock(), pytest.MonkeyPatch()


def run(study, setup, steps, listener, experiments: int | None = None):
    return run_study(study, setup, Agents(Scripted(steps)), Until(experiments), listener)


def text_of(study) -> str:
    return (study.folder / "train.py").read_text(encoding="utf-8")


def state_of(study) -> State:
    return State.from_events(read(study.events))


def verdicts(study) -> list[tuple]:
    """What must not depend on when a study was killed."""
    found = []
    for one in state_of(study).experiments:
        runs = [(run.k, run.seed, run.result.status, run.result.val_bpb) for run in one.runs]
        found.append((one.number, one.description, one.verdict, one.state, one.val_bpb, runs))
    return found


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ["-c", "user.name=U", "-c", "user.email=u@example.org", "-c", "safe.directory=*"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def check_in_line(study) -> None:
    """Branch, refs, index, work tree, results.tsv and the run folders say what the ledger says."""
    state = state_of(study)
    assert state.pending is None
    best = state.best
    assert git(study.folder, "rev-parse", f"autoresearch/{study.tag}") == best.commit
    assert git(study.folder, "status", "--porcelain") == ""
    refs = git(study.folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/autoresearch").splitlines()
    refs = [ref for ref in refs if re.search(r"/\d+ ", ref)]  # without what failed before a baseline was mended
    assert sorted(refs) == sorted(f"refs/autoresearch/{study.tag}/{one.number} {one.commit}" for one in state.experiments)
    rows = (study.folder / "results.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    assert [row.split("\t")[0] for row in rows[1:]] == [one.commit[:7] for one in state.experiments]
    weights = sorted(path.parent.name for path in study.runs.glob("*/checkpoint"))
    assert weights == sorted(run.folder for run in best.weighty), weights
    assert not list(study.folder.glob("**/*.tmp")) and not list((study.folder / ".git").rglob("*.lock"))
