"""A torch model's state to a safetensors file and back, whatever its tensors share and wherever they lie.

Tensors that are the same piece of memory (tied embeddings, a layer used twice) are saved once; the file's metadata names their
twins. Views that overlap in part are each saved whole: right, but counted twice. Promises: loading gives every tensor of the fresh
model the value that the saved model had, or raises. Only tensors are saved: a state_dict with anything else is refused.
"""

import json
import sys
from itertools import chain
from pathlib import Path

import torch
from torch.nn.parameter import is_lazy

COMPILED = "_orig_mod."  # what torch.compile(module) puts before the names of a module's tensors


def device_of(model: torch.nn.Module) -> torch.device:
    """Where the model's tensors are; of a model that has none, the backend's device."""
    first = next(chain(model.parameters(), model.buffers()), None)
    if first is not None:
        return first.device
    return getattr(sys.modules.get("runtime"), "device", torch.device("cpu"))


def save_weights(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    state = {name.replace(COMPILED, ""): value for name, value in model.state_dict().items()}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} of the model's state_dict is {type(value).__name__}; only tensors are saved")
    kept, twins, storages = {}, {}, set()
    for first, *others in _same(state):
        value, storage = state[first].contiguous(), state[first].untyped_storage().data_ptr()
        kept[first] = value.clone() if storage in storages else value  # safetensors takes no two tensors of one storage
        storages.add(storage)
        twins |= dict.fromkeys(others, first)
    buffers = [name.replace(COMPILED, "") for name, _ in model.named_buffers(remove_duplicate=False)]
    notes = {"twins": twins, "buffers": [name for name in buffers if name in state]}
    save_file(kept, path, {"notes": json.dumps(notes)})  # one key: safetensors writes several in any order, and a digest tells


def load_weights(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """The model with the weights of the file, where the model is, ready to score.

    RuntimeError for a name or a shape that only one of both has. A buffer that the saved model had made on its way is taken over.
    """
    from safetensors import safe_open

    with safe_open(path, "pt", device=str(device_of(model))) as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        notes = json.loads((file.metadata() or {}).get("notes", "{}"))
    found |= {name: found[twin] for name, twin in notes.get("twins", {}).items()}
    names = {name.replace(COMPILED, ""): name for name in model.state_dict()}
    for group in _same({plain: model.state_dict()[name] for plain, name in names.items()}):
        there = [name for name in group if name in found]
        found |= {name: found[there[0]] for name in group if there and name not in found}
    for name in notes.get("buffers", ()):
        _make_room(model, names.get(name, name), found[name])
    names = {name.replace(COMPILED, ""): name for name in model.state_dict()}
    model.load_state_dict({names.get(plain, plain): value for plain, value in found.items()})
    return model.eval()


def _same(state: dict[str, torch.Tensor]) -> list[list[str]]:
    """Names of tensors that are one piece of memory, read in one way; most are alone."""
    groups: dict[tuple, list[str]] = {}
    for name, value in state.items():
        place: tuple = (name,)
        if not is_lazy(value) and value.numel():
            storage = value.untyped_storage().data_ptr()
            place = (value.device, storage, value.storage_offset(), value.shape, value.stride(), value.dtype)
        groups.setdefault(place, []).append(name)
    return list(groups.values())


def _make_room(model: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """A buffer that can take the value, where the fresh model has none yet, one of another shape, or one spread out by expand()."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:  # load_state_dict says it better
        return
    own = module._buffers.get(leaf)
    is_spread = own is not None and any(size > 1 and step == 0 for size, step in zip(own.shape, own.stride(), strict=True))
    if getattr(module, leaf, None) is None or (own is not None and (own.shape != value.shape or is_spread)):
        module.register_buffer(leaf, torch.empty_like(value))
