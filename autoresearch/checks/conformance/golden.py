"""A backend against the golden state: logits, token loss, ten training steps and the weights after them.

golden.json has the sizes, the constants, how each deviation is taken and its tolerance for each dtype; golden.npz has the arrays.
Both come from a float64 reference that is written in numpy and knows no framework (tests/golden). Gradients are not compared here:
no two frameworks hand them out alike, and the weights after ten steps are made of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch.checks.conformance.contracts import Fault
from autoresearch.checks.conformance.subject import LIMIT_SECONDS, PROBE, PROTOCOL, Subject, files
from autoresearch.child import OurOwn, RunFailed, Worker
from autoresearch.run.setup import job_for

_FOLDER = Path(__file__).resolve().parent


def compare(subject: Subject, dtype: str, variables: dict[str, str]) -> str:
    """The figure of a backend that computes in dtype. variables: of its process's environment. Raises Fault and RunFailed."""
    about = json.loads((_FOLDER / "golden.json").read_text(encoding="utf-8"))
    if dtype not in about["tolerances"]:
        raise Fault(f"there are no tolerances for {dtype}; name one of {', '.join(about['tolerances'])} as dtype in the probe")
    with np.load(_FOLDER / "golden.npz", allow_pickle=False) as arrays:
        state = dict(arrays)
    try:
        deviations = _deviations(subject, about, state, variables, f"golden-{dtype if variables else 'own'}")
    except RunFailed as failure:
        raise Fault(
            f"{failure.reason}; train.py must offer build_model and Trainer(model, seq_len) with step(get_batch, progress), and "
            "load_weights must read torch's tensor names", failure.kind,
        ) from failure  # fmt: skip
    tolerances = about["tolerances"][dtype]
    figure = f"{dtype}: " + ", ".join(f"{name} {value:.1e}" for name, value in deviations.items())
    for name, value in deviations.items():
        if not value <= tolerances[name]:
            hint = f"does the runtime take its dtype from {' '.join(variables)}? Then " if variables else ""
            raise Fault(f"{name} deviates by {value:.1e} where {tolerances[name]:g} is allowed; {hint}{_CAUSES[name]}", figure)
    return figure


_CAUSES = {
    "logits": "compare rotation, window, norms, gates and soft cap with backends/torch/train.py",
    "token_loss": "compare rotation, window, norms, gates and soft cap with backends/torch/train.py",
    "losses": "logits are right: compare the loss, accumulation, the optimizers and the schedules with backends/torch/train.py",
    "after": "losses are right: compare weight decay, and that each weight has its optimizer, with backends/torch/train.py",
}


def _deviations(
    subject: Subject, about: dict[str, Any], state: Mapping[str, np.ndarray], variables: dict[str, str], name: str
) -> dict[str, float]:
    from safetensors.numpy import load_file, save_file

    setup = subject.resized(about["vocab_size"], about["seq_len"])
    folder = subject.new_folder(name, about["constants"])
    start = _part(state, "weights")
    save_file(start, folder / "checkpoint")

    ids = state["ids"]
    np.save(folder / "ids.npy", np.ascontiguousarray(ids[0, :, :-1]))
    np.save(folder / "steps.npy", ids)
    job = job_for(setup, folder) | files(folder) | {"type": "trainer", "checkpoint": str(folder / "checkpoint")}
    job |= {"steps": str(folder / "steps.npy"), "after": str(folder / "after")}
    with Worker(job, folder, PROTOCOL, PROBE, subject.variables | variables, cell=OurOwn(subject.backend.name)) as worker:
        losses = worker.wait("done", LIMIT_SECONDS, f"made no ten steps within {LIMIT_SECONDS:.0f} s")["losses"]
    logits = np.load(folder / "logits.npy")

    after, golden_after = load_file(folder / "after"), _part(state, "after")
    form, golden_form = ({key: (value.shape, str(value.dtype)) for key, value in side.items()} for side in (after, golden_after))
    if form != golden_form:
        different = sorted({key for key, _ in set(form.items()) ^ set(golden_form.items())})
        actual = form.get(different[0], "not there")
        raise Fault(f"the checkpoint's {different[0]} is {actual}; names, shapes and float32 must be those of torch's state_dict")
    return {
        "logits": _largest(logits - state["logits"]),
        "token_loss": _largest(_token_loss(logits, ids[0, :, 1:]) - state["token_loss"]),
        "losses": _largest(np.array(losses) - state["losses"]),
        "after": max(_norm(after[key] - golden_after[key]) / _norm(golden_after[key] - start[key]) for key in start),
    }


def _part(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in state.items() if key.startswith(f"{prefix}/")}


def _token_loss(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats, float64: logits [B, T, V], targets [B, T] -> [B, T]."""
    values = logits.astype(np.float64)
    top = values.max(axis=-1, keepdims=True)
    total: np.ndarray = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
    return total - np.take_along_axis(values, targets[..., None], axis=-1)[..., 0]


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())


def _norm(difference: np.ndarray) -> float:
    return float(np.linalg.norm(difference.astype(np.float64)))
