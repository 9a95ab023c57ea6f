"""The model of this folder, for PyTorch: `model = load()`, then `model(ids)`. Needs torch and safetensors, and numpy only where
train.py computes with it.

It runs this folder's train.py, which a program may have written and nothing here fences in: read it first. One such folder can
be loaded in a process.
"""

import contextlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))


def load(device=None, threads=CONFIG["threads"]):
    """The model, which takes ids int64 [B, T] on its device, T <= seq_len, and returns logits float32 [B, T, vocab_size].

    device: where it computes; None: where it was scored, if that is here. threads: of a CPU, as it was scored with, since another
    number may round otherwise; None: PyTorch's own.
    """
    sys.path.insert(0, str(HERE))
    import runtime
    import torch_weights

    runtime.device = torch.device(device) if device else runtime.usual_device()
    if runtime.device.type == "cpu" and threads:
        torch.set_num_threads(threads)
    measure = ModuleType("autoresearch.measure")  # what trains needs more of it
    measure.Spec = SimpleNamespace
    stand_ins = {"autoresearch": SimpleNamespace(measure=measure), "autoresearch.measure": measure}
    if importlib.util.find_spec("numpy") is None:
        stand_ins["numpy"] = SimpleNamespace(ndarray=None)  # for annotations; gone again before PyTorch looks for it
    train = sys.modules["train"] = ModuleType("train")
    with contextlib.ExitStack() as undo:
        for name in stand_ins.keys() - sys.modules.keys():
            sys.modules[name] = stand_ins[name]
            undo.callback(sys.modules.pop, name)
        text = (HERE / "train.py").read_text(encoding="utf-8")
        exec(compile(text, str(HERE / "train.py"), "exec", dont_inherit=True), train.__dict__)
    model = train.build_model(SimpleNamespace(vocab_size=CONFIG["vocab_size"], seq_len=CONFIG["seq_len"]))
    return torch_weights.load_weights(model, HERE / "model.safetensors").requires_grad_(False)


if __name__ == "__main__":
    model = load()
    ids = torch.tensor([[CONFIG["bos_id"]]], device=next(model.parameters()).device)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters; logits {tuple(model(ids).shape)}")
