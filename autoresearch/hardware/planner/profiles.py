"""Which profile fits a device: load, list, choose.

Most specific wins: the longest device-name pattern, then the number of conditions, then the narrower range of memory.
The order of files never matters; two that tie are an error that names both.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from autoresearch.errors import UsageError, nearest
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend, scan
from autoresearch.hardware.planner.profile_file import Match, Profile, read
from autoresearch.paths import expanded, shipped

__all__ = ["Match", "Profile", "all", "check", "choose", "conditions", "load", "read", "why_not"]

ANY = ("*",)  # as a profile's backends: any of them; such a one is taken by its file's name alone
_Figure = TypeVar("_Figure", float, tuple[int, int])  # of a device: a size, or a version


def all() -> dict[str, Profile]:
    """The shipped profiles by name, and those that backends bring in their own folders."""
    return {name: read(path) for name, path in _files().items()}


def load(name_or_path: str | Path) -> Profile:
    """A profile of `all` by name, or a file of the user's (anything that ends in .toml). Raises UsageError."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        return read(expanded(text))
    files = _files()
    if text not in files:
        raise UsageError(
            f"no profile {text!r}{nearest(text, files)} (there are: {', '.join(files)}; a file of your own must end in .toml)",
            "name one",
        )
    return read(files[text])


def choose(
    name_or_auto: str | Path, backend: Backend, facts: Facts, shelf: Mapping[str, Profile] | None = None
) -> tuple[Profile, str, list[tuple[str, str]]]:
    """(profile, reason, [(other profile, why not)]) for a device that works.

    A profile that is asked for is taken even where its [match] does not hold (the reason then says so), but not for
    another backend. shelf: the profiles to choose from, default `all`. Raises UsageError.
    """
    if not backend.trains:
        if str(name_or_auto) != "auto":
            raise UsageError(f"--profile {name_or_auto}: the backend {backend.name} trains nothing; leave it out")
        return Profile.bare(backend.name), "it trains nothing, so there are no sizes", []
    shelf = all() if shelf is None else shelf
    if str(name_or_auto) != "auto":
        return _asked_for(load(name_or_auto), backend, facts, shelf)
    fitting = sorted(
        (profile for profile in shelf.values() if why_not(profile, backend.name, facts) is None),
        key=lambda profile: specificity(profile.match, facts),
        reverse=True,
    )
    if not fitting:
        raise UsageError(
            f"no profile is for the backend {backend.name} on this device; write one with "
            f'backends = ["{backend.name}"] and pass it with --profile FILE.toml'
        )
    best, *rest = fitting
    if rest and specificity(rest[0].match, facts) == specificity(best.match, facts):
        raise UsageError(
            f"the profiles {best.source} and {rest[0].source} fit this device equally well; "
            f"choose one with --profile {best.name} or --profile {rest[0].name}"
        )
    others = []
    for profile in shelf.values():
        if profile is not best:
            reason = why_not(profile, backend.name, facts)
            others.append((profile.name, reason or f"fits too, but {best.name} is more specific"))
    return best, _reason(best.match, facts), others


def why_not(profile: Profile, backend: str, facts: Facts) -> str | None:
    """The first condition of a profile that this device does not meet, in one line, or None when it fits."""
    if backend not in profile.backends:
        return f"for {' or '.join(profile.backends)}, not {backend}"
    match = profile.match
    device = (facts.device or "").lower()
    if match.name and not any(part.lower() in device for part in match.name):
        return f"for devices named {_either(match.name)}, not {facts.device or 'n/a'}"
    for condition in _ranges(match, facts):
        if not condition.holds:
            return f"for {condition.what} {condition.span}, here {condition.here}"
    return None


def check(profile: Profile, backends: Mapping[str, Backend]) -> list[str]:
    """What was checked of [train] against the train.py of each backend that is there. Raises UsageError for a fault."""
    from autoresearch import constants

    notes = ["for any backend: what one has not is left out"] if profile.backends == ANY else []
    for name in profile.backends if profile.backends != ANY else ():
        if name in backends and not backends[name].trains:
            continue
        if name not in backends or backends[name].problem:
            notes.append(f"the backend {name} is not there: its constants were not checked")
            continue
        try:
            constants.write(backends[name].train_py.read_text(encoding="utf-8"), profile.train)
        except UsageError as fault:
            raise UsageError(f"{profile.source}: [train] for the backend {name}: {fault}") from None
        notes.append(f"its {len(profile.train)} constants are in the train.py of {name}")
    if bare := without_source(profile):
        notes.append(f"no source beside {', '.join(bare)}, which a shipped profile needs")
    return notes


