"""What a run on this machine would use: backend, facts, profile, each with its reason and with why not the others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoresearch import choices
from autoresearch.errors import UsageError
from autoresearch.hardware import cores
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import predict, profiles
from autoresearch.hardware.planner.model import Sizes
from autoresearch.hardware.planner.predict import Machine, Prediction
from autoresearch.hardware.planner.profiles import Profile


@dataclass(frozen=True)
class Plan:
    choice: Choice
    profile: Profile
    profile_reason: str
    profile_others: list[tuple[str, str]]  # (name, why not)


def make(
    backend: str = "auto", profile: str = "auto", device: str | None = None, backends: Mapping[str, Backend] | None = None
) -> Plan:
    """Detect and choose. backends: those to choose from, by default all.

    Raises UsageError for a name that is unknown or does not fit, EnvironmentFailure for nothing.
    """
    return from_choice(detect.detect(backend, device=device, backends=backends), profile)


def from_choice(choice: Choice, profile: str = "auto") -> Plan:
    return informed(Plan(choice, *profiles.choose(profile, choice.backend, choice.facts)))


def informed(made: Plan) -> Plan:
    """The plan with the facts as they are under the profile's [runtime]: asked again, since one choice may bring another.

    Raises UsageError for a choice that this device has not.
    """
    asked, backend = made.profile.runtime, made.choice.backend
    if not asked:
        return made
    facts = detect.probe(backend, variables=choices.variables(asked))
    if not facts.ok:
        raise UsageError(f"the profile {made.profile.name} does not work here: {facts.reason}", facts.cure or "choose another")
    for name, value in asked.items():
        if getattr(facts, name) != value:  # it does not read that variable
            problem = f"{made.profile.source}: [runtime] {name}: the backend {backend.name} has no choice of it"
            raise UsageError(problem, "remove it there")
    return replace(made, choice=replace(made.choice, facts=facts))


# What a run would be here: the planner's figures for one profile on the device that was found


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
        prediction = predict.predict(sizes, machine, profile.budget.train_seconds, profile.sizes.eval_bytes)
    except (ArithmeticError, TypeError, ValueError):  # a user's HEAD_DIM = 0, MLP_RATIO = "x": the training says what is wrong
        return None
    return Forecast(machine, prediction)
