"""Which packing of documents into training rows gives the best val_bpb, at a short row? Prints one line a cell, then the means.

    python benchmarks/packing.py --corpus stdlib --vocab-size 4096 --seq-len 256 --steps 200

trains backends/torch/train.py on the CPU with each packing and seed, the same number of optimizer steps each, and scores as the
product does: the validation text as one stream. `--help` lists the rest. The decision and its figures are in docs/design/data.md.

    stream    what measure/batches.py does: one stream of documents, cut into rows; every token is used once an epoch
    bestfit   as upstream: rows begin with BOS; the longest waiting document that fits, else the shortest, cropped, its rest lost
    carried   as bestfit, but the rest of a cropped document waits for a later row (which then begins in the middle of it)
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoresearch import constants, measure
from autoresearch.data.prepare import Prepared, prepare
from autoresearch.hardware.devices import registry
from autoresearch.measure.batches import Rows
from autoresearch.measure.bpb import ValidationText, target_bits
from autoresearch.measure.run import Spec

WAITING_DOCUMENTS = 1000  # upstream's buffer
SCORED_ROWS = 32


def stream(tokens: np.ndarray, starts: np.ndarray, seq_len: int, seed: int) -> Iterator[np.ndarray]:
    rows = Rows(tokens, seq_len, seed)
    while True:
        yield rows.take(1)[0]


def bestfit(tokens: np.ndarray, starts: np.ndarray, seq_len: int, seed: int, keep_rest: bool = False) -> Iterator[np.ndarray]:
    documents = _shuffled(tokens, starts, seed)
    waiting = [next(documents) for _ in range(WAITING_DOCUMENTS)]
    while True:
        row, filled = np.empty(seq_len + 1, np.int32), 0
        while filled <= seq_len:
            while len(waiting) < WAITING_DOCUMENTS:
                waiting.append(next(documents))
            room = seq_len + 1 - filled
            lengths = np.array([len(document) for document in waiting])
            fits = np.flatnonzero(lengths <= room)
            index = fits[lengths[fits].argmax()] if len(fits) else lengths.argmin()
            document = waiting.pop(index)
            row[filled : filled + min(room, len(document))] = document[:room]
            if keep_rest and len(document) > room:
                waiting.append(document[room:])
            filled += min(room, len(document))
        yield row


def carried(tokens: np.ndarray, starts: np.ndarray, seq_len: int, seed: int) -> Iterator[np.ndarray]:
    return bestfit(tokens, starts, seq_len, seed, keep_rest=True)


PACKINGS = {"stream": stream, "bestfit": bestfit, "carried": carried}


def _shuffled(tokens: np.ndarray, starts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Documents with their BOS, int32, each once an epoch, in another order each epoch."""
    rng, ends = np.random.default_rng(seed), np.append(starts[1:], len(tokens))
    while True:
        for index in rng.permutation(len(starts)):
            yield tokens[starts[index] : ends[index]].astype(np.int32)


