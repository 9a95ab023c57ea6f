"""What XLA asks for when it compiles a step of backends/jax/train.py for a CPU, against the planner's peak; nothing is run.

    python benchmarks/jax_memory.py

Table in docs/design/jax.md.
"""

import os
import sys
import types
from dataclasses import replace

os.environ["AUTORESEARCH_DTYPE"] = "float32"  # a CPU computes bfloat16 in copies of float32

from autoresearch import constants
from autoresearch.hardware.devices import registry
from autoresearch.hardware.planner import memory, profiles
from autoresearch.hardware.planner.memory import Layout
from autoresearch.hardware.planner.model import Sizes

BACKEND = registry.scan()["jax"]
sys.path[:0] = map(str, BACKEND.python_path)
LAYOUT = Layout(product_bytes=4, attention="xla", workspace_bytes=0)
# depth, head_dim, seq_len, rows, passes, vocab_size
CASES = (
    (4, 64, 256, 8, 1, 4096), (4, 64, 1024, 2, 1, 4096), (4, 64, 2048, 1, 1, 4096), (4, 64, 2048, 2, 1, 4096),
    (6, 64, 1024, 4, 1, 4096), (4, 64, 1024, 4, 2, 4096), (6, 128, 1024, 2, 2, 8192), (6, 128, 1024, 8, 1, 8192),
)  # fmt: skip


def asked(text: str, vocab_size: int, seq_len: int) -> int:
    """Bytes of a step's arguments and temporaries."""
    import jax
    import numpy as np

    train = types.ModuleType("train")
    exec(compile(text, "train.py", "exec"), train.__dict__)
    spec = types.SimpleNamespace(vocab_size=vocab_size, seq_len=seq_len)
    model, trainer = train.GPT.__new__(train.GPT), train.Trainer.__new__(train.Trainer)
    model.windows, model.weights = train.windows(seq_len), jax.eval_shape(lambda: train.build_model(spec).weights)
    trainer.model, trainer.rows = model, train.DEVICE_BATCH_SIZE
    trainer.passes = train.TOTAL_BATCH_SIZE // (trainer.rows * seq_len)
    tokens = jax.ShapeDtypeStruct((trainer.passes, trainer.rows, seq_len), np.int32)
    step = jax.jit(trainer._step, donate_argnums=(0, 1))
    lowered = step.lower(model.weights, jax.eval_shape(train.initial_state, model.weights), tokens, tokens, 1.0, 0.95, 0.1)
    found = lowered.compile().memory_analysis()
    return found.temp_size_in_bytes + found.argument_size_in_bytes


def main() -> None:
    source, base = BACKEND.train_py.read_text(encoding="utf-8"), profiles.load("jax-cpu")
    for depth, head_dim, seq_len, rows, passes, vocab_size in CASES:
        values = {"DEPTH": depth, "HEAD_DIM": head_dim, "DEVICE_BATCH_SIZE": rows, "TOTAL_BATCH_SIZE": rows * passes * seq_len}
        data = replace(base.data, vocab_size=vocab_size, seq_len=seq_len)
        sizes = Sizes.of(replace(base, train=base.train | values, data=data), source)
        planned = memory.training_bytes(sizes, LAYOUT)
        found = asked(constants.write(source, base.train | values), vocab_size, seq_len)
        shape = f"depth {depth}, heads of {head_dim}, {rows} x {seq_len} tokens, {passes} passes"
        print(f"{shape}: XLA {found / 2**20:,.0f} MB, planner {planned / 2**20:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
