"""A checkpoint's score on a held-out text, and its audit: each in a fresh process, which sees token ids and gives logits.

Promises: what is scored is the text and the weights that the clock stopped at; the processes are told neither which rows they
get nor why, and are gone when a function here returns. Nothing but the run's folder is written.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from autoresearch.child import RunFailed, Worker
from autoresearch.loop import cells
from autoresearch.loop.setup import OnProgress, Progress, Setup, job_for
from autoresearch.measure.audit import Cuts
from autoresearch.measure.bpb import InvalidLogits, ValidationText
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.scorer import Score, row_bits, rows_per_slot, score, slots

BITS = "bits.npy"  # float32 [rows, seq_len]: what each target of the validation text cost
CHEAT = "cheat"  # a run's status, and a verdict's state

# (inputs, targets), int32 [rows, seq_len] each -> float32 [rows, seq_len]: the bits of each target
Asker = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
    with _asking(setup, folder, on_progress, "scoring", rows) as ask:
        return score(text, setup.seq_len, ask(*text.rows(setup.seq_len)))


@contextmanager
def asking_cuts(
    setup: Setup, folder: Path, on_progress: OnProgress = lambda progress: None
) -> Iterator[Callable[[Cuts], np.ndarray]]:
    """What the targets of cut rows cost the folder's model, float32 [n, seq_len]. Raises as `evaluate` does."""
    with _asking(setup, folder, on_progress, "audit") as ask:
        yield lambda cuts: ask(cuts.inputs, cuts.targets)


@contextmanager
def _asking(setup: Setup, folder: Path, on_progress: OnProgress, phase: str, rows: int | None = None) -> Iterator[Asker]:
    """A fresh process with the folder's model."""
    vocab_size = setup.prepared.vocab_size
    rows = rows or rows_per_slot(setup.seq_len, vocab_size)
    limit_seconds = setup.startup_limit_seconds + max(120.0, 2 * setup.train_seconds)
    late = f"scoring took more than {limit_seconds:.0f} s"
    start = awake_seconds()

    def tick(fraction: float) -> None:
        on_progress(Progress(phase, awake_seconds() - start, fraction))

    with slots(folder, rows, setup.seq_len, vocab_size) as (paths, views):
        job = job_for(setup, folder) | {"type": "score", "rows": rows, "slots": [str(path) for path in paths]}
        with Worker(job, folder, variables=setup.variables, cell=cells.scoring(setup, folder, paths)) as worker:
            worker.wait("ready", limit_seconds, late)

            def send(slot: int, ids: np.ndarray) -> None:
                worker.send({"type": "rows", "slot": slot, "count": len(ids)}, ids.tobytes())

            def receive() -> int:
                left_seconds = start + limit_seconds - awake_seconds()
                return int(worker.wait("scored", left_seconds, late)["slot"])

            def ask(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
                try:
                    return row_bits(inputs, targets, views, send, receive, tick)
                except InvalidLogits as error:
                    raise RunFailed("invalid", str(error)) from error

            yield ask
