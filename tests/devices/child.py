"""The shipped train.py on a card that is not there: `python child.py JOB`, JSON in, the last line that it prints is JSON.

JOB: library (no_device.so), card (of fake_card.CARDS), backend, profiles, constants (over the profiles'); machine_code: false
stops at torch.compile's graphs, which are then called as they are; true goes on to the card's machine code (machine_code.py).
"""

import functools
import importlib
import json
import sys
import time
import types
from types import SimpleNamespace

import fake_card
import numpy as np

from autoresearch import constants
from autoresearch.hardware.planner import profiles
from autoresearch.paths import shipped

WARM_UP, STEPS = 2, 2


def main(job: dict) -> dict:
    started = time.perf_counter()
    card = fake_card.CARDS[job["card"]]
    library = fake_card.pretend(card, job["library"])
    sys.path[:0] = [str(shipped("backends") / folder) for folder in (job["backend"], "torch")]
    import gpu
    import torch
    import torch_runtime

    gpu.has_triton = lambda: True
    if job["machine_code"]:
        import machine_code

        machine_code.pretend(card)
    else:
        torch.compile = functools.partial(torch.compile, backend="eager")
        torch_runtime.LOSS_CHUNKS = 1  # each is the same operations once more
    importlib.import_module("runtime")
    found = {}
    for name in job["profiles"]:
        profile = profiles.load(name)
        with fake_card.watched(card, library) as (seen, memory):
            found[name] = follow(job, card, profile, seen, memory)
    started = time.perf_counter() - started
    if job["machine_code"]:
        found |= machine_code.kernels(card) | {"launches": sum(machine_code.launches.values()) / (WARM_UP + STEPS)}  # a step
    return found | {"seconds": started}


def follow(job: dict, card: fake_card.Card, profile, seen, memory: fake_card.Memory) -> dict:
    """What train.py's main does in STEPS steps after its warm-up. The lists have one entry for each step."""
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    path = shipped("backends") / "torch" / "train.py"
    train = sys.modules["train"] = types.ModuleType("train")
    text = constants.write(path.read_text(encoding="utf-8"), profile.train | job["constants"])
    exec(compile(text, str(path), "exec"), train.__dict__)
    build, trainers, waits, graphs = train.build_model, [], [], []

    def build_model(spec):
        with torch.device(card.kind):  # made there: fake tensors can't be moved by Module.to
            move, torch.nn.Module.to = torch.nn.Module.to, lambda self, *_: self
            try:
                return build(spec)
            finally:
                torch.nn.Module.to = move

    class Trainer(train.Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            trainers.append(self)

    class Run:
        spec = SimpleNamespace(vocab_size=profile.data.vocab_size, seq_len=profile.data.seq_len)
        seed, progress = 0, 0.5

        def batch(self, rows):
            tokens = np.zeros((rows, self.spec.seq_len), np.int32)
            return tokens, tokens

        stand_in = batch

        def steps(self, save, ahead):
            for step in range(STEPS):
                before, known = seen(), counters["stats"]["unique_graphs"]
                memory.most = memory.bytes
                yield step
                waits.append(seen() - before)
                graphs.append(counters["stats"]["unique_graphs"] - known)

        def describe(self, **facts):
            pass

        def report(self, loss):
            pass

    for window in {window for window in train.windows(Run.spec.seq_len) if window < Run.spec.seq_len - 1}:
        sys.modules["gpu"]._prepare_mask(Run.spec.seq_len, window, card.kind)  # else made while a graph is traced, of real tensors
    train.build_model, train.Trainer, train.measure = build_model, Trainer, SimpleNamespace(start=Run)
    train.main()
    (trainer,) = trainers
    return {
        "dtype": str(train.runtime.dtype).removeprefix("torch."), "graphs": counters["stats"]["unique_graphs"],
        "later graphs": graphs, "breaks": list(counters["graph_break"]), "shapes": len(trainer.optimizer.stacks),
        "passes": trainer.passes, "waits": waits,
        "most bytes": memory.most,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
