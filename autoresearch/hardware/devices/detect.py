"""What works on this machine: each backend's runtime.py is asked in a child process, and the best answer is chosen.

A driver that crashes, hangs or prints nonsense becomes a reason in `Facts`, never a traceback here; a hang costs the
time limit, after which the probe's whole process tree is killed. No framework is imported in this process.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO

from autoresearch.errors import EnvironmentFailure, UsageError, nearest
from autoresearch.hardware.devices import cards
from autoresearch.hardware.devices.facts import Facts, parse
from autoresearch.hardware.devices.registry import Backend, scan
from autoresearch.processes import end_tree, environment, start

# A cold import of torch from a slow disk takes up to half a minute; a probe that needs longer than this is stuck.
PROBE_LIMIT_SECONDS = 60
ANSWER = "autoresearch.hardware.devices.answer"
LOOKING = "looking at the machine"  # what callers show meanwhile: each framework is imported, which takes seconds


@dataclass(frozen=True)
class Choice:
    """The backend to use, why, and why not each other one."""

    backend: Backend
    facts: Facts
    reason: str
    others: list[tuple[str, str]]  # (name, why not)


class ProbeFault(Exception):
    """A probe that broke its contract: no answer, or one that can't be used. One line."""


def probe(backend: Backend, timeout_seconds: float = PROBE_LIMIT_SECONDS, variables: Mapping[str, str] | None = None) -> Facts:
    """Ask one backend what it sees here. variables: of its environment, beyond ours. Never raises for what the backend does."""
    if (obstacle := why_not_asked(backend)) is not None:
        return obstacle
    try:
        facts = ask(backend, timeout_seconds, variables)
    except ProbeFault as fault:
        anew = f"install what it needs anew ({backend.install}), or " if backend.install else ""
        facts = Facts(ok=False, reason=str(fault), cure=f"{anew}report it with what `autoresearch doctor` says")
    if not facts.ok and (words := cards.by_hand(backend)):
        return replace(facts, reason=f"{facts.reason} (with {words}, which was set by hand)")
    return facts


def why_not_asked(backend: Backend) -> Facts | None:
    """The reason and cure when a backend can't even be asked: its backend.toml is wrong, or a package is missing."""
    if backend.problem is not None:
        return Facts(ok=False, reason=backend.problem)
    for name in backend.requires:
        if importlib.util.find_spec(name.partition(".")[0]) is None:  # finds, does not import
            return Facts(ok=False, reason=f"the package {name} is not installed", cure=backend.install)
    return None


def ask(backend: Backend, timeout_seconds: float = PROBE_LIMIT_SECONDS, variables: Mapping[str, str] | None = None) -> Facts:
    """The answer of a backend's probe. Raises ProbeFault."""
    # Files, not pipes: a grandchild that outlives the probe and holds a pipe open would block the read.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = start(
            # -B: the shipped folder may be read-only, and nothing is written outside the workspace and the cache.
            # -P: a file of the current folder (gpu.py, say) must not be taken for one of the backend's.
            [sys.executable, "-B", "-P", "-X", "utf8", "-m", ANSWER, str(backend.folder / "runtime.py")],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=_environment(backend) | backend.variables | dict(variables or {}),
        )
        try:
            status = child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProbeFault(f"its probe did not answer within {timeout_seconds:g} s and was stopped") from None
        finally:
            if child.poll() is None:
                end_tree(child)
        output, complaint = _lines(stdout), _lines(stderr)
    if status != 0:
        raise _fault(f"its probe ended with status {status}", complaint)
    if not output:
        raise _fault("its probe printed nothing", complaint)
    try:
        facts = parse(output[-1])
        processors = facts.threads is not None if backend.processors is None else backend.processors
        return replace(facts, processors=processors, device_id=backend.card.id if backend.card else None)
    except ValueError as error:
        raise _fault(f"its probe's answer is unusable: {error}", complaint) from error


def survey(
    backends: Mapping[str, Backend], variables: Mapping[str, str] | None = None, device: str | None = None,
    known: str | None = None, name: str = "auto",
) -> tuple[dict[str, Backend], dict[str, Facts]]:  # fmt: skip
    """(each backend on one device, its facts), by name, all asked at the same time.

    device, known: as cards.pick's, of the backend of that name, or of any. Raises UsageError where it is not to be had.
    """

    def place(backend: Backend) -> Backend | UsageError:
        is_meant = name in ("auto", backend.name)
        return _on_a_device(backend, device if is_meant else None, known if is_meant else None)

    with ThreadPoolExecutor(max_workers=max(1, len(backends))) as pool:
        picked = list(pool.map(place, backends.values()))
        refusals = [pick for pick in picked if isinstance(pick, UsageError)]
        if refusals and (name != "auto" or not any(isinstance(pick, Backend) and pick.card for pick in picked)):
            raise next((refusal for refusal in refusals if not isinstance(refusal, cards.NoDevices)), refusals[0])
        is_asked_for = device is not None or known is not None
        probed = list(pool.map(lambda pick, backend: _probed(pick, backend, variables, is_asked_for), picked, backends.values()))
    return {backend.name: backend for backend, _ in probed}, {backend.name: facts for backend, facts in probed}