def without_source(profile: Profile) -> list[str]:
    """The values in a profile's file, from [data] on, that no comment says the source of; empty where there is no such file."""
    try:
        lines = Path(profile.source).read_text(encoding="utf-8").partition("[data]")[2].splitlines()
    except OSError:
        return []
    return [line.partition("=")[0].strip() for line in lines if " = " in line and "#" not in line]


def conditions(match: Match) -> str:
    """A profile's [match] in one phrase."""
    parts = [_either(match.name)] if match.name else []
    parts += [f"{condition.what} {condition.span}" for condition in _ranges(match, Facts(ok=True))]
    return ", ".join(parts) or "every device"


def specificity(match: Match, facts: Facts) -> tuple[int, int, float]:
    """The larger wins: (length of the longest name pattern that fits, number of conditions, -width in GB)."""
    device = (facts.device or "").lower()
    longest = max((len(part) for part in match.name if part.lower() in device), default=0)
    width = match.memory_gb[1] - match.memory_gb[0] if match.memory_gb and len(match.memory_gb) == 2 else math.inf
    return longest, len(match.to_dict()), -width


def _files() -> dict[str, Path]:
    """By name, sorted. The registry has seen to it that no two files have one name."""
    files = [*shipped("profiles").glob("*.toml"), *(path for backend in scan().values() for path in backend.profiles)]
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def _asked_for(
    profile: Profile, backend: Backend, facts: Facts, shelf: Mapping[str, Profile]
) -> tuple[Profile, str, list[tuple[str, str]]]:
    if profile.backends == ANY:
        profile = _for(profile, backend, facts)
    if backend.name not in profile.backends:
        fitting = [candidate.name for candidate in shelf.values() if backend.name in candidate.backends]
        raise UsageError(
            f"the profile {profile.name} is for {' or '.join(profile.backends)}, not for the backend {backend.name}; "
            f"for {backend.name} there are: {', '.join(fitting) or 'none'}"
        )
    misfit = why_not(profile, backend.name, facts)
    others = [(name, "another was asked for by name") for name in shelf if name != profile.name]
    return profile, f"asked for by name, though it is {misfit}" if misfit else "asked for by name", others


def _for(profile: Profile, backend: Backend, facts: Facts) -> Profile:
    """A profile for any backend as one for this: without what its train.py or its device has not."""
    from autoresearch import constants

    known = constants.read(backend.train_py.read_text(encoding="utf-8"))
    train = {name: value for name, value in profile.train.items() if name in known}
    offered = [(name, value) for name in facts.choices for value in facts.choices[name]]
    runtime = {name: value for name, value in profile.runtime.items() if (name, value) in offered}
    return dataclasses.replace(profile, backends=(backend.name,), train=train, runtime=runtime)


class _Range(NamedTuple):
    """A range of a profile's [match], in words, beside what the device has."""

    what: str
    span: str
    here: str
    holds: bool


def _ranges(match: Match, facts: Facts) -> Iterator[_Range]:
    """Those that the profile has."""
    if match.capability:
        yield _range("compute capability", match.capability, facts.capability)
    if match.memory_gb:
        yield _range("memory in GB", match.memory_gb, facts.memory_gb)
    if match.matmul_tflops:
        yield _range("matrix products in TFLOPS", match.matmul_tflops, facts.matmul_tflops)


def _reason(match: Match, facts: Facts) -> str:
    """What made it fit: `compute capability 8.9: 8.0 and up; memory in GB 23.6: 20 and up`."""
    held = [part for part in match.name if part.lower() in (facts.device or "").lower()]
    parts = [f"the device's name has {max(held, key=len)}"] if held else []
    parts += [f"{condition.what} {condition.here}: {condition.span}" for condition in _ranges(match, facts)]
    return "; ".join(parts) or "it fits every device of its backend, and no more specific one fits"


def _range(what: str, bounds: tuple[_Figure, ...], value: _Figure | None) -> _Range:
    """bounds: (from, below) or (from,)."""
    holds = value is not None and bounds[0] <= value and (len(bounds) == 1 or value < bounds[1])
    return _Range(what, _span(bounds), _value(value), holds)


def _span(bounds: tuple[float | tuple[int, int], ...]) -> str:
    return " to below ".join(map(_value, bounds)) if len(bounds) == 2 else f"{_value(bounds[0])} and up"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} or {len(names) - 3} more"


def _value(value: float | tuple[int, int] | None) -> str:
    if value is None:
        return "n/a"
    return ".".join(map(str, value)) if isinstance(value, tuple) else f"{value:.3g}"
