"""Real runs over a grid of sizes: what `--profile auto` is judged by, and what the law of hardware/autotune/sizes.py is fitted to.

    python benchmarks/grid.py [--corpus NAME|PATH] [--seconds 100] [--cells CELLS] [--seed 1337] [--set NAME=VALUE ...] [--list]

Each cell (depth, width, seq_len, vocab_size, tokens a step) is trained for the budget and scored by the harness, as `autoresearch
train` does, on the validation text and on the test text, one line a run in benchmarks/results/runs.jsonl. Cells that are there
already, on as many cores and in the same dtype, are left out, so it may be ended at any time and started again. Before and after
each run a matrix product is timed: the machine's own speed in that minute.

CELLS is `grid` (the 24 of the grid, by default) or a list such as `2x128x256x4096x4096,4x256x256x4096x4096`. --set gives constants
of train.py other values. One core in place of two: `taskset -c 0 python ...`; another dtype: AUTORESEARCH_DTYPE.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from autoresearch import constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import detect
from autoresearch.hardware.planner import profiles
from autoresearch.run import scoring
from autoresearch.run.experiment import execute
from autoresearch.run.setup import Setup
from autoresearch.task.registry import on_text

# Of train.py and the held-out text: raise it when a change makes scores others. Without one: no KEY_OFFSET, no table of pairs; 2:
# the first documents whole, not pieces of as many as there are.
CODE = 3
RESULTS = Path(__file__).parent / "results" / "runs.jsonl"
BASE = "cpu"  # the profile that everything else is taken from
SHAPES = ((2, 128), (1, 128), (3, 192))  # depth, width
SEQ_LENS, VOCAB_SIZES, BATCHES = (128, 256), (1024, 2048), (2048, 4096)
TOKENS_A_PASS = 4096  # rows of a pass: all of a step's, or what fits into this
PRODUCT_SIZE, PRODUCT_SECONDS = 2048, 0.5

Cell = tuple[int, int, int, int, int]  # depth, width, seq_len, vocab_size, tokens a step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--cells", default="grid")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--at-most", type=int, metavar="N", help="make no more than N runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--list", action="store_true", help="print the cells that are still to be run")
    options = parser.parse_args()
    cells = grid() if options.cells == "grid" else [parsed(text) for text in options.cells.split(",")]
    values = {name: json.loads(value) for name, _, value in (text.partition("=") for text in options.set)}
    backend = detect.scan()[BASE]
    facts = detect.probe(backend)
    done = {key(run) for run in runs()}
    terms = (CODE, facts.dtype, facts.cores, values, Path(options.corpus).name, options.seconds, options.seed)
    missing = [cell for cell in cells if json.dumps([*terms, *cell]) not in done]
    if options.list:
        print("\n".join("x".join(map(str, cell)) for cell in missing))
        return
    for cell in missing[: options.at_most]:
        run = measure(backend, facts, options.corpus, cell, options.seconds, options.seed, values)
        RESULTS.parent.mkdir(exist_ok=True)
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        shown = ("depth", "width", "seq_len", "vocab_size", "batch", "val_bpb", "test_bpb", "steps")
        print(json.dumps({name: run[name] for name in shown}), flush=True)
    raise SystemExit(0 if missing else 3)


def grid() -> list[Cell]:
    return [(*shape, *rest) for shape, *rest in product(SHAPES, SEQ_LENS, VOCAB_SIZES, BATCHES)]


def parsed(text: str) -> Cell:
    depth, width, seq_len, vocab_size, batch = map(int, text.split("x"))
    return depth, width, seq_len, vocab_size, batch


def runs() -> list[dict]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def key(run: dict) -> str:
    names = ("code", "dtype", "cores", "set", "corpus", "train_seconds", "seed", "depth", "width", "seq_len", "vocab_size", "batch")
    return json.dumps([run.get(name) for name in names])


def measure(backend, facts, corpus: str, cell: Cell, seconds: float, seed: int, given: dict) -> dict:
    depth, width, seq_len, vocab_size, batch = cell
    profile = profiles.load(BASE)
    head_dim = 128 if width % 128 == 0 else 64
    values = profile.train | {
        "DEPTH": depth, "ASPECT_RATIO": round(width / depth), "HEAD_DIM": head_dim,
        "DEVICE_BATCH_SIZE": max(1, min(TOKENS_A_PASS, batch) // seq_len), "TOTAL_BATCH_SIZE": batch,
    } | given  # fmt: skip
    prepared = prepare(corpus, vocab_size)
    setup = Setup(
        backend, on_text(prepared, replace(profile.data, seq_len=seq_len)), seconds, profile.budget.startup_limit_seconds, 0
    )
    train_py = constants.write(backend.train_py.read_text(encoding="utf-8"), values)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        before = product_tflops(facts.dtype)
        result = execute(setup, train_py, seed, Path(folder) / "run")
        after = product_tflops(facts.dtype)
        if not result.ok:
            raise SystemExit(f"{cell}: {result.status}: {result.reason}")
        test_bpb = scoring.evaluate(setup, Path(folder) / "run", split="test").value
    return {
        "corpus": Path(corpus).name, "train_seconds": seconds, "seed": seed, "depth": depth, "width": width, "seq_len": seq_len,
        "vocab_size": vocab_size, "batch": batch, "head_dim": head_dim, "val_bpb": round(result.val_bpb, 6),
        "test_bpb": round(test_bpb, 6), "code": CODE, "set": given, "cores": facts.cores, "device": facts.device,
        "tokens": result.total_tokens, "steps": result.num_steps, "params": result.num_params,
        "training_seconds": round(result.training_seconds, 3), "startup_seconds": round(result.startup_seconds, 2),
        "scoring_seconds": round(result.scoring_seconds, 2), "peak_memory_bytes": result.peak_memory_bytes,
        "mean_token_bytes": round(prepared.mean_token_bytes, 4), "train_tokens": prepared.train_tokens,
        "eval_bytes": profile.data.eval_bytes, "dtype": facts.dtype,
        "product_tflops": [round(before, 3), round(after, 3)], "started": started,
    }  # fmt: skip


def product_tflops(dtype: str) -> float:
    """The median product on all cores, with nothing else running."""
    import torch

    a = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE).to(getattr(torch, dtype))
    out, times, end = a @ a, [], time.perf_counter() + PRODUCT_SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a, out=out)
        times.append(time.perf_counter() - start)
    return 2e-12 * PRODUCT_SIZE**3 / statistics.median(times)


if __name__ == "__main__":
    main()
