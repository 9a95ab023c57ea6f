"""What a run on this machine would use: backend, facts, profile, each with its reason and with why not the others."""

from dataclasses import dataclass

from autoresearch.hardware import detect, profiles
from autoresearch.hardware.detect import Choice
from autoresearch.hardware.profiles import Profile


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
    return Plan(choice, *profiles.choose(profile, choice.backend, choice.facts))
