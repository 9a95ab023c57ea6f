"""Times one backend's train.py, piece by piece, in a child process that serves the pieces by name.

    with Stopwatch(backend, train_py, vocab_size, seq_len, folder) as watch:
        watch.seconds("step")

With a prepared text it trains too, once: `watch.learn(seconds)` gives the tokens that it saw in that time, and what it then knows.

Pieces: `step` (an optimizer step on stand-in tokens), `loader` (reading its batches), and where the folder of train.py holds a
speed.py what that offers: `product RxIxC`, `copy BYTES` (the machine's limits) and `forward`, `loss`, `forward_backward`,
`optimizer` (parts of a step). A piece is made when it is first asked for, run twice, and not counted until then.

Several watches may be open at once; `alternate` asks them in turn, so that a noisy machine hits all of them alike.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autoresearch.border.messages import KINDS_OF_FAILURE, Kind, Protocol, failed, many, number, word
from autoresearch.child import OurOwn, Worker
from autoresearch.data.prepared import Prepared
from autoresearch.hardware.devices.registry import Backend
from autoresearch.measure.clock import awake_seconds

WORKER = "autoresearch.hardware.autotune.stopwatch_worker"
START_LIMIT_SECONDS = 1200.0  # as the longest start-up limit of a shipped profile
PIECE_LIMIT_SECONDS = 600.0  # of one piece: compiling what it needs counts
UNTIMED = "untimed"  # kind of the RunFailed of a train.py that has no Trainer: it may run well all the same
LIMITS, PARTS = ("product", "copy"), ("forward", "loss", "forward_backward", "optimizer")

_SECONDS = number(0, 1e9)
PROTOCOL = Protocol("starting", {
    "warm": Kind({"starting": "warm"}, {"offers": many(word(*LIMITS, *PARTS), 16)}, spare={
        "rows": number(1, 1e9, whole=True), "passes": number(1, 1e9, whole=True), "flops_per_token": number(0, 1e18, whole=True),
        "import_seconds": _SECONDS, "warm_up_seconds": _SECONDS,
    }),
    "timed": Kind({"warm": "warm"}, spare={"seconds": _SECONDS, "value": lambda value: value is None or number(0, 2**63)(value)},
                  most=math.inf),
    "learnt": Kind({"warm": "warm"}, {"tokens": number(1, 1e15, whole=True), "seconds": _SECONDS, "bpb": number(0, 1e3)}),
    "failed": failed("starting", "warm", kinds=(*KINDS_OF_FAILURE, UNTIMED)),
})  # fmt: skip

PRODUCT_SIZES = (1024, 2048, 4096, 8192, 16384)  # up to the first that takes PRODUCT_SECONDS
PRODUCT_SECONDS = 0.02  # chosen: a hundred times a GPU's launch overhead
TRIAL_BYTES = 100_000  # chosen: some seconds at the speeds of a CPU; the same text for every trial, which makes them pairs
COPY_BYTES = 256 << 20  # far larger than any cache


class PieceTimer:
    """A child process that times pieces on demand. Raises RunFailed when it can't be started or fails under way."""

    def __init__(
        self, backend: Backend, job: dict[str, Any], folder: Path, start_limit_seconds: float, worker: str,
        variables: dict[str, str] | None,
    ):  # fmt: skip
        start, variables = awake_seconds(), backend.variables | (variables or {})
        job = job | {"python_path": [str(path) for path in backend.python_path], "offers": [*LIMITS, *PARTS]}
        self._worker = Worker(job, folder, PROTOCOL, worker, variables, cell=OurOwn(backend.name))
        try:
            late = f"was not warm {start_limit_seconds:.0f} s after its start"
            about = self._worker.wait("warm", start_limit_seconds, late)
        except BaseException as failure:
            self._worker.__exit__(type(failure))
            raise
        self.about = about | {"process_seconds": awake_seconds() - start}
        self.offers: tuple[str, ...] = tuple(about["offers"])  # of LIMITS and PARTS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, failure: BaseException | None = None, trace: TracebackType | None = None
    ) -> None:
        self._worker.__exit__(kind, failure, trace)

    def seconds(self, piece: str) -> float:
        """How long one more of that piece takes."""
        return float(self._ask(piece)["seconds"])

    def limit_pieces(self) -> list[str]:
        """What to time for the machine's limits: products of growing size, and a copy; empty where the backend offers none."""
        pieces = []
        for size in PRODUCT_SIZES if "product" in self.offers else ():
            pieces.append(f"product {size}x{size}x{size}")
            if self.seconds(pieces[-1]) >= PRODUCT_SECONDS:
                break
        return [*pieces, *([f"copy {COPY_BYTES}"] if "copy" in self.offers else [])]

    def _ask(self, piece: str) -> dict[str, Any]:
        self._worker.send({"type": "time", "piece": piece})
        return self._worker.wait("timed", PIECE_LIMIT_SECONDS, f"the piece {piece!r} took more than {PIECE_LIMIT_SECONDS:.0f} s")


