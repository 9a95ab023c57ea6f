"""Measures one profile on this machine: its steps and the machine's limits, then a whole run.

Limits (matrix product, memory copy) and steps are timed in turn in one process, so that their ratio holds on a noisy machine.
Start-up, scoring, memory and val_bpb come from a whole run of the harness: the same code as an experiment, with the profile's
budget, or with a moment of training (`quick`), whose val_bpb means nothing and is left out.
"""

import hashlib
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from autoresearch import choices, constants
from autoresearch.bench.card import Row
from autoresearch.child import RunFailed
from autoresearch.data.prepare import Prepared
from autoresearch.hardware.autotune.stopwatch import UNTIMED, Limits, Started, Stopwatch, limits_of
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.planner.plan import forecast
from autoresearch.hardware.planner.profiles import Profile
from autoresearch.measure.summary import RunResult
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup
from autoresearch.sandbox import levels
from autoresearch.task import registry as tasks

ROUNDS, QUICK_ROUNDS = 15, 5
QUICK_TRAIN_SECONDS, QUICK_STEPS = 2.0, 3  # the longer of both: start-up and scoring are what is wanted
SEED = 1337  # of the run whose val_bpb is reported, as a study's first


@dataclass(frozen=True)
class Timed:
    """What the stopwatch found."""

    started: Started
    tokens_per_step: int
    cold_start_seconds: float | None
    seconds: dict[str, list[float]]  # of each piece, round by round

    @property
    def step_seconds(self) -> float:
        return statistics.median(self.seconds["step"])

    @property
    def limits(self) -> Limits:
        return limits_of({name: statistics.median(times) for name, times in self.seconds.items()})


def measure(
    choice: Choice, profile: Profile, prepared: Prepared, quick: bool, say: Callable[[str], None] = lambda line: None
) -> tuple[Row, Limits]:
    """(the row, this machine's limits) of one profile. say: told what is being done. Raises RunFailed, EnvironmentFailure."""
    train_py = constants.write(choice.backend.train_py.read_text(encoding="utf-8"), profile.train)
    timed, untimed = None, None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            timed = _time(choice, profile, train_py, quick, folder, say)
        except RunFailed as failure:
            if failure.kind != UNTIMED:
                raise
            untimed = failure.reason
            say(f"{untimed}: only a whole run is measured")
        train_seconds = profile.budget.train_seconds
        if quick:
            train_seconds = min(train_seconds, max(QUICK_TRAIN_SECONDS, QUICK_STEPS * timed.step_seconds if timed else 0))
        say(f"a run with {train_seconds:.3g} s of training")
        result = execute(_setup(choice, profile, prepared, train_seconds), train_py, SEED, folder / "run")
    if not result.ok:
        raise RunFailed(result.status, result.reason or "n/a")
    limits = timed.limits if timed else Limits(None, None)
    return _row(choice, profile, prepared, checksum(profile, train_py), quick, timed, untimed, limits, result), limits


def checksum(profile: Profile, train_py: str) -> str:
    """Of what decides a profile's speed and score: its data, every constant of train_py, its training time, its [runtime]."""
    values = {name: constant.value for name, constant in constants.read(train_py).items()}
    parts = [asdict(profile.sizes), values, float(profile.budget.train_seconds)]
    if profile.runtime:  # left out where there is none, so that cards without it keep their checksums
        parts.append(profile.runtime)
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def spread(values: list[float]) -> float:
    """(upper - lower quartile) / median."""
    lower, middle, upper = statistics.quantiles(values, n=4)
    return (upper - lower) / middle


def _time(choice: Choice, profile: Profile, train_py: str, quick: bool, folder: Path, say: Callable[[str], None]) -> Timed:
    data, limit_seconds = profile.sizes, profile.budget.startup_limit_seconds
    asked = (choice.backend, train_py, data.vocab_size, data.seq_len)
    runtime = choices.settled(profile.runtime, choice.facts.dtype)
    cold_start_seconds = None
    if not quick:
        say("a start from an empty compile cache")
        variables = runtime | {"AUTORESEARCH_COMPILE_CACHE": str(folder / "compile")}
        with Stopwatch(*asked, folder / "cold", limit_seconds, variables=variables) as watch:
            cold_start_seconds = watch.started.process_seconds
    say("steps and this machine's limits")
    with Stopwatch(*asked, folder / "warm", limit_seconds, variables=runtime) as watch:
        names = ["step", "loader", *watch.limit_pieces()]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            for name in names:
                seconds[name].append(watch.seconds(name))
        return Timed(watch.started, watch.tokens_per_step, cold_start_seconds, seconds)


def _setup(choice: Choice, profile: Profile, prepared: Prepared, train_seconds: float) -> Setup:
    data, budget, runtime = profile.sizes, profile.budget, choices.settled(profile.runtime, choice.facts.dtype)
    return Setup(
        choice.backend, tasks.on_text(prepared, data), train_seconds, budget.startup_limit_seconds,
        levels.choose("auto", is_shipped=True), variables=choice.backend.variables | runtime,
    )  # fmt: skip


def _row(
    choice: Choice, profile: Profile, prepared: Prepared, sizes: str, quick: bool, timed: Timed | None, untimed: str | None,
    limits: Limits, result: RunResult,
) -> Row:  # fmt: skip
    """sizes: the checksum."""
    total, training, start, scoring = result.total_seconds, result.training_seconds, result.startup_seconds, result.scoring_seconds
    assert total is not None and training is not None and start is not None and scoring is not None, "the run was ok"
    experiment_seconds = profile.budget.train_seconds + total - training
    flops_per_second = timed.started.flops_per_token * timed.tokens_per_step / timed.step_seconds if timed else None
    peak_flops = choice.facts.peak_flops
    prediction = forecast(choice.backend, choice.facts, profile, limits.known)
    return Row(
        profile=profile.name,
        checksum=sizes,
        corpus=prepared.corpus,
        corpus_checksum=prepared.checksums["corpus"],
        train_seconds=profile.budget.train_seconds,
        untimed=untimed,
        tokens_per_second=timed.tokens_per_step / timed.step_seconds if timed else None,
        run_tokens_per_second=None if quick or not result.total_tokens else result.total_tokens / training,
        step_seconds=timed.step_seconds if timed else None,
        step_spread=spread(timed.seconds["step"]) if timed else None,
        mfu_of_product=flops_per_second / limits.matmul_flops if flops_per_second and limits.matmul_flops else None,
        mfu_of_data_sheet=flops_per_second / peak_flops if flops_per_second and peak_flops else None,
        # Not the stopwatch's: where it is the process's, the matrices of the limits would count.
        peak_memory_bytes=result.peak_memory_bytes,
        cold_start_seconds=timed.cold_start_seconds if timed else None,
        start_seconds=start,
        scoring_seconds=scoring,
        loader_share=statistics.median(timed.seconds["loader"]) / timed.step_seconds if timed else None,
        scoring_share=scoring / experiment_seconds,
        experiments_per_hour=3600 / experiment_seconds,
        val_bpb=None if quick else result.val_bpb,
        predicted=prediction.to_dict() if prediction else None,
        runtime=profile.runtime,
    )
