"""Whole training steps of variants of a profile on one device, in turn: `python benchmarks/gpu_steps.py h100 --variant ...`.

A variant is a name and what it changes: constants of train.py (`NAME=VALUE`), variables of the runtime (`AUTORESEARCH_...=VALUE`),
and `sdpa=cudnn|flash|efficient`, the only kernel that PyTorch's attention may take. All are compiled at the same time; then each
makes --steps steps, one after the other, --rounds times. The same tokens every time, no harness, no sandbox.

    python benchmarks/gpu_steps.py h100 --set DEVICE_BATCH_SIZE=64 \\
        --variant as-is --variant cudnn sdpa=cudnn --variant windows "WINDOW_PATTERN='SSSL'"
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from types import ModuleType, SimpleNamespace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="in every variant")
    parser.add_argument("--variant", nargs="+", action="append", required=True, metavar=("NAME", "NAME=VALUE"))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    workers = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, *changes in options.variant:
            job = {
                "backend": options.backend,
                "profile": options.profile,
                "changes": [*options.set, *changes],
                "steps": options.steps,
            }
            variables = os.environ | {"AUTORESEARCH_COMPILE_CACHE": os.path.join(cache, name)}
            variables |= dict(change.split("=", 1) for change in job["changes"] if change.startswith("AUTORESEARCH_"))
            workers[name] = subprocess.Popen(
                [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
            )
            ask(workers[name], json.dumps(job))
        ready = {name: json.loads(worker.stdout.readline()) for name, worker in workers.items()}
        rounds: dict[str, list[dict]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                ask(worker, "go")
                rounds[name].append(json.loads(worker.stdout.readline()))
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    for name, found in rounds.items():
        seconds = statistics.median(one["seconds"] for one in found)
        tokens = ready[name]["tokens"] / seconds
        print(
            f"{name:<16} {1e3 * seconds:8.1f} ms a step ({', '.join(format(1e3 * one['seconds'], '.1f') for one in found)}), "
            f"{tokens:,.0f} tokens/s, {ready[name]['flops_per_token'] * tokens / 1e12:.4g} TFLOP/s, "
            f"ready after {ready[name]['ready']:.0f} s, peak {(found[-1]['peak_bytes'] or 0) / 2**20:,.0f} MB"
        )


def ask(worker: subprocess.Popen, line: str) -> None:
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


def work() -> None:
    job = json.loads(sys.stdin.readline())
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed here is no answer
    started = time.perf_counter()
    from autoresearch import constants
    from autoresearch.hardware.devices import registry
    from autoresearch.hardware.planner import profiles

    backend, profile = registry.scan()[job["backend"]], profiles.load(job["profile"])
    sys.path[:0] = map(str, backend.python_path)
    import numpy as np
    import runtime
    import torch

    changes = dict(change.split("=", 1) for change in job["changes"] if not change.startswith("AUTORESEARCH_"))
    if only := changes.pop("sdpa", None):
        for kind, switch in (("flash", "flash"), ("efficient", "mem_efficient"), ("cudnn", "cudnn"), ("math", "math")):
            getattr(torch.backends.cuda, f"enable_{switch}_sdp")(kind == only)
    values = profile.train | {name: ast.literal_eval(text) for name, text in changes.items()}
    train = sys.modules["train"] = ModuleType("train")
    exec(compile(constants.write(backend.train_py.read_text(encoding="utf-8"), values), "train.py", "exec"), train.__dict__)

    seq_len, vocab_size = profile.data.seq_len, profile.data.vocab_size
    tokens = np.random.default_rng(0).integers(
        vocab_size, size=(train.TOTAL_BATCH_SIZE // seq_len + 1, seq_len + 1), dtype=np.int32
    )
    inputs, targets = np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    def batch(rows: int):
        return inputs[:rows], targets[:rows]

    runtime.seed(1)
    model = train.build_model(SimpleNamespace(vocab_size=vocab_size, seq_len=seq_len))
    trainer = train.Trainer(model, seq_len)
    trainer.warm_up(batch)

    def steps() -> float:
        runtime.synchronize()
        start, read = time.perf_counter(), None
        for _ in range(job["steps"]):
            read_before, read = read, runtime.read_later(trainer.step(batch, 0.1))
            if read_before:
                read_before()
        runtime.synchronize()
        return (time.perf_counter() - start) / job["steps"]

    about = {"ready": time.perf_counter() - started, "tokens": trainer.rows * trainer.passes * seq_len}
    print(json.dumps(about | {"flops_per_token": model.flops_per_token(seq_len)}), file=say, flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": steps(), "peak_bytes": runtime.peak_memory_bytes()}), file=say, flush=True)


if __name__ == "__main__":
    work() if "--worker" in sys.argv else main()
