"""What a run would be here: the planner's figures for one profile on the device that was found.

The one place where a `Machine` is made for doctor and bench: who has measured a limit of the device passes it in.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autoresearch.hardware import cores
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import predict
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine, Prediction
from autoresearch.hardware.planner.profiles import Profile


@dataclass(frozen=True)
class Forecast:
    machine: Machine
    prediction: Prediction

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: {"limits": {name: {value, kind, reason} or None}, figure of Prediction: {value, error} or None, ...}."""
        limits = {name: asdict(self.machine)[name] for name in ("matmul_flops", "bandwidth")}
        return {"memory_bytes": self.machine.memory_bytes, "limits": limits} | asdict(self.prediction)


def forecast(backend: Backend, facts: Facts, profile: Profile, measured: Mapping[str, float] | None = None) -> Forecast | None:
    """None where the planner does not know the model: a simulated backend, a train.py without its constants, impossible sizes.

    measured: what Machine.of takes; the scorer's cores are this computer's unless they are given.
    """
    machine = Machine.of(facts, {"cores": cores.usable()} | dict(measured or {}))
    try:
        sizes = None if backend.simulated else Sizes.of(profile, backend.train_py.read_text(encoding="utf-8"))
        if sizes is None:
            return None
        prediction = predict.predict(sizes, machine, profile.budget.train_seconds, profile.data.eval_bytes)
    except (ArithmeticError, TypeError, ValueError):  # a user's HEAD_DIM = 0, MLP_RATIO = "x": the training says what is wrong
        return None
    return Forecast(machine, prediction)
