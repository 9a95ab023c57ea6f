"""The run card: what was measured of this machine and of each profile on it, as one JSON-able dict.

Limits (matrix product, memory copy) and steps are timed in turn in one run, so that their ratio holds on a noisy machine.
Start-up, scoring and val_bpb come from a whole run of the harness: the same code as an experiment, with the profile's budget, or
with a moment of training (`quick`), whose val_bpb means nothing and is left out.
"""

import hashlib
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from autoresearch import __version__, constants
from autoresearch.child import RunFailed
from autoresearch.data.prepare import Prepared
from autoresearch.errors import UsageError
from autoresearch.hardware.detect import Choice
from autoresearch.hardware.profiles import Profile
from autoresearch.hardware.stopwatch import Limits, Stopwatch, limits_of
from autoresearch.loop.experiment import Setup, execute

FORMAT = 1
KIND = "autoresearch run card"
ROUNDS, QUICK_ROUNDS = 15, 5
QUICK_TRAIN_SECONDS = 2.0  # a few steps at least: start-up and scoring are what is wanted
SEED = 1337  # of the run whose val_bpb is reported, as a study's first


@dataclass(frozen=True)
class Row:
    """One profile on this machine. None is what was not measured, or is not known."""

    profile: str
    checksum: str  # of the profile's data and train tables
    corpus: str
    train_seconds: float  # of an experiment
    tokens_per_second: float
    step_seconds: float
    step_spread: float  # (upper - lower quartile) / median of the steps: how noisy the machine was
    mfu_of_product: float | None  # model FLOPs against the best matrix product of this run
    mfu_of_data_sheet: float | None
    peak_memory_bytes: int | None
    cold_start_seconds: float | None  # from an empty compile cache
    start_seconds: float  # from a filled one
    scoring_seconds: float
    loader_share: float  # of a step
    scoring_share: float  # of a whole experiment
    experiments_per_hour: float
    val_bpb: float | None


def measure(
    choice: Choice, profile: Profile, prepared: Prepared, quick: bool, say: Callable[[str], None] = lambda line: None
) -> tuple[Row, Limits]:
    """(the row, this machine's limits) of one profile. say: told what is being done. Raises RunFailed."""
    backend, data = choice.backend, profile.data
    train_py = constants.write(backend.train_py.read_text(encoding="utf-8"), profile.train)
    asked = (backend, train_py, data["vocab_size"], data["seq_len"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        cold_start_seconds = None
        if not quick:
            say("a start from an empty compile cache")
            variables = {"AUTORESEARCH_COMPILE_CACHE": str(folder / "compile")}
            with Stopwatch(*asked, folder / "cold", variables=variables) as watch:
                cold_start_seconds = watch.started.process_seconds
        say("steps and this machine's limits")
        with Stopwatch(*asked, folder / "warm") as watch:
            seconds, limits = _timed(watch, QUICK_ROUNDS if quick else ROUNDS)
            peak_memory_bytes = watch.peak_memory_bytes()
        train_seconds = QUICK_TRAIN_SECONDS if quick else profile.budget["train_seconds"]
        say(f"a run with {train_seconds:g} s of training")
        setup = Setup(
            backend, prepared, data["seq_len"], data["eval_bytes"], train_seconds, profile.budget["startup_limit_seconds"]
        )
        result = execute(setup, train_py, SEED, folder / "run")
    if not result.ok:
        raise RunFailed(result.status, result.reason or "n/a")
    step_seconds = statistics.median(seconds["step"])
    flops_per_second = watch.started.flops_per_token * watch.tokens_per_step / step_seconds
    experiment_seconds = profile.budget["train_seconds"] + result.total_seconds - result.training_seconds
    best, peak = limits.matmul_flops, choice.facts.peak_flops
    row = Row(
        profile=profile.name,
        checksum=checksum(profile),
        corpus=prepared.corpus,
        train_seconds=profile.budget["train_seconds"],
        tokens_per_second=watch.tokens_per_step / step_seconds,
        step_seconds=step_seconds,
        step_spread=spread(seconds["step"]),
        mfu_of_product=flops_per_second / best if best else None,
        mfu_of_data_sheet=flops_per_second / peak if peak else None,
        peak_memory_bytes=peak_memory_bytes,
        cold_start_seconds=cold_start_seconds,
        start_seconds=result.startup_seconds,
        scoring_seconds=result.scoring_seconds,
        loader_share=statistics.median(seconds["loader"]) / step_seconds,
        scoring_share=result.scoring_seconds / experiment_seconds,
        experiments_per_hour=3600 / experiment_seconds,
        val_bpb=None if quick else result.val_bpb,
    )
    return row, limits


def card(choice: Choice, rows: list[Row], limits: list[Limits], conditions: dict | None, quick: bool) -> dict:
    """Everything, for `--json` and `bench compare`. limits: of each row; the best of them are the machine's."""
    products = [one.matmul_flops for one in limits if one.matmul_flops]
    copies = [one.bandwidth for one in limits if one.bandwidth]
    facts = choice.facts
    return {
        "kind": KIND, "format": FORMAT, "autoresearch": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick, "device": facts.device, "backend": choice.backend.name, "facts": facts.to_dict(), "conditions": conditions,
        "limits": {
            "product_flops": max(products, default=None), "copy_bytes_per_second": max(copies, default=None),
            "data_sheet_flops": facts.peak_flops, "data_sheet_source": facts.peak_source,
        },
        "profiles": [asdict(row) for row in rows],
    }  # fmt: skip


def read(path: Path) -> dict:
    """A card from its file. Raises UsageError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise UsageError(f"{path} can't be read: {reason}; `autoresearch bench --json > {path.name}` makes a run card") from error
    if not isinstance(table, dict) or table.get("kind") != KIND:
        raise UsageError(f"{path} is no run card; `autoresearch bench --json > FILE.json` makes one")
    if table["format"] != FORMAT:
        raise UsageError(f"{path} is a run card of format {table['format']}, and this version reads {FORMAT}; make it again")
    return table


def checksum(profile: Profile) -> str:
    """Of what decides a profile's speed and score: its data, its constants and its training time."""
    parts = [profile.data, profile.train, profile.budget["train_seconds"]]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def spread(values: list[float]) -> float:
    """(upper - lower quartile) / median."""
    lower, middle, upper = statistics.quantiles(values, n=4)
    return (upper - lower) / middle


def _timed(watch: Stopwatch, rounds: int) -> tuple[dict[str, list[float]], Limits]:
    """(seconds of each piece, the machine's limits), all pieces in turn."""
    names = ["step", "loader", *watch.limit_pieces()]
    seconds = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seconds[name].append(watch.seconds(name))
    return seconds, limits_of({name: statistics.median(times) for name, times in seconds.items()})