def _on_a_device(backend: Backend, device: str | None, known: str | None) -> Backend | UsageError:
    try:
        return backend if why_not_asked(backend) else cards.pick(backend, device, known)
    except UsageError as refusal:
        return refusal


def _probed(
    picked: Backend | UsageError, backend: Backend, variables: Mapping[str, str] | None, is_asked_for: bool
) -> tuple[Backend, Facts]:
    """is_asked_for: another device than the picked one will not do."""
    if isinstance(picked, UsageError):
        return backend, Facts(ok=False, reason=picked.problem, cure=picked.cure)
    facts = probe(picked, variables=variables)
    if not facts.ok and picked.selected and not is_asked_for:  # its runtime may number devices in another way than devices.py
        plain = probe(backend, variables=variables)
        if plain.ok:
            taken = " and ".join(f"{name}={value}" for name, value in picked.selected.items())
            return replace(backend, card_reason=f"the first that is found; with {taken} {facts.reason}"), plain
    return picked, facts


def choose_backend(name: str, backends: Mapping[str, Backend], facts: Mapping[str, Facts]) -> Choice:
    """`auto`: the highest rank among those that work and allow it. A name: that one, or its reason and cure.

    facts may lack the backends that were not asked. Raises UsageError for a name that is unknown or does not work here,
    EnvironmentFailure when `auto` finds nothing.
    """
    if name != "auto":
        chosen = _named(name, backends, facts)
        reason = "asked for by name"
        others = [(other, "another was asked for by name") for other in backends if other != name]
        return Choice(chosen, facts[name], reason, others)
    able = [backend for backend in backends.values() if backend.auto and facts[backend.name].ok and facts[backend.name].auto]
    if not able:
        reasons = "; ".join(f"{key}: {facts[key].reason}" for key in backends if not facts[key].ok)
        cures = [facts[backend.name].cure for backend in backends.values() if backend.auto and facts[backend.name].cure]
        next_step = f"to do: {cures[-1]}" if cures else "`autoresearch doctor` says more"
        raise EnvironmentFailure(f"no backend works on this machine ({reasons or 'none is there'}); {next_step}")
    best = min(able, key=lambda backend: (-backend.rank, backend.name))
    reason = f"the highest rank ({best.rank}) among those that work here"
    others = [(backend.name, _why_not(backend, facts[backend.name], best)) for backend in backends.values() if backend is not best]
    return Choice(best, facts[best.name], reason, others)


def detect(
    name: str = "auto", variables: Mapping[str, str] | None = None, device: str | None = None, known: str | None = None,
    backends: Mapping[str, Backend] | None = None,
) -> Choice:  # fmt: skip
    """scan, pick, probe and choose in one call; when a name is given only that backend is asked. As survey.

    backends: those to choose from, by default all that train.
    """
    if backends is None:
        backends = {other: backend for other, backend in scan().items() if backend.trains or other == name}
    asked = {name: backends[name]} if name in backends else backends if name == "auto" else {}
    placed, facts = survey(asked, variables, device, known)
    return choose_backend(name, {**backends, **placed}, facts)


def _named(name: str, backends: Mapping[str, Backend], facts: Mapping[str, Facts]) -> Backend:
    if name not in backends:
        raise UsageError(f"no backend {name!r}{nearest(name, backends)} (there are: {', '.join(backends)}); name one")
    if not facts[name].ok:
        cure = facts[name].cure or "`--backend auto` takes one that does"
        raise UsageError(f"the backend {name} does not work here: {facts[name].reason}; to do: {cure}")
    return backends[name]


def _why_not(backend: Backend, facts: Facts, best: Backend) -> str:
    if not facts.ok:
        return f"{facts.reason}; to do: {facts.cure}" if facts.cure else str(facts.reason)
    if not (backend.auto and facts.auto):
        return "works, but is only taken when asked for by name"
    if backend.rank == best.rank:
        return f"works; as high in rank as {best.name}, which comes first by name"
    return f"works; rank {backend.rank} is below {best.name}'s {best.rank}"


def _environment(backend: Backend) -> dict[str, str]:
    path = [*map(str, backend.python_path), os.environ.get("PYTHONPATH", "")]
    return {**environment(), "PYTHONPATH": os.pathsep.join(part for part in path if part)}


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]


def _fault(reason: str, complaint: list[str]) -> ProbeFault:
    return ProbeFault(f"{reason}: {complaint[-1][:300]}" if complaint else reason)
