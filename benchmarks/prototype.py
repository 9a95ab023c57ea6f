"""What `--profile auto` has to beat: upstream's model and optimizer as one would first write them down for this machine.

    python benchmarks/prototype.py [--corpus NAME|PATH] [--cell 4x256x512x4096x8192] [--seconds 300]

The cell is depth, width, rows' length, vocabulary and tokens a step. Rows are the text in its order, one after the other; the model
is compiled by torch.compile with PyTorch's own attention and loss, on all cores, in AUTORESEARCH_DTYPE (float32); two steps before
the clock. It is scored on the same texts, and cut in the same rows, as every run of ours; a line in results/prototype.jsonl.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from autoresearch import choices, constants
from autoresearch.data.prepare import prepare
from autoresearch.hardware.devices import detect
from autoresearch.measure import worker
from autoresearch.measure.bpb import ValidationText, target_bits

RESULTS = Path(__file__).parent / "results" / "prototype.jsonl"
UPSTREAM = {"KEY_OFFSET": 0, "ROTARY_SHARE": 1, "PAIR_ROWS": 0, "WINDOW_PATTERN": "L"}
EVAL_BYTES = 400_000  # as the profile cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--cell", default="4x256x512x4096x8192")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1337)
    options = parser.parse_args()
    depth, width, seq_len, vocab_size, batch = map(int, options.cell.split("x"))
    prepared, backend = prepare(options.corpus, vocab_size), detect.scan()["cpu"]
    runtime = plain_runtime(backend)
    values = UPSTREAM | {"DEPTH": depth, "ASPECT_RATIO": round(width / depth), "HEAD_DIM": 128 if width % 128 == 0 else 64}
    with tempfile.TemporaryDirectory() as folder:
        train_py = Path(folder, "train.py")
        train_py.write_text(constants.write(backend.train_py.read_text(encoding="utf-8"), values), encoding="utf-8")
        train = worker.execute(str(train_py), "train")
    torch.manual_seed(options.seed)
    model = train.build_model(SimpleNamespace(vocab_size=vocab_size, seq_len=seq_len))
    optimizer, loss = train.Optimizer(model), torch.compile(model.loss)
    tokens = np.fromfile(prepared.train_folder / "tokens.bin", prepared.dtype)

    def step(position: int, progress: float) -> None:
        place = np.arange(position, position + batch + 1) % len(tokens)
        row = torch.from_numpy(tokens[place].astype(np.int64))
        loss(row[:-1].view(-1, seq_len), row[1:].view(-1, seq_len)).backward()
        optimizer.step(progress)
        for parameter in model.parameters():
            parameter.grad = None

    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        step(0, 0.0)
    model.load_state_dict(before)
    optimizer.reset()
    steps, start = 0, time.perf_counter()
    while (now := time.perf_counter() - start) < options.seconds:
        step(steps * batch, now / options.seconds)
        steps += 1
    found = vars(options) | {"dtype": str(runtime.dtype), "threads": torch.get_num_threads()}
    found |= {"steps": steps, "tokens": steps * batch}
    found |= {f"{name}_bpb": bpb(model, prepared, prepared.folder / name, seq_len, vocab_size, runtime) for name in ("val", "test")}
    print(json.dumps(found))
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


def plain_runtime(backend) -> SimpleNamespace:
    """The module `runtime` of a train.py, with nothing of ours in it that is there for speed."""
    sys.path[:0] = map(str, backend.python_path)
    import torch_runtime

    runtime = sys.modules["runtime"] = SimpleNamespace(**vars(torch_runtime))
    runtime.device, runtime.loss_scale = torch.device("cpu"), 1.0
    runtime.dtype = getattr(torch, os.environ.get(choices.VARIABLES["dtype"], "float32"))
    runtime.muon_dtype = lambda dtype: torch.float32
    runtime.compile = torch.compile

    def cross_entropy(hidden, weight, targets, softcap):
        logits = softcap * torch.tanh((hidden @ weight.to(hidden.dtype).T).float() / softcap)
        return F.cross_entropy(logits, targets)

    runtime.cross_entropy = cross_entropy
    return runtime


def bpb(model, prepared, folder: Path, seq_len: int, vocab_size: int, runtime) -> float:
    text = ValidationText.load(folder, np.load(prepared.folder / "token_bytes.npy"), prepared.dtype, EVAL_BYTES)
    inputs, targets = text.rows(seq_len)
    bits = np.empty(targets.shape, np.float32)
    for first in range(0, len(inputs), 8):
        out = np.empty((len(inputs[first : first + 8]), seq_len, vocab_size), np.float32)
        runtime.logits(model, inputs[first : first + 8], out)
        goal = targets[first : first + 8]
        bits[first : first + 8] = target_bits(out.reshape(-1, vocab_size), goal.ravel()).reshape(goal.shape)
    return float(text.document_bits(bits.ravel()[: len(text.tokens) - 1]).sum() / text.total_bytes)


if __name__ == "__main__":
    main()
