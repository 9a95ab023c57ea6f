"""What train.py asks of a device, for answering only: the names of autoresearch's own runtime that a forward pass needs.

attention.py and torch_weights.py, which lie beside it, are those that the model was scored with.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from attention import attention, band  # noqa: F401
from torch_weights import load_weights, save_weights  # noqa: F401

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
device: torch.device  # `load` sets it
dtype = getattr(torch, CONFIG["dtype"])
embedding = F.embedding
loss_scale = 1.0


def usual_device() -> torch.device:
    cpu = torch.device("cpu")
    return cpu if CONFIG["backend"] == "cpu" else torch.accelerator.current_accelerator(check_available=True) or cpu


def compile(function):
    """Scoring runs eagerly."""
    return function


def seed(number: int) -> None:
    torch.manual_seed(number)


def synchronize() -> None:
    pass


def __getattr__(name: str):
    raise AttributeError(f"no {name} here: this runtime answers and does not train, which takes autoresearch's own")
