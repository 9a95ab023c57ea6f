"""The stopwatch's worker: `python -m autoresearch.hardware.autotune.stopwatch_worker`, started and spoken to as
measure/worker.py is.

It runs the same train.py and runtime.py as a training, on stand-in tokens, and answers one question at a time: how long does this
piece take? What a framework needs for it is in speed.py beside train.py: see docs/adding/hardware.md.
"""

import importlib
import importlib.util
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, SupportsFloat

import numpy as np

from autoresearch.hardware.autotune.stopwatch import UNTIMED
from autoresearch.measure import worker
from autoresearch.measure.batches import TrainingTokens
from autoresearch.measure.channel import Channel
from autoresearch.measure.run import Spec

STAND_IN_TOKENS = 1 << 20  # for the loader
Batch = Callable[[int], tuple[np.ndarray, np.ndarray]]  # rows -> (inputs, targets), int32 [rows, seq_len] each
Piece = Callable[[], object]  # does it once
Maker = Callable[..., Piece]  # takes the numbers that a piece's name ends in


class Trainer(Protocol):
    """What is used of a train.py's Trainer."""

    rows: int
    passes: int

    def step(self, get_batch: Batch, progress: float, /) -> SupportsFloat: ...


def serve(channel: Channel, job: dict[str, Any]) -> None:
    """A warm train.py, then its pieces."""
    start = time.perf_counter()
    train = worker.import_train(job)
    if not hasattr(train, "Trainer"):
        channel.send({"type": "failed", "kind": UNTIMED, "reason": "its train.py has no Trainer, whose steps could be timed"})
        return
    import runtime  # the backend's

    imported = time.perf_counter()
    spec = Spec(job["vocab_size"], job["seq_len"])
    trainer = train.Trainer(train.build_model(spec), spec.seq_len)
    batch = stand_in(spec)
    trainer.warm_up(batch)
    warm = time.perf_counter()
    wait = getattr(runtime, "synchronize", lambda: None)
    speed = speed_module()
    parts = speed.parts(train, trainer, batch) if speed else {}
    parts |= {"step": lambda: step(trainer, batch, wait), "loader": lambda: loader(trainer, spec, Path(job["folder"]))}
    about = {
        "rows": trainer.rows,
        "passes": trainer.passes,
        "flops_per_token": trainer.model.flops_per_token(spec.seq_len),
        "import_seconds": imported - start,
        "warm_up_seconds": warm - imported,
    }
    answer(channel, job, Pieces(speed, parts), about, lambda seconds: learn(trainer, job, seconds))


def limits(channel: Channel, job: dict[str, Any]) -> None:
    """The machine's limits alone, without a train.py."""
    answer(channel, job, Pieces(speed_module(), {}), {})


def answer(
    channel: Channel, job: dict[str, Any], pieces: "Pieces", about: dict[str, Any],
    learn: Callable[[float], dict[str, Any]] | None = None,
) -> None:  # fmt: skip
    import runtime  # the backend's

    channel.send({"type": "warm", "offers": [name for name in job["offers"] if pieces.has(name)]} | about)
    while (message := channel.receive()) is not None:
        if message["type"] == "learn":
            assert learn is not None, "only a Stopwatch asks for it, whose job is `serve`"
            channel.send({"type": "learnt"} | learn(message["seconds"]))
        elif message["piece"] == "peak_memory_bytes":
            channel.send({"type": "timed", "value": runtime.peak_memory_bytes()})
        else:
            channel.send({"type": "timed", "seconds": pieces.seconds(message["piece"])})


