"""The stopwatch's worker: `python -m autoresearch.hardware.stopwatch_worker`, started and spoken to as measure/worker.py is.

It runs the same train.py and runtime.py as a training, on stand-in tokens, and answers one question at a time: how long does this
piece take? What a framework needs for it is in speed.py beside train.py: see CONTRIBUTING.md.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from autoresearch.hardware.stopwatch import UNTIMED
from autoresearch.measure import worker
from autoresearch.measure.batches import TrainingTokens
from autoresearch.measure.channel import Channel
from autoresearch.measure.run import Spec

STAND_IN_TOKENS = 1 << 20  # for the loader


def serve(channel: Channel, job: dict) -> None:
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
    answer(channel, job, Pieces(speed, parts), about)


def limits(channel: Channel, job: dict) -> None:
    """The machine's limits alone, without a train.py."""
    answer(channel, job, Pieces(speed_module(), {}), {})


def answer(channel: Channel, job: dict, pieces: "Pieces", about: dict) -> None:
    import runtime  # the backend's

    channel.send({"type": "warm", "offers": [name for name in job["offers"] if pieces.has(name)]} | about)
    while (message := channel.receive()) is not None:
        if message["piece"] == "peak_memory_bytes":
            channel.send({"type": "timed", "value": runtime.peak_memory_bytes()})
        else:
            channel.send({"type": "timed", "seconds": pieces.seconds(message["piece"])})


def speed_module() -> ModuleType | None:
    """The speed.py beside train.py, which is on sys.path; None where there is none."""
    return importlib.import_module("speed") if importlib.util.find_spec("speed") else None


def stand_in(spec: Spec) -> Callable:
    """batch(rows) -> random (inputs, targets), int32 [rows, seq_len] each."""
    rng = np.random.default_rng(0)

    def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = rng.integers(spec.vocab_size, size=(rows, spec.seq_len + 1), dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    return batch


def step(trainer, batch: Callable, wait: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        float(trainer.step(batch, 0.5))  # the loss as a number: the device has come that far
        wait()

    return run


def loader(trainer, spec: Spec, folder: Path) -> Callable[[], None]:
    path = folder / "stand-in.bin"
    np.zeros(STAND_IN_TOKENS, np.uint16).tofile(path)
    tokens = TrainingTokens(path, "uint16", seed=0)

    def run() -> None:
        for _ in range(trainer.passes):
            tokens.rows(trainer.rows, spec.seq_len)

    return run


class Pieces:
    """The pieces by name, each made when it is first asked for. parts: makers of those that need a train.py."""

    def __init__(self, speed: ModuleType | None, parts: dict[str, Callable]):
        self._speed, self._parts = speed, parts
        self._made: dict[str, Callable] = {}

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
