"""A checkpoint's score on a held-out text, and its audit: each in a fresh process, which sees token ids and gives logits.

Promises: what is scored is the text and the weights that the clock stopped at; the processes are told neither which rows they
get nor why, and are gone when a function here returns. Nothing but the run's folder is written. A process has seen no held-out text
until it is locked in (sandbox/locking.py), and takes about as long as the baseline's did (bounds.py).
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch.border import messages
from autoresearch.child import RunFailed, Worker
from autoresearch.measure.audit import Cuts
from autoresearch.measure.bpb import InvalidLogits, ValidationText
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.scorer import SLOTS, Costs, Score, Slot, row_bits, rows_per_slot, score, slots
from autoresearch.noise import WORST_BPB
from autoresearch.run import bounds, cells
from autoresearch.run.bounds import Bounds, Seconds
from autoresearch.run.cells import WORK
from autoresearch.run.setup import OnProgress, Progress, Setup, job_for
from autoresearch.sandbox import workdir

BITS = "bits.npy"  # float32 [rows, seq_len]: what each target of the validation text cost
LEAST_BATCHES = 8  # of a scoring
CHEAT = "cheat"  # a run's status, and a verdict's state
FAILED = {
    "crash": "its scoring ended in an error once it had seen the text; what it said then is not kept, since it may tell of it",
    "oom": "its scoring ran out of memory while it was asked for predictions",
    "timeout": "its scoring gave no predictions in time",
    "invalid": "its scoring sent something else than the predictions that it was asked for",
    "limit": "its scoring took more than is allowed, of time or of what a process may have, while it was asked for predictions",
}


def digest(path: Path) -> str:
    """Of a file's bytes, 128 bits in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def seal(folder: Path, train_py: str, checkpoint: str) -> None:
    """RunFailed when train.py or the checkpoint in folder is not what the run was started with, or what the clock stopped at."""
    if (folder / "train.py").read_bytes() != train_py.encode("utf-8"):
        raise RunFailed(CHEAT, "train.py in its run's folder is not the text that was proposed: something wrote it anew")
    if digest(folder / "checkpoint") != checkpoint:
        raise RunFailed(CHEAT, "the checkpoint was written again after the clock had stopped")


def held_out(setup: Setup, folder: Path) -> ValidationText:
    """The validation or the test text, of the study's length."""
    prepared = setup.prepared
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    return ValidationText.load(folder, token_bytes, prepared.dtype, setup.eval_bytes)


def evaluate(
    setup: Setup,
    folder: Path,
    on_progress: OnProgress = lambda progress: None,
    rows: int | None = None,
    text_folder: Path | None = None,
) -> Score:
    """Score the checkpoint in folder with the train.py beside it. rows: in a batch of the worker; it changes no score.

    text_folder: of the text, by default the validation text. Raises RunFailed, and OSError for what the disk does.
    """
    text = held_out(setup, text_folder or setup.prepared.val_folder)
    with _asking(setup, folder, on_progress, "scoring", rows) as asking:
        scored = score(text, setup.seq_len, asking.ask(*text.rows(setup.seq_len)))
    if not 0 < scored.val_bpb < WORST_BPB:  # infinity and NaN are not, either
        raise RunFailed("invalid", "its predictions cost so much that they are no score")
    return replace(scored, costs=asking.costs)


@contextmanager
def asking_cuts(
    setup: Setup, folder: Path, on_progress: OnProgress = lambda progress: None
) -> Iterator[Callable[[Cuts], np.ndarray]]:
    """What the targets of cut rows cost the folder's model, float32 [n, seq_len]. Raises as `evaluate` does."""
    with _asking(setup, folder, on_progress, "audit") as asking:
        yield lambda cuts: asking.ask(cuts.inputs, cuts.targets)


