"""The model of this folder, for JAX: `model = load()`, then `model(ids)`. Needs jax and safetensors alone.

It runs this folder's train.py, which a program may have written and nothing here fences in: read it first. One such folder can
be loaded in a process.
"""

import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax.numpy as jnp

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))


def load():
    """The model, which takes ids int [B, T], T <= seq_len, and returns logits float32 [B, T, vocab_size]."""
    sys.path.insert(0, str(HERE))
    import runtime

    measure = ModuleType("autoresearch.measure")  # what trains needs more of it
    measure.Spec = SimpleNamespace
    stand_ins = {"autoresearch": SimpleNamespace(measure=measure), "autoresearch.measure": measure}
    train = sys.modules["train"] = ModuleType("train")
    with contextlib.ExitStack() as undo:
        for name in stand_ins.keys() - sys.modules.keys():
            sys.modules[name] = stand_ins[name]
            undo.callback(sys.modules.pop, name)
        text = (HERE / "train.py").read_text(encoding="utf-8")
        exec(compile(text, str(HERE / "train.py"), "exec", dont_inherit=True), train.__dict__)
    model = train.build_model(SimpleNamespace(vocab_size=CONFIG["vocab_size"], seq_len=CONFIG["seq_len"]))
    return runtime.load_weights(model, HERE / "model.safetensors")


if __name__ == "__main__":
    print(f"logits {load()(jnp.array([[CONFIG['bos_id']]])).shape}")