class FixedSteps:
    """The face that train.py sees of measure.Run, for a number of steps in place of a time."""

    def __init__(self, spec: Spec, rows: Iterator[np.ndarray], seed: int, steps: int, checkpoint: Path):
        self.spec, self.seed, self.progress = spec, seed, 0.0
        self._rows, self._steps, self._checkpoint = rows, steps, checkpoint
        self.losses: list[float] = []
        self.packing_seconds = 0.0

    def stand_in(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.random.default_rng(0).integers(self.spec.vocab_size, size=(2, rows, self.spec.seq_len), dtype=np.int32)
        return tokens[0], tokens[1]

    def steps(self, save) -> Iterator[int]:
        for step in range(self._steps):
            self.progress = step / self._steps
            yield step
        self.progress = 1.0
        save(self._checkpoint)

    def batch(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        before = time.perf_counter()
        tokens = np.stack([next(self._rows) for _ in range(rows)])
        self.packing_seconds += time.perf_counter() - before
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def report(self, loss: float) -> None:
        self.losses.append(loss)

    def describe(self, **facts) -> None:
        pass


def run_cell(packing: str, seed: int, settings: argparse.Namespace) -> None:
    """One training and its score, in this process: prints one JSON line."""
    backend = registry.scan()["cpu"]
    sys.path[:0] = map(str, backend.python_path)
    import runtime

    prepared = Prepared.load(settings.prepared)
    tokens = np.memmap(prepared.train_folder / "tokens.bin", prepared.dtype, "r")
    starts = np.load(prepared.train_folder / "starts.npy")
    spec = Spec(prepared.vocab_size, settings.seq_len)
    rows = PACKINGS[packing](tokens, starts, settings.seq_len, seed)
    with tempfile.TemporaryDirectory() as folder:
        text = constants.write(backend.train_py.read_text(encoding="utf-8"), json.loads(settings.constants))
        train_py = Path(folder) / "train.py"
        train_py.write_text(text, encoding="utf-8")
        described = importlib.util.spec_from_file_location("train", train_py)
        train = importlib.util.module_from_spec(described)
        sys.modules["train"] = train
        described.loader.exec_module(train)
        run = FixedSteps(spec, rows, seed, settings.steps, Path(folder) / "weights")
        measure.start = lambda: run
        before = time.perf_counter()
        train.main()
        seconds = time.perf_counter() - before
        model = runtime.load_weights(train.build_model(spec), Path(folder) / "weights")
    cell = {
        "packing": packing,
        "seed": seed,
        "val_bpb": score(runtime, model, prepared, spec, settings.eval_bytes),
        "train_loss": float(np.mean(run.losses[-20:])),
        "seconds": seconds,
        "packing_percent": 100 * run.packing_seconds / seconds,
    }
    print(json.dumps(cell))


def score(runtime, model, prepared: Prepared, spec: Spec, eval_bytes: int) -> float:
    """val_bpb of the model: the harness's arithmetic, in this process."""
    token_bytes = np.load(prepared.folder / "token_bytes.npy")
    text = ValidationText.load(prepared.val_folder, token_bytes, prepared.dtype, eval_bytes)
    inputs, targets = text.rows(spec.seq_len)
    bits = []
    for start in range(0, len(inputs), SCORED_ROWS):
        ids, goal = inputs[start : start + SCORED_ROWS], targets[start : start + SCORED_ROWS]
        out = np.empty((*ids.shape, spec.vocab_size), np.float16)
        runtime.logits(model, ids, out)
        bits.append(target_bits(out.reshape(-1, spec.vocab_size), goal.reshape(-1)))
    of_targets = np.concatenate(bits)[: len(text.tokens) - 1].astype(np.float64)
    return float(text.document_bits(of_targets).sum() / text.total_bytes)


def used_share(packing: str, prepared: Prepared, seq_len: int) -> float:
    """Which part of the training text a packing shows in its first epoch, from the documents' lengths."""
    if packing != "bestfit":
        return 1.0
    tokens = np.memmap(prepared.train_folder / "tokens.bin", prepared.dtype, "r")
    starts = np.load(prepared.train_folder / "starts.npy")
    rows = bestfit(tokens, starts, seq_len, seed=0)
    seen_documents = seen_tokens = 0
    while seen_documents < len(starts):
        row = next(rows)
        seen_documents += int((row == prepared.bos_id).sum())
        seen_tokens += len(row)
    return min(1.0, seen_tokens / len(tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--eval-bytes", type=int, default=500_000)
    parser.add_argument("--packings", nargs="+", default=list(PACKINGS), choices=list(PACKINGS))
    parser.add_argument(
        "--constants", help="JSON of train.py's constants",
        default='{"DEPTH": 4, "WINDOW_PATTERN": "L", "DEVICE_BATCH_SIZE": 32, "TOTAL_BATCH_SIZE": 8192}',
    )  # fmt: skip
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.cell:
        run_cell(settings.cell[0], int(settings.cell[1]), settings)
        return
    prepared = prepare(settings.corpus, settings.vocab_size)
    shared = [*sys.argv[1:], "--prepared", str(prepared.folder)]
    found: dict[str, list[float]] = {packing: [] for packing in settings.packings}
    for packing in settings.packings:
        print(f"{packing}: shows {used_share(packing, prepared, settings.seq_len):.0%} of the training tokens an epoch")
    for seed in range(settings.seeds):
        for packing in settings.packings:
            command = [sys.executable, __file__, *shared, "--cell", packing, str(seed)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            cell = json.loads(done.stdout.splitlines()[-1])
            found[packing].append(cell["val_bpb"])
            print(
                "{packing:8} seed {seed}  val_bpb {val_bpb:.4f}  train loss {train_loss:.3f} nats  {seconds:.0f} s, "
                "of it packing {packing_percent:.2f} %".format(**cell),
                flush=True,
            )
    for packing, scores in found.items():
        print(f"{packing:8} mean val_bpb {np.mean(scores):.4f}  (spread {np.ptp(scores):.4f})")


if __name__ == "__main__":
    main()
