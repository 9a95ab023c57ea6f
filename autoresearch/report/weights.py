"""Which weights of a study are still there, and are what was scored: those of the best, and of replays.

It reads beside a running study, which may take weights away at any moment: whoever copies a file compares its digest afterwards.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from autoresearch.border import files
from autoresearch.errors import RunFailed, UsageError
from autoresearch.measure.summary import RunResult
from autoresearch.paths import typed
from autoresearch.report import answers
from autoresearch.run import scoring
from autoresearch.study.experiments import Experiment
from autoresearch.study.workspace import Study

RESULT = "result.json"  # of a replay: written last
BORROWED = "borrowed-"


@dataclass(frozen=True)
class Weights:
    """One training's."""

    experiment: Experiment
    train_py: str
    folder: Path  # holds train.py and checkpoint
    result: RunResult
    test_bpb: float | None
    is_replay: bool


def replays(study: Study) -> Path:
    return study.state_folder / "replays"


def find(study: Study, number: int | None = None) -> Weights:
    """The weights with the lowest val_bpb of an experiment's that are there, or of the best's. Raises UsageError for none."""
    subject = answers.state_of(study).best if number is None else answers.experiment(study, number)
    if subject is None:
        run = f"`autoresearch run --workspace {typed(study.folder)}`"
        raise UsageError(f"the study {study.tag} has no baseline yet; {run} trains it")
    text = answers.train_py(study, subject)
    damaged = False
    for weights in sorted(_scored(study, subject, text), key=lambda one: one.result.val_bpb or 0.0):
        try:
            assert weights.result.checkpoint is not None, "`_scored` gives those that have one"
            scoring.seal(weights.folder, text, weights.result.checkpoint)
            return weights
        except OSError:
            continue
        except RunFailed:
            damaged = True
    why = "are not what was scored (checksum)" if damaged else "are not there: a study keeps those of its best"
    again = f"`autoresearch replay {subject.number} --workspace {typed(study.folder)}` trains it again and keeps them"
    if subject.verdict is None:
        again = "wait for its verdict"
    elif not subject.scores:
        why, again = f"are not there: it has no score ({subject.state})", "`autoresearch results` lists the others"
    raise UsageError(f"the weights of experiment {subject.number} {why}; {again}")


def _scored(study: Study, subject: Experiment, text: str) -> Iterator[Weights]:
    for run in subject.runs:
        if run.result and run.result.ok and run.result.checkpoint:
            yield Weights(subject, text, study.runs / run.folder, run.result, subject.tests.get(run.k), is_replay=False)
    for folder in replays(study).glob(f"{subject.number:04d}-*"):
        try:
            result = RunResult.from_json(json.loads((folder / RESULT).read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError):
            continue
        if result.ok and result.checkpoint:
            yield Weights(subject, text, folder, result, None, is_replay=True)


@contextlib.contextmanager
def borrowed(weights: Weights) -> Iterator[Path]:
    """A folder of one's own with the train.py and the checkpoint, for a process that works in it. Gone afterwards.

    UsageError where the weights were taken away meanwhile.
    """
    above = weights.folder.parent.parent  # the study's own disk: a temporary folder may be small
    for old in above.glob(f"{BORROWED}*"):
        number = old.name.removeprefix(BORROWED).split("-")[0]
        if not (number.isdecimal() and psutil.pid_exists(int(number))):
            files.remove(old)  # of a process that was killed
    folder = Path(tempfile.mkdtemp(prefix=f"{BORROWED}{os.getpid()}-", dir=above))
    try:
        (folder / "train.py").write_text(weights.train_py, encoding="utf-8", newline="")
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(weights.folder / "checkpoint", folder / "checkpoint")
        if not is_whole(folder / "checkpoint", weights):
            raise UsageError(f"the weights of experiment {weights.experiment.number} were taken away just now; run this again")
        yield folder
    finally:
        files.remove(folder)


def is_whole(copy: Path, weights: Weights) -> bool:
    """Whether a copy is what was scored."""
    return copy.is_file() and scoring.digest(copy) == weights.result.checkpoint