def learn(trainer: Trainer, job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """{"tokens", "seconds", "bpb"}: a training on the job's text for that long, then its score on the first of the validation text.

    The score is taken by steps at progress 1, where the learning rate is FINAL_LR_FRAC of the full one: of a train.py that ends at
    0 they change nothing, and need no more than what every Trainer has.
    """
    text, seq_len = Path(job["text"]), job["seq_len"]
    tokens = TrainingTokens(text / "train" / "tokens.bin", job["dtype"], seed=0)
    tokens.of(seq_len)
    steps, start, now = 0, time.perf_counter(), 0.0
    while now < seconds:
        float(trainer.step(lambda rows: parted(tokens.rows(rows, seq_len)), now / seconds))
        steps += 1
        now = time.perf_counter() - start
    rows_a_step = trainer.rows * trainer.passes
    rows = held_out(text, job["dtype"], seq_len, job["eval_bytes"], rows_a_step)
    batch, nats = reading(rows), 0.0
    for _ in range(len(rows) // rows_a_step):
        nats += float(trainer.step(batch, 1.0)) * rows_a_step * seq_len
    size = np.load(text / "token_bytes.npy")[rows[:, 1:]].sum()
    return {"tokens": steps * rows_a_step * seq_len, "seconds": now, "bpb": nats / math.log(2) / float(size)}


def reading(rows: np.ndarray) -> Batch:
    """batch(count) -> (inputs, targets) of the next of these rows."""
    position = 0

    def batch(count: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal position
        position += count
        return parted(rows[position - count : position])

    return batch


def parted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets) of rows [count, T + 1], int32 [count, T] each."""
    return np.ascontiguousarray(rows[:, :-1], np.int32), np.ascontiguousarray(rows[:, 1:], np.int32)


def held_out(text: Path, dtype: str, seq_len: int, eval_bytes: int, rows_a_step: int) -> np.ndarray:
    """[rows, seq_len + 1] of the beginning of the validation text, whole steps of them: about eval_bytes, one step at least."""
    tokens = np.memmap(text / "val" / "tokens.bin", dtype, "r")
    sizes = np.load(text / "token_bytes.npy")[tokens]
    wanted = int(np.searchsorted(np.cumsum(sizes), eval_bytes))
    step = rows_a_step * seq_len
    count = max(1, round(wanted / step)) * rows_a_step
    index = np.arange(count)[:, None] * seq_len + np.arange(seq_len + 1)
    return np.asarray(tokens[index % len(tokens)])


def speed_module() -> ModuleType | None:
    """The speed.py beside train.py, which is on sys.path; None where there is none."""
    return importlib.import_module("speed") if importlib.util.find_spec("speed") else None


def stand_in(spec: Spec) -> Batch:
    """batch(rows) -> random (inputs, targets)."""
    rng = np.random.default_rng(0)

    def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = rng.integers(spec.vocab_size, size=(rows, spec.seq_len + 1), dtype=np.int32)
        return parted(tokens)

    return batch


def step(trainer: Trainer, batch: Batch, wait: Callable[[], None]) -> Piece:
    def run() -> None:
        float(trainer.step(batch, 0.5))  # the loss as a number: the device has come that far
        wait()

    return run


def loader(trainer: Trainer, spec: Spec, folder: Path) -> Piece:
    path = folder / "stand-in.bin"
    np.zeros(STAND_IN_TOKENS, np.uint16).tofile(path)
    tokens = TrainingTokens(path, "uint16", seed=0)

    def run() -> None:
        for _ in range(trainer.passes):
            tokens.rows(trainer.rows, spec.seq_len)

    return run


class Pieces:
    """The pieces by name, each made when it is first asked for. parts: makers of those that need a train.py."""

    def __init__(self, speed: ModuleType | None, parts: dict[str, Maker]):
        self._speed, self._parts = speed, parts
        self._made: dict[str, Piece] = {}

    def has(self, name: str) -> bool:
        return name in self._parts or hasattr(self._speed, name)

    def seconds(self, piece: str) -> float:
        if piece not in self._made:
            name, _, size = piece.partition(" ")
            make = self._parts.get(name) or getattr(self._speed, name)
            self._made[piece] = make(*map(int, size.split("x") if size else ()))
            for _ in range(2):  # compiles, and takes the memory that the next ones use again
                self._made[piece]()
        start = time.perf_counter()
        self._made[piece]()
        return time.perf_counter() - start


if __name__ == "__main__":
    worker.main({"serve": serve, "limits": limits})