@dataclass(frozen=True)
class Started:
    """What a train.py says of itself once it is warm."""

    rows: int  # of a forward pass
    passes: int  # of a step
    flops_per_token: int
    import_seconds: float
    warm_up_seconds: float  # compilation and two steps
    process_seconds: float  # from the start of the process, those two included


@dataclass(frozen=True)
class Learnt:
    """A training of some seconds, its schedule run to the end, and its score on the first TRIAL_BYTES of the validation text."""

    tokens: int
    seconds: float
    bpb: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Stopwatch(PieceTimer):
    """A warm train.py, and the machine's limits beside it."""

    def __init__(
        self, backend: Backend, train_py: str, vocab_size: int, seq_len: int, folder: Path,
        start_limit_seconds: float = START_LIMIT_SECONDS, worker: str = WORKER, variables: dict[str, str] | None = None,
        text: Prepared | None = None,
    ):  # fmt: skip
        """folder: an empty place for the run's files. variables: of the child's environment, beyond a worker's.

        text: to learn from; train.py is then code of our own, for no cell hides the text from it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(train_py, encoding="utf-8", newline="")
        job = {
            "type": "serve", "train_py": str(folder / "train.py"), "vocab_size": vocab_size, "seq_len": seq_len,
            "folder": str(folder),
        }  # fmt: skip
        if text is not None:
            job |= {"text": str(text.folder), "dtype": text.dtype, "eval_bytes": TRIAL_BYTES}
        self.seq_len = seq_len
        super().__init__(backend, job, folder, start_limit_seconds, worker, variables)
        self.started = Started(**{name: self.about[name] for name in Started.__dataclass_fields__})

    @property
    def tokens_per_step(self) -> int:
        return self.started.rows * self.started.passes * self.seq_len

    def learn(self, seconds: float) -> Learnt:
        """Train for that long, from the first weights: before any piece was timed, and once."""
        self._worker.send({"type": "learn", "seconds": seconds})
        answer = self._worker.wait("learnt", seconds + PIECE_LIMIT_SECONDS, f"a training of {seconds:.0f} s did not end")
        return Learnt(answer["tokens"], answer["seconds"], answer["bpb"])

    def peak_memory_bytes(self) -> int | None:
        """The most that the training has held so far; None where the backend does not know it."""
        value = self._ask("peak_memory_bytes")["value"]
        return None if value is None else int(value)


@dataclass(frozen=True)
class Limits:
    """What nothing on this machine exceeds, as medians of this run. None: the backend does not offer it."""

    matmul_flops: float | None  # FLOP/s of the best product in the training's dtype
    bandwidth: float | None  # bytes/s of a copy, read and written

    @property
    def known(self) -> dict[str, float]:
        """For predict.Machine.of."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure_limits(backend: Backend, folder: Path, variables: dict[str, str] | None = None, rounds: int = 5) -> Limits:
    """Of the machine, without a train.py. folder: for the log; variables: as a Stopwatch's. Raises RunFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    with PieceTimer(backend, {"type": "limits"}, folder, START_LIMIT_SECONDS, WORKER, variables) as watch:
        pieces = {name: lambda name=name: watch.seconds(name) for name in watch.limit_pieces()}
        return limits_of(alternate(pieces, rounds))


def limits_of(seconds: Mapping[str, float]) -> Limits:
    """From the medians of `limit_pieces`; other pieces are left out."""
    products = [2 * int(name.split("x")[-1]) ** 3 / value for name, value in seconds.items() if name.startswith("product ")]
    copy = seconds.get(f"copy {COPY_BYTES}")
    return Limits(max(products, default=None), 2 * COPY_BYTES / copy if copy else None)


def alternate(pieces: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median seconds of each piece over the rounds; in each round every piece has its turn."""
    seconds: dict[str, list[float]] = {name: [] for name in pieces}
    for _ in range(rounds):
        for name, time_it in pieces.items():
            seconds[name].append(time_it())
    return {name: statistics.median(times) for name, times in seconds.items()}
