"""One run: train in a child process, score in a fresh one, and bring back numbers. The parent's clock is the one that counts.

Promises: no process of the run is left when this returns or raises; nothing but the run's folder is written; the training
process is told the training tokens only when it says READY, and never where the validation text lies.
Not yet covered: a sandbox around the two processes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoresearch.child import RunFailed, Worker
from autoresearch.data.prepare import Prepared
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.registry import Backend
from autoresearch.loop import disk
from autoresearch.measure.bpb import InvalidLogits, ValidationText
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.scorer import Score, rows_per_slot, score, slots
from autoresearch.measure.summary import RunResult

GRACE_SECONDS = 2.0  # past the budget, for the last step and the checkpoint; then the process tree is stopped
EXIT_SECONDS = 20.0  # after the checkpoint, for an orderly end


@dataclass(frozen=True)
class Setup:
    """What stays the same over all runs of a study."""

    backend: Backend
    prepared: Prepared
    seq_len: int
    eval_bytes: int
    train_seconds: float
    startup_limit_seconds: float
    peak_flops: float | None = None  # the device's data-sheet peak at the training dtype, FLOP/s
    variables: dict[str, str] = field(default_factory=dict)  # of every worker's environment: the profile's [runtime]


@dataclass(frozen=True)
class Progress:
    phase: str  # startup, training, scoring
    elapsed_seconds: float  # in this phase
    fraction: float | None = None  # of this phase, in [0, 1]
    loss: float | None = None  # nats
    tokens_per_second: float | None = None


OnProgress = Callable[[Progress], None]


def execute(setup: Setup, train_py: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None) -> RunResult:
    """Train and score the text train_py in folder, which then holds train.py, log.txt, curve.jsonl, checkpoint and documents.npy.

    What goes wrong in agent code is in the result's status and reason. Raises EnvironmentFailure (no disk, no process) and
    KeyboardInterrupt, both after the processes are gone.
    """
    start = awake_seconds()
    facts: dict = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        _train(setup, seed, folder, on_progress, facts)
        scoring_start = awake_seconds()
        result = evaluate(setup, folder, on_progress)
        np.save(folder / "documents.npy", np.stack([result.document_bits, result.document_bytes]))
        facts |= {"val_bpb": result.val_bpb, "scoring_seconds": awake_seconds() - scoring_start}
        status, reason = "ok", None
    except RunFailed as failure:
        status, reason = failure.kind, failure.reason
    except OSError as error:
        if disk.is_full(error):
            raise EnvironmentFailure(f"the disk is full at {folder}; free some space and run again") from error
        raise EnvironmentFailure(f"{error}; mend that and run again") from error
    return RunResult(status=status, reason=reason, seed=seed, total_seconds=awake_seconds() - start, **facts)


def _train(setup: Setup, seed: int, folder: Path, on_progress: OnProgress, facts: dict) -> None:
    """Run the train worker to its checkpoint; fill facts as they become known."""
    checkpoint = folder / "checkpoint"
    checkpoint.unlink(missing_ok=True)
    job = job_for(setup, folder) | {"type": "train", "seed": seed, "budget_seconds": setup.train_seconds}
    described: dict = {}
    start = awake_seconds()
    with Worker(job, folder, variables=setup.variables) as worker, open(folder / "curve.jsonl", "w", encoding="utf-8") as curve:

        def handle(message: dict) -> None:
            if message["type"] == "facts":
                described.update(message["facts"])
            elif message["type"] == "step":
                facts["total_tokens"] = int(message["tokens"])
                elapsed = awake_seconds() - start
                curve.write(json.dumps({"seconds": round(elapsed, 3)} | message) + "\n")

        def report(phase: str, limit_seconds: float) -> Callable[[dict | None], None]:
            def tick(message: dict | None) -> None:
                elapsed = awake_seconds() - start
                speed = loss = None
                if message and message["type"] == "step":
                    speed, loss = facts["total_tokens"] / elapsed, float(message["loss"])
                on_progress(Progress(phase, elapsed, min(1.0, elapsed / limit_seconds), loss, speed))

            return tick

        late = f"did not ask for training data within {setup.startup_limit_seconds:.0f} s of its start; use run.steps()"
        worker.wait("ready", setup.startup_limit_seconds, late, handle, report("startup", setup.startup_limit_seconds))
        facts["startup_seconds"] = awake_seconds() - start
        start = awake_seconds()
        worker.send({"type": "go", "tokens": str(setup.prepared.train_folder / "tokens.bin"), "dtype": setup.prepared.dtype})
        late = f"no checkpoint {GRACE_SECONDS:.0f} s after its {setup.train_seconds:.0f} s of training"
        limit = setup.train_seconds + GRACE_SECONDS
        saved = worker.wait("saved", limit, late, handle, report("training", setup.train_seconds))
        facts["training_seconds"] = awake_seconds() - start
        facts["num_steps"] = int(saved["steps"])
        if not checkpoint.is_file():
            raise RunFailed("crash", "said that it saved a checkpoint, but there is none")
        worker.drain(EXIT_SECONDS, handle)
    facts |= {name: _count(described.get(name)) for name in ("depth", "num_params", "peak_memory_bytes")}
    flops_per_token = _count(described.get("flops_per_token"))
    if flops_per_token and setup.peak_flops and facts.get("total_tokens"):
        rate = flops_per_token * facts["total_tokens"] / facts["training_seconds"]
        facts["mfu_percent"] = 100 * rate / setup.peak_flops


def _count(value) -> int | None:
    """A number that agent code reported, or None when it is not one."""
    is_number = isinstance(value, (int, float)) and 0 <= value < 2**63  # neither NaN nor beyond what a float can divide
    return int(value) if is_number else None


def evaluate(setup: Setup, folder: Path, on_progress: OnProgress = lambda progress: None, rows: int | None = None) -> Score:
    """Score the checkpoint in folder with the train.py beside it. rows: in a batch of the worker; it changes no score.

    Raises RunFailed, and OSError for what the disk does.
    """
    prepared = setup.prepared
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    text = ValidationText.load(prepared.val_folder, token_bytes, prepared.dtype, setup.eval_bytes)
    rows = rows or rows_per_slot(setup.seq_len, prepared.vocab_size)
    limit_seconds = setup.startup_limit_seconds + max(120.0, 2 * setup.train_seconds)
    start = awake_seconds()

    def tick(fraction: float) -> None:
        on_progress(Progress("scoring", awake_seconds() - start, fraction))

    with slots(folder, rows, setup.seq_len, prepared.vocab_size) as (paths, views):
        job = job_for(setup, folder) | {"type": "score", "rows": rows, "slots": [str(path) for path in paths]}
        with Worker(job, folder, variables=setup.variables) as worker:
            late = f"scoring took more than {limit_seconds:.0f} s"
            worker.wait("ready", limit_seconds, late)

            def send(slot: int, ids: np.ndarray) -> None:
                worker.send({"type": "rows", "slot": slot, "count": len(ids)}, ids.tobytes())

            def receive() -> int:
                left_seconds = start + limit_seconds - awake_seconds()
                return int(worker.wait("scored", left_seconds, late)["slot"])

            try:
                return score(text, setup.seq_len, views, send, receive, tick)
            except InvalidLogits as error:
                raise RunFailed("invalid", str(error)) from error


def job_for(setup: Setup, folder: Path) -> dict:
    """What every worker of a run is told; neither text is in it."""
    return {
        "python_path": [str(path) for path in setup.backend.python_path],
        "train_py": str(folder / "train.py"),
        "checkpoint": str(folder / "checkpoint"),
        "vocab_size": setup.prepared.vocab_size,
        "seq_len": setup.seq_len,
    }
