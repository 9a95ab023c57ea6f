"""The golden state, read and compared with. golden.json's "deviations" says the same in words."""

import json

import numpy as np

from autoresearch.paths import PACKAGE

FOLDER = PACKAGE / "checks" / "conformance"
ABOUT = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))


def load() -> dict[str, np.ndarray]:
    """The arrays by key; tests/golden/make.py lists them."""
    with np.load(FOLDER / "golden.npz") as file:
        return dict(file)


def part(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays of `prefix/NAME` by NAME."""
    return {key.removeprefix(f"{prefix}/"): value for key, value in state.items() if key.startswith(f"{prefix}/")}


def deviations(ours: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> dict[str, float]:
    """By quantity. ours has logits, token_loss, gradients/NAME, losses and after/NAME, as the state has."""
    found = {name: float(np.abs(ours[name] - state[name]).max()) for name in ("logits", "token_loss", "losses")}
    for prefix in ("gradients", "after"):
        found[prefix] = float(np.max(list(_relative(ours, state, prefix).values())))  # NaN stays NaN
    return found


def beyond(found: dict[str, float], dtype: str) -> dict[str, float]:
    """The deviations that are not within the dtype's tolerances; one that is not a number is beyond all."""
    return {name: value for name, value in found.items() if not value <= ABOUT["tolerances"][dtype][name]}


def _relative(ours, state, prefix) -> dict[str, float]:
    found = {}
    for name, golden in part(state, prefix).items():
        size = golden - state[f"weights/{name}"] if prefix == "after" else golden  # how far training moved it
        found[name] = float(np.linalg.norm(ours[f"{prefix}/{name}"] - golden) / np.linalg.norm(size))
    return found
