"""One run: train in a child process, score in a fresh one, and bring back numbers. The parent's clock is the one that counts.

A run has two halves. `warm_up` starts the process, which compiles and makes two real steps on stand-in tokens: what can't run
fails there and costs no training time. `execute` goes on with that process, or warms one up itself.

Promises: no process of the run is left when this returns or raises; nothing but the run's folder is written; the training
process is given training rows one batch at a time, once its clock runs, and never told where any text lies. Each process runs in a
cell (cells.py) of the level that the setup asks for.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch import durable
from autoresearch.border import files, messages
from autoresearch.child import RunFailed, Worker
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.summary import RunResult
from autoresearch.run import bounds, cells, constraints, disk, quantities
from autoresearch.run.cells import WORK
from autoresearch.run.futility import FUTILE, Futility
from autoresearch.run.scoring import BITS, digest, evaluate, seal
from autoresearch.run.setup import OnProgress, Progress, Reference, Setup, job_for
from autoresearch.sandbox import workdir

STILL_SECONDS = 2.0  # chosen: from the word that its weights are saved until it is held; 5 to 80 ms are usual
# Past the budget, for a last step that took longer than those before: a share of it, in bounds. Then the process tree is stopped.
GRACE_SHARE, GRACE_LEAST_SECONDS, GRACE_MOST_SECONDS = 0.01, 0.5, 2.0
EXIT_SECONDS = 20.0  # after the checkpoint, for an orderly end
SPEED_KNOWN = 0.1  # chosen: after this share of the budget a training that is too slow ends


class Monitor:
    """Who looks on while a run trains, and may raise what makes it not count; this one does nothing. See watch.py."""

    def start(self) -> None:
        """The training's clock starts."""

    def tick(self) -> None:
        """A few times a second."""

    def check(self) -> None:
        """The training is over and its processes are gone; what is raised here keeps it from being scored."""

    def failed(self, kind: str) -> None:
        """The run failed, with the ledger's state for it."""


@dataclass(frozen=True)
class Warm:
    """A training process that has said READY and waits for the training tokens. Leaving its `with` ends it."""

    worker: Worker
    feed: "Feeder"
    folder: Path
    seed: int
    started: float  # awake_seconds
    startup_seconds: float
    described: dict[str, Any]  # what train.py says of itself; it may say more later

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.__exit__()

    @contextlib.contextmanager
    def ended_on_error(self) -> Iterator[None]:
        """For what is done before `execute` takes over: the process is not left behind when that fails."""
        try:
            yield
        except BaseException:
            self.__exit__()
            raise


class Feeder:
    """Hands out training rows to one worker, in the thread that reads its messages."""

    def __init__(self, setup: Setup, seed: int):
        self._feed = setup.task.feed(seed)
        self._feed.prepare()

    @property
    def tokens(self) -> int:
        """That it was given and did not ask for in vain."""
        return self._feed.tokens

    def serve(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes] | None:
        """For Worker. A batch of more than MOST_TOKENS, or longer than the text, is the train.py's fault."""
        if message["type"] != "batch":
            return None
        if message["rows"] * (message["seq_len"] + 1) > messages.MOST_TOKENS:
            raise RunFailed("crash", f"asked for a batch of more than {messages.MOST_TOKENS:,} tokens")
        try:
            return self._feed.answer(message)
        except ValueError as error:
            raise RunFailed("crash", str(error)) from error


def warm_up(setup: Setup, train_py: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None) -> Warm:
    """The first half of a run of the text train_py in folder, which then holds train.py and log.txt.

    Raises RunFailed for what the text does wrong (kind `limit`: it breaks a constraint that is known by now), EnvironmentFailure
    for what the machine does; the process is gone then.
    """
    started = awake_seconds()
    limit_seconds = setup.startup_limit_seconds
    described: dict[str, Any] = {}

    def tick(_message: dict[str, Any] | None) -> None:
        on_progress(Progress("startup", awake_seconds() - started))  # it has a limit, and no length that is known

    with disk.errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        durable.remove(folder / "checkpoint")
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        cell = cells.training(setup, folder, train_py, _bounds(setup).checkpoint_bytes)
        job = job_for(setup, folder) | {"type": "train", "seed": seed, "budget_seconds": setup.train_seconds}
        job["checkpoint"] = str(Path(cell.work, "checkpoint"))
        feed = Feeder(setup, seed)
        protocol = messages.training(setup.train_seconds)
        worker = Worker(job, folder, protocol, variables=setup.variables, cell=cell, serve=feed.serve)
    try:
        late = f"did not ask for training data within {limit_seconds:.0f} s of its start; use run.steps()"
        worker.wait("ready", limit_seconds, late, lambda message: _describe(described, message), tick)
        startup_seconds = awake_seconds() - started
        workdir.harvest(folder / WORK, train_py)
        said = RunResult("ok", seed, startup_seconds=startup_seconds, **_said(described, "num_params", "peak_memory_bytes"))
        _refuse(setup.constraints.objection(quantities.of(said)))
        return Warm(worker, feed, folder, seed, started, startup_seconds, described)
    except BaseException:
        worker.__exit__()
        raise


