"""An experiment trained again, from its commit, in a folder of its own: does its score come back?

Promises: ledger, git, runs and work tree stay as they were; the study's lock is held meanwhile, since two trainings disturb each
other; the weights of what ended well stay in .autoresearch/replays, for `export` and `sample`. Not covered: a training that the
machine disturbed counts (the study itself would do it again).
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoresearch import durable
from autoresearch.border import files
from autoresearch.hardware import slots
from autoresearch.hardware.now import awake
from autoresearch.measure.summary import RunResult
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.noise import Noise, gain, mean, pooled_noise, student_t
from autoresearch.report import weights
from autoresearch.run import experiment
from autoresearch.run.setup import OnProgress, Setup
from autoresearch.study import lock
from autoresearch.study.experiments import Experiment
from autoresearch.study.workspace import Study

WITHIN = 1.96  # normal deviate: 19 of 20 times, were nothing else than the seed
OWN_NOISE_SEEDS = 3  # chosen: with 2, Student's t is 12.7 and nothing is told apart


@dataclass(frozen=True)
class Judgement:
    """recorded, found: scores. margin: how far their means may lie apart by the seed alone; None: not known."""

    recorded: float
    found: float
    difference: float  # above 0: worse than recorded
    margin: float | None
    sigma: float | None

    @property
    def reproduced(self) -> bool | None:
        """None: not known. The very score that was recorded is reproduced, whatever the noise."""
        if self.margin is None:
            return True if self.difference == 0 else None
        return abs(self.difference) <= self.margin


def judge(recorded: list[float], scores: list[float], noise: Noise | None, metric: Metric = VAL_BPB) -> Judgement:
    """Two-sided, Student's t with the noise's degrees of freedom. noise: the study's; None: that of the new scores, if they are
    OWN_NOISE_SEEDS or more.
    """
    if noise is None and len(scores) >= OWN_NOISE_SEEDS:
        noise = pooled_noise([scores], metric)
    lower = gain(recorded, scores, noise)
    margin = student_t(WITHIN, noise.dof) * lower.error if noise and lower.error else None
    return Judgement(mean(recorded), mean(scores), -lower.bpb, margin, noise.sigma if noise else None)


def train_again(
    study: Study, setup: Setup, subject: Experiment, train_py: str, seeds: list[int], on_progress: OnProgress,
    on_result: Callable[[RunResult], None],
) -> tuple[list[RunResult], Path]:  # fmt: skip
    """One training a seed: (results, the last one's log). The first that fails is the last. Raises EnvironmentFailure,
    KeyboardInterrupt, UsageError where the study is at work; what was done until then stays.
    """
    above, results = weights.replays(study), []
    work = above / "now"
    with lock.hold(study.lock), awake.held(), slots.shared(study.cores):
        durable.make_folder(above)
        for k, seed in enumerate(seeds, 1):
            files.remove(work)
            with _removed_on_error(work):
                result = experiment.execute(setup, train_py, seed, work, on_progress)
                results.append(result)
                on_result(result)
                if not result.ok:
                    break
                (work / weights.RESULT).write_text(json.dumps(result.to_json()), encoding="utf-8")
                target = above / f"{subject.number:04d}-{k}"
                files.remove(target)
                os.replace(work, target)
    return results, work / "log.txt"


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        files.remove(folder)
        raise
