"""What float16 and float32 logits cost a scoring, on both sides: `python benchmarks/logits_dtype.py [--rounds 9]`.

Harness: `target_bits`, and the copy of a slot before it, on one core. Worker: `logits` of the cpu backend for a small GPT (depth 2,
width 128). Medians of alternating rounds, in microseconds a position.
"""

import argparse
import statistics
import sys
import time
import types
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SEQ_LEN, ROWS = 256, 16


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "backends" / "cpu"), str(ROOT / "backends" / "torch")]
    import runtime

    from autoresearch import constants
    from autoresearch.measure.bpb import CHUNK_BYTES, target_bits

    def bits(logits: np.ndarray, targets: np.ndarray) -> None:
        """float16 is converted in chunks that stay in a core's cache, as the harness did while it got float16."""
        step = len(logits) if logits.dtype == np.float32 else CHUNK_BYTES // (4 * logits.shape[1])
        for start in range(0, len(logits), step):
            target_bits(logits[start : start + step].astype(np.float32, copy=False), targets[start : start + step])

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    source = (ROOT / "backends" / "torch" / "train.py").read_text(encoding="utf-8")
    train = types.ModuleType("train")
    exec(constants.write(source, {"DEPTH": 2, "ASPECT_RATIO": 64, "HEAD_DIM": 64}), train.__dict__)
    print(f"{'V':>6} {'':>8} {'target_bits':>12} {'copy':>8} {'worker':>8}   us a position")
    for vocab_size in (1024, 8192):
        model = train.build_model(types.SimpleNamespace(vocab_size=vocab_size, seq_len=SEQ_LEN)).eval()
        rng = np.random.default_rng(0)
        ids = rng.integers(vocab_size, size=(ROWS, SEQ_LEN), dtype=np.int32)
        values = rng.normal(0, 3, (ROWS * SEQ_LEN, vocab_size)).astype(np.float32)
        took: dict[tuple, list[float]] = {}
        for _ in range(rounds):
            for dtype in ("float16", "float32"):
                slot = values.astype(dtype)
                goal, out = ids.reshape(-1), slot.reshape(ROWS, SEQ_LEN, vocab_size)
                steps = {"bits": (bits, slot, goal), "copy": (np.copy, slot), "worker": (runtime.logits, model, ids, out)}
                for name, (step, *arguments) in steps.items():
                    start = time.perf_counter()
                    step(*arguments)
                    took.setdefault((dtype, name), []).append((time.perf_counter() - start) / ids.size * 1e6)
        for dtype in ("float16", "float32"):
            harness, copy, worker = (statistics.median(took[dtype, name]) for name in ("bits", "copy", "worker"))
            print(f"{vocab_size:>6} {dtype:>8} {harness:>12.2f} {copy:>8.2f} {worker:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
