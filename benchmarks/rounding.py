"""How much a GPT's log-probabilities differ in bfloat16 when only kernels differ: `python benchmarks/rounding.py [--steps 80]`.

A GPT of depth 3 and width 96 is trained in float32 on a made-up text, then asked in bfloat16 for the same targets three times: as
it is; with attention by plain products; with the sums of every linear layer in two halves. Such is what an honest model may show in
an audit when its kernels depend on the batch.
"""

import argparse
import sys
import types
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
VOCAB_SIZE, SEQ_LEN, ROWS, HELD_OUT = 256, 128, 1400, 30
SIZES = {"DEPTH": 3, "ASPECT_RATIO": 32, "HEAD_DIM": 32, "DEVICE_BATCH_SIZE": 16, "TOTAL_BATCH_SIZE": 2048}


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "backends" / "cpu"), str(ROOT / "backends" / "torch")]
    import runtime
    import torch

    from autoresearch import constants

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=80)
    steps = parser.parse_args().steps
    runtime.dtype, runtime.compile = torch.float32, lambda function: function
    train = types.ModuleType("train")
    exec(constants.write((ROOT / "backends" / "torch" / "train.py").read_text(encoding="utf-8"), SIZES), train.__dict__)
    torch.manual_seed(0)
    model = train.build_model(types.SimpleNamespace(vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN))
    trainer, tokens, taken = train.Trainer(model, SEQ_LEN), text(), 0

    def get_batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal taken
        batch = tokens[(taken + np.arange(rows)) % ROWS]
        taken += rows
        return np.ascontiguousarray(batch[:, :-1]), np.ascontiguousarray(batch[:, 1:])

    for step in range(steps):
        trainer.step(get_batch, step / steps)
    runtime.dtype, model.cos, model.sin = torch.bfloat16, model.cos.bfloat16(), model.sin.bfloat16()
    held_out = torch.from_numpy(tokens[ROWS:].astype(np.int64))

    def nats() -> np.ndarray:
        with torch.inference_mode():
            odds = torch.log_softmax(model(held_out[:, :-1]), -1)
        return -odds.gather(2, held_out[:, 1:, None])[..., 0].numpy().astype(np.float64)

    def plain(q, k, v, window):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        distance = torch.arange(q.size(2))[:, None] - torch.arange(q.size(2))
        score = (q @ k.mT * q.size(-1) ** -0.5).masked_fill((distance < 0) | (distance > window), -1e9)
        return (score.float().softmax(-1).to(v.dtype) @ v).transpose(1, 2)

    def halves(x, weight):
        middle, weight = x.size(-1) // 2, weight.to(x.dtype)
        return x[..., :middle] @ weight[:, :middle].T + x[..., middle:] @ weight[:, middle:].T

    as_it_is = nats()
    print(f"{as_it_is.size} targets, {as_it_is.mean():.3f} nats each")
    for name, owner, attribute, other in (
        ("plain attention", runtime, "attention", plain),
        ("sums in two halves", train, "linear", halves),
    ):
        kept = getattr(owner, attribute)
        setattr(owner, attribute, other)
        difference = nats() - as_it_is
        setattr(owner, attribute, kept)
        print(
            f"{name:<20} rms {difference.std():.4f}, mean {difference.mean():+.5f}, worst {np.abs(difference).max():.4f} nats",
            flush=True,
        )


def text() -> np.ndarray:
    """int32 [ROWS + HELD_OUT, SEQ_LEN + 1]: each token follows from the one before it, or from the one before that."""
    rng = np.random.default_rng(0)
    sums = rng.dirichlet(np.full(VOCAB_SIZE, 0.05), size=VOCAB_SIZE).cumsum(1)
    columns = [rng.integers(VOCAB_SIZE, size=ROWS + HELD_OUT)] * 2
    for _ in range(SEQ_LEN):
        cause = np.where(rng.random(ROWS + HELD_OUT) < 0.7, columns[-1], columns[-2])
        following = (sums[cause] < rng.random((ROWS + HELD_OUT, 1))).sum(1)
        columns.append(np.minimum(following, VOCAB_SIZE - 1))
    return np.stack(columns[1:], 1).astype(np.int32)


if __name__ == "__main__":
    main()
