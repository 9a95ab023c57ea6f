"""What `doctor` says, as one JSON-able dict: this system, every backend, and what a run would use and why.

It is meant to be pasted into a bug report, so the home folder and the user's name are taken out of every text in it.
"""

import getpass
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any

from autoresearch import __version__
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.devices import detect, registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.now import awake, conditions
from autoresearch.hardware.planner import plan, profiles
from autoresearch.hardware.planner.plan import forecast
from autoresearch.paths import cache_dir
from autoresearch.run import disk
from autoresearch.sandbox import fence, levels


def examine(
    backend: str = "auto", profile: str = "auto", corpus: str = "auto", sandbox: str = "auto", device: str | None = None
) -> dict[str, Any]:
    """The whole report; `chosen` is None and `problem` one line when no backend works here.
    `problem` is there, too, when the chosen one does not work in the sandbox.

    Raises UsageError for a backend, a profile or a corpus that is unknown or does not fit.
    """
    backends = registry.scan()
    if profile != "auto":
        profiles.load(profile)  # a wrong name is said before the seconds that the probes take
    placed, facts = detect.survey(backends if backend in ("auto", *backends) else {}, device=device, name=backend)
    backends |= placed
    report = _system()
    try:
        choice = detect.choose_backend(backend, backends, facts)
    except EnvironmentFailure as problem:
        report["problem"], report["chosen"] = str(problem), None
    else:
        from autoresearch.checks import in_cell  # with numpy, which --help must not wait for

        refused = in_cell.probe_in_cell(choice.backend, levels.choose(sandbox, is_shipped=True))
        report["problem"] = refused and f"{choice.backend.name} works, but not in the sandbox that trainings get: {refused}"
        report["chosen"] = _chosen(plan.from_choice(choice, profile), corpus, profile == "auto")
    # When the probes are over, which are a load themselves.
    report["now"] = conditions.look(choice.backend if report["chosen"] else None).to_dict()
    report["sleep"] = awake.note()
    report["backends"] = [
        {"name": known.name, "title": known.title, "rank": known.rank, "auto": known.auto, "facts": facts[known.name].to_dict()}
        for known in backends.values()
    ]
    shown: dict[str, Any] = anonymous(report)
    return shown


def describe(facts: Facts) -> str:
    """A device in one phrase, with what is known of it."""
    parts = [str(facts.device)]
    if facts.count and facts.count > 1:
        parts.append(f"the first of {facts.count}")
    if facts.memory_gb is not None:
        parts.append(f"{facts.memory_gb:.1f} GB")
    if facts.capability:
        parts.append("compute capability {}.{}".format(*facts.capability))
    if facts.cores:
        parts.append(f"{facts.cores} cores")
    if facts.matmul_tflops:
        parts.append(f"matrix products at {facts.matmul_tflops:.2f} TFLOPS")
    return ", ".join(parts)


def anonymous(value: Any) -> Any:
    """The same structure with the home folder written as ~, the user's name in paths as <user>, and no device's id."""
    if isinstance(value, dict):
        return {key: anonymous(part) for key, part in value.items() if key != "device_id"}
    if isinstance(value, list):
        return [anonymous(part) for part in value]
    if not isinstance(value, str):
        return value
    for pattern, replacement in _private():
        value = re.sub(pattern, replacement, value)
    return value


def _private() -> list[tuple[str, str]]:
    """(pattern, replacement): whole folders only, with either kind of slash."""
    end = r"(?![^/\\\s:;,'\"])"
    home = str(Path.home())
    patterns = []
    if len(Path(home).parts) > 1:  # not "/"
        either = re.escape(home).replace(re.escape(os.sep), r"[/\\]+")
        patterns.append((either + end, "~"))
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return patterns
    return [*patterns, (r"(?<=[/\\])" + re.escape(user) + end, "<user>")]


def _system() -> dict[str, Any]:
    import psutil

    cache = cache_dir()
    return {
        "autoresearch": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "memory_bytes": psutil.virtual_memory().total,
        "cores": psutil.cpu_count(logical=False),
        "sandbox": levels.reach().to_dict(),
        "folder": disk.warning(Path.cwd()),
        "agent_fence": fence.told(fence.reach()[0]),
        "cache": {"folder": str(cache), "free_bytes": shutil.disk_usage(cache).free},
    }


def _chosen(made: plan.Plan, corpus: str, is_auto: bool) -> dict[str, Any]:
    """is_auto: the profile's sizes are autotune's, where it has been here before."""
    from autoresearch.data import corpora
    from autoresearch.hardware.autotune import tune

    tuned = tune.remembered(made) if is_auto else None
    made = made if tuned is None else plan.informed(tune.applied(made, tuned))
    corpus_name, corpus_reason = corpora.choose(corpus, made.profile.sizes.corpus)
    prediction = forecast(made.choice.backend, made.choice.facts, made.profile, None if tuned is None else tuned.limits.known)
    return {
        "backend": made.choice.backend.name,
        "backend_reason": made.choice.reason,
        "backend_others": [{"name": name, "reason": reason} for name, reason in made.choice.others],
        "device_reason": made.choice.backend.card_reason,
        "profile": made.profile.to_dict(),
        "facts": made.choice.facts.to_dict(),
        "profile_reason": made.profile_reason,
        "profile_others": [{"name": name, "reason": reason} for name, reason in made.profile_others],
        "corpus": corpus_name,
        "corpus_reason": corpus_reason,
        "autotune": tuned and tune.lines(tuned, made.profile.budget.train_seconds),
        "prediction": prediction and prediction.to_dict(),
    }
