"""One run: train in a child process, score in a fresh one, and bring back numbers. The parent's clock is the one that counts.

A run has two halves. `warm_up` starts the process, which compiles and makes two real steps on stand-in tokens: what can't run
fails there and costs no training time. `execute` goes on with that process, or warms one up itself.

Promises: no process of the run is left when this returns or raises; nothing but the run's folder is written; the training
process is told the training tokens only when it says READY, and never where the validation text lies.
Not yet covered: a sandbox around the two processes.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoresearch.child import RunFailed, Worker
from autoresearch.data.prepare import Prepared
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.registry import Backend
from autoresearch.loop import constraints, disk
from autoresearch.loop.constraints import Constraints
from autoresearch.measure.bpb import InvalidLogits, ValidationText
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.scorer import Score, rows_per_slot, score, slots
from autoresearch.measure.summary import RunResult

GRACE_SECONDS = 2.0  # past the budget, for the last step and the checkpoint; then the process tree is stopped
EXIT_SECONDS = 20.0  # after the checkpoint, for an orderly end
SPEED_KNOWN = 0.1  # chosen: after this share of the budget a training that is too slow ends


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
    constraints: Constraints = field(default_factory=Constraints)
    variables: dict[str, str] = field(default_factory=dict)  # of every worker's environment: the profile's [runtime]


@dataclass(frozen=True)
class Progress:
    phase: str  # startup, training, scoring
    elapsed_seconds: float  # in this phase
    fraction: float | None = None  # of this phase, in [0, 1]
    loss: float | None = None  # nats
    tokens_per_second: float | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Warm:
    """A training process that has said READY and waits for the training tokens. Leaving its `with` ends it."""

    worker: Worker
    folder: Path
    seed: int
    started: float  # awake_seconds
    startup_seconds: float
    described: dict  # what train.py says of itself; it may say more later

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_) -> None:
        self.worker.__exit__()

    @contextlib.contextmanager
    def ended_on_error(self) -> Iterator[None]:
        """For what is done before `execute` takes over: the process is not left behind when that fails."""
        try:
            yield
        except BaseException:
            self.__exit__()
            raise


def warm_up(setup: Setup, train_py: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None) -> Warm:
    """The first half of a run of the text train_py in folder, which then holds train.py and log.txt.

    Raises RunFailed for what the text does wrong (kind `limit`: it breaks a constraint that is known by now), EnvironmentFailure
    for what the machine does; the process is gone then.
    """
    started = awake_seconds()
    limit_seconds = setup.startup_limit_seconds
    described: dict = {}

    def tick(_message: dict | None) -> None:
        elapsed = awake_seconds() - started
        on_progress(Progress("startup", elapsed, min(1.0, elapsed / limit_seconds)))

    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").unlink(missing_ok=True)
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        job = job_for(setup, folder) | {"type": "train", "seed": seed, "budget_seconds": setup.train_seconds}
        worker = Worker(job, folder, variables=setup.variables)
    try:
        late = f"did not ask for training data within {limit_seconds:.0f} s of its start; use run.steps()"
        worker.wait("ready", limit_seconds, late, lambda message: _describe(described, message), tick)
        known = {name: _count(described.get(name)) for name in ("num_params", "peak_memory_bytes")}
        _refuse(setup.constraints.objection(**known))
        return Warm(worker, folder, seed, started, awake_seconds() - started, described)
    except BaseException:
        worker.__exit__()
        raise


def execute(
    setup: Setup, train_py: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None, warm: Warm | None = None
) -> RunResult:
    """Train and score the text train_py in folder, which then holds train.py, log.txt, curve.jsonl, checkpoint and documents.npy.

    warm: what `warm_up` of the same text, seed and folder gave; it is used up. What goes wrong in agent code is in the result's
    status and reason. Raises EnvironmentFailure (no disk, no process) and KeyboardInterrupt, both after the processes are gone.
    """
    start = warm.started if warm else awake_seconds()
    facts: dict = {}
    with _disk_errors(folder):
        try:
            with warm or warm_up(setup, train_py, seed, folder, on_progress) as ready:
                facts["startup_seconds"] = ready.startup_seconds
                _train(setup, ready, on_progress, facts)
            scoring_start = awake_seconds()
            result = evaluate(setup, folder, on_progress)
            np.save(folder / "documents.npy", np.stack([result.document_bits, result.document_bytes]))
            facts |= {"val_bpb": result.val_bpb, "scoring_seconds": awake_seconds() - scoring_start}
            status, reason = "ok", None
        except RunFailed as failure:
            status, reason = failure.kind, failure.reason
    return RunResult(status=status, reason=reason, seed=seed, total_seconds=awake_seconds() - start, **facts)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """What the disk and the system refuse is the machine's failure, not the experiment's."""
    try:
        yield
    except OSError as error:
        if disk.is_full(error):
            raise EnvironmentFailure(f"the disk is full at {folder}; free some space and run again") from error
        raise EnvironmentFailure(f"{error}; mend that and run again") from error


def _train(setup: Setup, warm: Warm, on_progress: OnProgress, facts: dict) -> None:
    """From READY to the checkpoint; fill facts as they become known. Raises RunFailed."""
    folder, worker, described = warm.folder, warm.worker, warm.described
    start = awake_seconds()
    with open(folder / "curve.jsonl", "w", encoding="utf-8") as curve:

        def handle(message: dict) -> None:
            _describe(described, message)
            if message["type"] == "step":
                facts["total_tokens"] = int(message["tokens"])
                elapsed = awake_seconds() - start
                curve.write(json.dumps({"seconds": round(elapsed, 3)} | message) + "\n")

        def tick(message: dict | None) -> None:
            elapsed = awake_seconds() - start
            speed = loss = None
            if message and message["type"] == "step":
                speed, loss = facts["total_tokens"] / elapsed, float(message["loss"])
                if elapsed >= SPEED_KNOWN * setup.train_seconds:
                    _refuse(setup.constraints.objection(tokens_per_second=speed))
            on_progress(Progress("training", elapsed, min(1.0, elapsed / setup.train_seconds), loss, speed))

        worker.send({"type": "go", "tokens": str(setup.prepared.train_folder / "tokens.bin"), "dtype": setup.prepared.dtype})
        late = f"no checkpoint {GRACE_SECONDS:.0f} s after its {setup.train_seconds:.0f} s of training"
        saved = worker.wait("saved", setup.train_seconds + GRACE_SECONDS, late, handle, tick)
        facts["training_seconds"] = awake_seconds() - start
        facts["num_steps"] = int(saved["steps"])
        checkpoint = folder / "checkpoint"
        if not checkpoint.is_file():
            raise RunFailed("crash", "said that it saved a checkpoint, but there is none")
        worker.drain(EXIT_SECONDS, handle)
    facts |= {name: _count(described.get(name)) for name in ("depth", "num_params", "peak_memory_bytes")}
    speed = facts["total_tokens"] / facts["training_seconds"] if facts.get("total_tokens") else None
    flops_per_token = _count(described.get("flops_per_token"))
    if flops_per_token and setup.peak_flops and speed:
        facts["mfu_percent"] = 100 * flops_per_token * speed / setup.peak_flops
    _refuse(setup.constraints.objection(constraints.stored_parameters(checkpoint), facts["peak_memory_bytes"], speed))


def _refuse(objection: str | None) -> None:
    if objection:
        raise RunFailed(constraints.BROKEN, objection)


def _describe(described: dict, message: dict) -> None:
    if message["type"] == "facts":
        described.update(message["facts"])


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
