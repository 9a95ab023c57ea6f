"""The stopwatch's worker: `python -m autoresearch.hardware.stopwatch_worker`, started and spoken to as measure/worker.py is.

It runs the same train.py and runtime.py as a training, on stand-in tokens, and answers one question at a time: how long does this
piece take? What a framework needs for it is in speed.py beside train.py: see CONTRIBUTING.md.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autoresearch.hardware.stopwatch import UNTIMED
from autoresearch.measure import worker
from autoresearch.measure.batches import TrainingTokens
from autoresearch.measure.channel import Channel
from autoresearch.measure.run import Spec

STAND_IN_TOKENS = 1 << 20  # for the loader


def serve(channel: Channel, job: dict) -> None:
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
    pieces = Pieces(train, trainer, batch, spec, Path(job["folder"]), getattr(runtime, "synchronize", lambda: None))
    about = {
        "rows": trainer.rows,
        "passes": trainer.passes,
        "flops_per_token": trainer.model.flops_per_token(spec.seq_len),
        "offers": [name for name in job["offers"] if pieces.has(name)],
        "import_seconds": imported - start,
        "warm_up_seconds": warm - imported,
    }
    channel.send({"type": "warm"} | about)
    while (message := channel.receive()) is not None:
        if message["piece"] == "peak_memory_bytes":
            channel.send({"type": "timed", "value": runtime.peak_memory_bytes()})
        else:
            channel.send({"type": "timed", "seconds": pieces.seconds(message["piece"])})


def stand_in(spec: Spec) -> Callable:
    """batch(rows) -> random (inputs, targets), int32 [rows, seq_len] each."""
    rng = np.random.default_rng(0)

    def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = rng.integers(spec.vocab_size, size=(rows, spec.seq_len + 1), dtype=np.int32)
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    return batch


class Pieces:
    """The pieces by name, each made when it is first asked for."""

    def __init__(self, train, trainer, batch: Callable, spec: Spec, folder: Path, wait: Callable[[], None]):
        self._trainer, self._batch, self._spec, self._folder = trainer, batch, spec, folder
        self._wait = wait
        self._made: dict[str, Callable] = {}
        self._speed = None
        if importlib.util.find_spec("speed") is not None:  # beside train.py, on sys.path
            import speed

            self._speed = speed
        self._parts = self._speed.parts(train, trainer, batch) if self._speed else {}

    def has(self, name: str) -> bool:
        return name in self._parts or hasattr(self._speed, name)

    def seconds(self, piece: str) -> float:
        if piece not in self._made:
            self._made[piece] = self._make(*piece.split())
            for _ in range(2):  # compiles, and takes the memory that the next ones use again
                self._made[piece]()
        start = time.perf_counter()
        self._made[piece]()
        return time.perf_counter() - start

    def _make(self, name: str, size: str = "") -> Callable:
        if name == "step":
            return self._step
        if name == "loader":
            return self._loader()
        if name == "product":
            return self._speed.product(*map(int, size.split("x")))
        if name == "copy":
            return self._speed.copy(int(size))
        return self._parts[name]()

    def _step(self) -> None:
        float(self._trainer.step(self._batch, 0.5))  # the loss as a number: the device has come that far
        self._wait()

    def _loader(self) -> Callable:
        path = self._folder / "stand-in.bin"
        np.zeros(STAND_IN_TOKENS, np.uint16).tofile(path)
        tokens = TrainingTokens(path, "uint16", seed=0)

        def load() -> None:
            for _ in range(self._trainer.passes):
                tokens.batch(self._trainer.rows, self._spec.seq_len)

        return load


if __name__ == "__main__":
    worker.main({"serve": serve})