class Asking:
    """A process with a folder's model, which has seen no held-out text yet. What it may take is in the setup's bounds."""

    def __init__(
        self, setup: Setup, worker: Worker, places: list[Slot], rows: int, limit_seconds: float, tick: Callable[[float], None]
    ):
        self.costs: Costs | None = None  # of the last `ask`
        self._bounds = setup.bounds or Bounds(setup.train_seconds)
        self._worker, self._places, self._rows, self._tick = worker, places, rows, tick
        self._late = f"scoring took more than {limit_seconds:.0f} s"
        self._end = awake_seconds() + limit_seconds

    def load(self, checkpoint: Path, work: Path) -> None:
        """Give it the weights; when this returns it has answered on stand-in tokens, and can open no file any more."""
        self._wait("built")
        before = self._now()
        workdir.lend(checkpoint, work)
        self._worker.send({"type": "load"}, then="loading")
        self._wait("ready")
        self._loading = _since(before, self._now())
        self._bounds.check_loading(self._loading)
        self._worker.lock_in()

    def ask(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The bits of each target, float32 [rows, seq_len]. Raises RunFailed, whose words are ours alone: the process has seen the
        text, and a line, a status or a number of seconds of its choice would tell of it.
        """
        try:
            return self._asked(inputs, targets)
        except InvalidLogits as error:  # of few sentences, without a number
            raise RunFailed("invalid", str(error)) from error
        except RunFailed as failure:
            raise RunFailed(failure.kind, FAILED.get(failure.kind, FAILED["crash"])) from failure

    def _asked(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        times = [self._now()]

        def send(slot: int, ids: np.ndarray) -> None:
            self._worker.send({"type": "rows", "slot": slot}, ids.tobytes(), then="asked")

        def receive(slot: int) -> np.ndarray:
            if self._wait("scored")["slot"] != slot:
                raise messages.invalid("logits that were not asked for")
            times.append(self._now())
            return self._places[slot].read()

        bits = row_bits(inputs, targets, self._rows, send, receive, self._tick)
        batches = [_since(before, after) for before, after in pairwise(times)]
        took, usual = _since(times[0], times[-1]), bounds.median(batches)
        self._bounds.check_loading(self._loading, usual)
        self._bounds.check_rows(len(inputs), took, batches)
        self.costs = Costs(len(inputs), self._loading, took, usual)
        return bits

    def _wait(self, kind: str) -> dict[str, Any]:
        return self._worker.wait(kind, self._end - awake_seconds(), self._late, tick=self._look)

    def _look(self, _message: dict[str, Any] | None) -> None:
        """Processor time of what ends between two looks is not seen."""
        self._worker.used_seconds()

    def _now(self) -> Seconds:
        return awake_seconds(), self._worker.used_seconds()


def _since(before: Seconds, now: Seconds) -> Seconds:
    return now[0] - before[0], now[1] - before[1]


def _batch_rows(setup: Setup) -> int:
    """Of every batch of a study, in scorings and audits alike: what a slot holds, but so few that the validation text takes several
    batches, whose times can be compared (bounds.py)."""
    text = held_out(setup, setup.prepared.val_folder)
    all_rows = -(-(len(text.tokens) - 1) // setup.seq_len)
    return min(rows_per_slot(setup.seq_len, setup.prepared.vocab_size), -(-all_rows // LEAST_BATCHES))


@contextmanager
def _asking(setup: Setup, folder: Path, on_progress: OnProgress, phase: str, rows: int | None = None) -> Iterator[Asking]:
    """A fresh process with the folder's model."""
    vocab_size = setup.prepared.vocab_size
    rows = rows or _batch_rows(setup)
    limit_seconds = setup.startup_limit_seconds + max(120.0, 2 * setup.train_seconds)
    start = awake_seconds()

    def tick(fraction: float) -> None:
        on_progress(Progress(phase, awake_seconds() - start, fraction))

    train_py = (folder / "train.py").read_text(encoding="utf-8")
    with slots(folder, rows, setup.seq_len, vocab_size) as places:
        cell = cells.scoring(setup, folder, train_py, [place.path for place in places])
        work = folder / WORK
        job = job_for(setup, folder) | {"type": "score", "rows": rows, "slots": [str(place.path) for place in places]}
        job["checkpoint"] = str(workdir.lent(work) / "checkpoint")
        with Worker(job, folder, messages.scoring(SLOTS), variables=setup.variables, cell=cell) as worker:
            asking = Asking(setup, worker, places, rows, limit_seconds, tick)
            asking.load(folder / "checkpoint", work)
            yield asking