def execute(
    setup: Setup,
    train_py: str,
    seed: int,
    folder: Path,
    on_progress: OnProgress = lambda progress: None,
    warm: Warm | None = None,
    monitor: Monitor | None = None,
    futility: Futility | None = None,
    reference: Reference | None = None,
) -> RunResult:
    """Train and score the text train_py in folder, which then holds train.py, log.txt, curve.jsonl, checkpoint and documents.npy.

    warm: what `warm_up` of the same text, seed and folder gave; it is used up. futility: ends a hopeless training early. reference:
    of a paired task, which this is none. What goes wrong in agent code is in the result's status and reason. Raises
    EnvironmentFailure (no disk, no process), KeyboardInterrupt, and what watch raises, all after the processes are gone.
    """
    monitor = monitor or Monitor()
    start = warm.started if warm else awake_seconds()
    facts: dict[str, Any] = {}
    with disk.errors(folder):
        try:
            with warm or warm_up(setup, train_py, seed, folder, on_progress) as ready:
                facts["startup_seconds"] = ready.startup_seconds
                _train(setup, ready, on_progress, facts, monitor, futility)
            monitor.check()
            scoring_start = awake_seconds()
            seal(folder, train_py, facts["checkpoint"])
            result = evaluate(setup, folder, on_progress)
            assert result.costs is not None, "`evaluate` tells them"
            seal(folder, train_py, facts["checkpoint"])
            np.save(folder / "documents.npy", np.stack([result.sums, result.weights]))
            np.save(folder / BITS, result.losses)
            facts |= {"val_bpb": result.value, "bits": digest(folder / BITS), "costs": asdict(result.costs)}
            facts["measured"] |= result.measured
            facts["scoring_seconds"] = awake_seconds() - scoring_start
            status, reason = "ok", None
        except RunFailed as failure:
            monitor.failed(failure.kind)
            status, reason = failure.kind, failure.reason
    return RunResult(status=status, reason=reason, seed=seed, total_seconds=awake_seconds() - start, **facts)


def _train(
    setup: Setup, warm: Warm, on_progress: OnProgress, facts: dict[str, Any], monitor: Monitor, futility: Futility | None
) -> None:
    """From READY to the checkpoint; fill facts as they become known. Raises RunFailed."""
    folder, worker, feed, described = warm.folder, warm.worker, warm.feed, warm.described
    with open(folder / "curve.jsonl", "w", buffering=1, encoding="utf-8") as curve:  # whole lines, for who looks on

        def handle(message: dict[str, Any]) -> None:
            _describe(described, message)
            if message["type"] == "step":
                elapsed = awake_seconds() - start
                curve.write(json.dumps({"seconds": round(elapsed, 3)} | message | {"tokens": feed.tokens}) + "\n")

        def tick(message: dict[str, Any] | None) -> None:
            monitor.tick()
            elapsed = awake_seconds() - start
            speed = loss = None
            if message and message["type"] == "step":
                speed, loss = feed.tokens / elapsed, float(message["loss"])
                if futility and (hopeless := futility.objection(elapsed / setup.train_seconds, loss)):
                    raise RunFailed(FUTILE, hopeless)
                if elapsed >= SPEED_KNOWN * setup.train_seconds:
                    _refuse(setup.constraints.objection({"tokens_per_second": speed}))
            on_progress(Progress("training", elapsed, min(1.0, elapsed / setup.train_seconds), loss, speed))

        monitor.start()
        start = awake_seconds()
        worker.limit_lookups(bounds.LOOKUPS)
        worker.send({"type": "go"}, then="going")
        grace = grace_seconds(setup.train_seconds)
        late = f"no checkpoint {grace:.2f} s after its {setup.train_seconds:g} s of training"
        saved = worker.wait("saved", setup.train_seconds + grace, late, handle, tick)
        saved_at = awake_seconds()
        facts |= {"num_steps": saved["steps"], "total_tokens": feed.tokens}
        checkpoint = folder / "checkpoint"
        with worker.held():  # it may have the file open still: what counts is what it stands still with
            facts["training_seconds"] = awake_seconds() - start
            if awake_seconds() - saved_at > STILL_SECONDS:
                raise RunFailed("timeout", f"it did not stand still within {STILL_SECONDS:g} s of its checkpoint")
            if not files.take(folder / WORK, "checkpoint", checkpoint, _bounds(setup).checkpoint_bytes):
                raise RunFailed("crash", "said that it saved a checkpoint, but there is none")
            facts |= {"checkpoint": digest(checkpoint), "checkpoint_bytes": checkpoint.stat().st_size}
            facts["measured"] = {"params": float(files.parameters(checkpoint))}
        worker.drain(EXIT_SECONDS, handle)
    facts |= _said(described, "depth", "num_params", "peak_memory_bytes")
    speed = facts["total_tokens"] / facts["training_seconds"]
    flops_per_token = messages.count(described.get("flops_per_token"))
    if flops_per_token and setup.peak_flops and speed:
        facts["mfu_percent"] = 100 * flops_per_token * speed / setup.peak_flops
    known = quantities.of(RunResult("ok", warm.seed, **facts))
    _refuse(setup.constraints.objection_before_scoring(known, setup.backend.peak_memory))


def grace_seconds(train_seconds: float) -> float:
    return min(max(GRACE_LEAST_SECONDS, GRACE_SHARE * train_seconds), GRACE_MOST_SECONDS)


def _bounds(setup: Setup) -> bounds.Bounds:
    return setup.bounds or bounds.Bounds(setup.train_seconds)


def _refuse(objection: str | None) -> None:
    if objection:
        raise RunFailed(constraints.BROKEN, objection)


def _said(described: dict[str, Any], *names: str) -> dict[str, Any]:
    """Of what train.py says of itself; None where it is no number."""
    return {name: messages.count(described.get(name)) for name in names}


def _describe(described: dict[str, Any], message: dict[str, Any]) -> None:
    if message["type"] == "facts":
        described.update(message["facts"])
