"""What a run on this machine would use: backend, facts, profile, each with its reason and with why not the others."""

from dataclasses import dataclass, replace

from autoresearch import choices
from autoresearch.errors import UsageError
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.detect import Choice
from autoresearch.hardware.planner import profiles
from autoresearch.hardware.planner.profiles import Profile


@dataclass(frozen=True)
class Plan:
    choice: Choice
    profile: Profile
    profile_reason: str
    profile_others: list[tuple[str, str]]  # (name, why not)


def make(backend: str = "auto", profile: str = "auto") -> Plan:
    """Detect and choose. Raises UsageError for a name that is unknown or does not fit, EnvironmentFailure for nothing."""
    return from_choice(detect.detect(backend), profile)


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
