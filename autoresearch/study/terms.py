"""What a study never changes half-way: the options it was begun with, the machine, the text, the code that measures.

Each check says what differs, from what to what, and how to go on: scores measured under different terms don't compare.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch import choices, paths
from autoresearch.data import corpora
from autoresearch.data.progress import OnProgress, silent
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.hardware.devices import accelerator, cards, detect
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import profiles
from autoresearch.paths import typed
from autoresearch.run.setup import Setup
from autoresearch.sandbox import policy
from autoresearch.task import registry as tasks
from autoresearch.task.prepared import code
from autoresearch.task.table import Prepared, Source, Table

if TYPE_CHECKING:
    from autoresearch.study.workspace import Study

_NEW = "or begin a new study in another folder: `autoresearch run --workspace NEW_FOLDER`"
# Facts that are measured anew at each start, or that change nothing in a score, are left out.
# Of earlier code that gives the same scores (other words and types; how a compiler is called): studies that began with it go on.
SAME_SCORES = frozenset({
    "24a501510e53a615df8885e56b65fad9",  # measure/, before its types
    "255757bc6dbda35715504ee6fb11bc68",  # measure/, before a device was given a step ahead
    "bffe66791d5a7a095a5e3c4c49f051e8",  # measure/, before it waited for whoever holds a file on Windows
    "89f8b7276b3d126963e2fb0beb70d27b",  # measure/, before there were tasks
    "297ab8eb86bde598c5aa71ed89d7fcc8",  # cpu, the same
    "641f14926d67e603622fe75e18957e5d",  # cpu, before its compiler was tried and paths were quoted
    "4fde920ceb2b7d09accbd02dd17cdf2d",  # mlx, before it had limits of memory
    "f1c65a847bc625828ee2415b7015bc33",  # cpu, before kernels had short names on Windows
    "7f8d55595366a894aa290f65670651f0",  # cuda, the same
    "dfb42e6bfe51b0eec8b8d32add9c0ba8",  # rocm, before float16 was decided on the device
    "91386f0e9991a520242aefa879eb3109",  # xpu, the same
    "00e829b97ccd8959892af24c6f18e735",  # null, before it could play several cards
    "380a97621f3dc8314fc1983e34b40fac",  # null, before it refused a list of devices that is none
    "dd89fcef64319d312e27277d4fc980eb",  # null, before models of other arrays than its table
    "e6befc0238f3462e33ecabb1925551c8",  # the task command, before a word of its messages
    "939336d6be204ba04c28b4c751bb080c",  # finetune, the same
})  # fmt: skip
_COMPARED = ("device", "dtype", "compile", "attention")


def ready(
    study: "Study", sandbox: int, on_progress: OnProgress | None = None, device: str | None = None,
    on_changes: Callable[[list[str]], None] | None = None,
) -> Setup:  # fmt: skip
    """Look at the machine and the prepared text again, and return what every run of the study needs. sandbox: the cells' level.
    device: another one than the study began on, which has to be like it. on_changes: is told what is not as the study began with,
    for what writes nothing into it; by default that is refused.

    Raises UsageError naming what changed, UsageError or EnvironmentFailure when the backend or the text can't be had.
    """
    on_progress = on_progress or silent
    tasks.find(study.task.named)
    on_progress(detect.LOOKING, 0, None)
    asked = choices.settled(study.profile.runtime, study.facts.dtype)
    choice = detect.detect(study.backend, asked, device, study.facts.device_id, tasks.backends(study.task))
    if on_changes is None:
        check_machine(study, choice.backend, choice.facts)
    elif changes := changes_of(study, choice.backend, choice.facts):
        on_changes(changes)
    built = setup(study, choice.backend, prepared_again(study, on_progress), sandbox)
    policy.check_hidden(sandbox, built.task.hidden(), choice.backend.sandbox)
    return built


def setup(study: "Study", backend: Backend, prepared: Prepared, sandbox: int) -> Setup:
    return Setup(
        backend=backend,
        task=tasks.bound(study.task, prepared, study.options, study.profile.data),
        train_seconds=study.profile.budget.train_seconds,
        startup_limit_seconds=study.profile.budget.startup_limit_seconds,
        sandbox=sandbox,
        peak_flops=study.facts.peak_flops,
        constraints=study.constraints,
        variables=backend.variables | choices.settled(study.profile.runtime, study.facts.dtype),
    )


def check_options(study: "Study", options: Mapping[str, Any]) -> None:
    """UsageError when an option was given (not None, not "auto") that is not what the study has locked.

    options: any of task, tag, profile, backend, corpus, decide, stop_early, seed, train_seconds and the task's own; others are none
    of the study's terms.
    """
    given = {name: value for name, value in options.items() if value is not None and value != "auto"}
    if "profile" in given:
        _check_profile(study, given.pop("profile"))
    if "corpus" in given and given["corpus"] != study.corpus:
        given["corpus"] = corpora.resolved(given["corpus"])
    own = {name.replace("-", "_"): value for name, value in tasks.typed(study.task, given).items()}
    given |= own
    if "task" in given:
        given["task"] = tasks.find(given["task"]).named
    locked = {name: study.options.get(name.replace("_", "-")) for name in own} | {
        "task": study.task.named,
        "tag": study.tag,
        "backend": study.backend,
        "corpus": study.corpus,
        "decide": study.decide,
        "stop_early": study.stop_early,
        "seed": study.seed,
        "train_seconds": study.profile.budget.train_seconds,
    }
    for name, value in given.items():
        if name in locked and value != locked[name]:
            raise _locked(study, name, value, locked[name])


def check_night(study: "Study") -> None:
    """UsageError for a transfer, which tries nothing but its own edits."""
    if study.origin is not None:
        raise UsageError(
            f"the study in {study.folder} is a transfer, and nothing else is trained in it",
            f"`autoresearch transfer {typed(study.folder)} --apply` makes a study of what holds",
        )


def check_workers(task: Table, workers: int | str | None) -> None:
    """UsageError where a task has one worker, and more are asked for."""
    if task.is_paired and workers not in (None, 1):
        raise UsageError(f"--workers: a score of {task.name} is measured by turns with the best, one at a time; leave it out")


def check_machine(study: "Study", backend: Backend, facts: Facts) -> None:
    """UsageError when device, framework or measuring code are not those of the study."""
    if changes := changes_of(study, backend, facts):
        raise UsageError(f"this machine is not what the study {study.tag} began on: {'; '.join(changes)}. Put that back, {_NEW}")


def changes_of(study: "Study", backend: Backend, facts: Facts) -> list[str]:
    """How device, framework and measuring code differ from those of the study."""
    changes = [
        f"{name} was {_known(was)}, is {_known(now)}"
        for name in _COMPARED
        if (was := getattr(study.facts, name)) != (now := getattr(facts, name))
    ]
    names = sorted({*study.facts.versions, *facts.versions})
    changes += [
        f"{name} was {_known(was)}, is {_known(now)}"
        for name in names
        if (was := study.facts.versions.get(name)) != (now := facts.versions.get(name))
    ]
    if study.checksums["measure"] not in {measure_checksum(), *SAME_SCORES}:
        changes.append(f"autoresearch's measuring code is not that of version {study.versions['autoresearch']}")
    if study.checksums["backend"] not in {backend_checksum(backend), *SAME_SCORES}:
        changes.append(f"the code of the backend {backend.name} changed")
    if study.checksums.get("task") not in {None, code(study.task), *SAME_SCORES}:
        changes.append(f"the code of the task {study.task.name} changed")
    return changes


def prepared_again(study: "Study", on_progress: OnProgress = silent) -> Prepared:
    """The study's prepared data: from the cache, or made again when it is gone. Checked byte for byte."""
    kind = tasks.kind(study.task)
    try:
        prepared = kind.prepared_again(study.prepared)
        prepared.verify(on_progress)
    except StoredStateError:
        prepared = kind.prepared_from(study.task, Source(study.corpus), study.options, study.profile.data, on_progress)
    changed = [name for name, checksum in prepared.checksums.items() if study.checksums.get(name) != checksum]
    if changed:
        raise UsageError(
            f"the {study.metric.data} of the study {study.tag} is not what it began with"
            f" ({', '.join(changed)} of {study.corpus} changed);"
            f" put it back as it was, {_NEW}"
        )
    return prepared


def check_tag(tag: str) -> None:
    """A tag is part of a branch's and of a folder's name, on every system."""
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", tag) or ".." in tag or tag.endswith(".lock"):
        raise UsageError(f"the tag {tag!r} can't name a branch and a folder; use up to 64 letters, digits and - _ inside")
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", tag, re.IGNORECASE):
        raise UsageError(f"the tag {tag!r} names a device on Windows; take another")


def measure_checksum() -> str:
    """Of the code that measures: the files of autoresearch/measure."""
    return _checksum_of_code([paths.PACKAGE / "measure"])


def backend_checksum(backend: Backend) -> str:
    """Of what a backend brings beside its train.py: dtype, kernels, how logits are made."""
    return _checksum_of_code(backend.python_path)


def _checksum_of_code(folders: list[Path]) -> str:
    running = hashlib.blake2b(digest_size=16)
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            if path.name not in ("train.py", accelerator.FILE, cards.FILE):  # what is only looked at changes no score
                content = path.read_bytes().replace(b"\r\n", b"\n")  # a checkout may have translated them
                running.update(f"{path.name} {len(content)}\n".encode() + content)
    return running.hexdigest()


def _check_profile(study: "Study", name: str) -> None:
    profile = profiles.load(name)
    same_sizes = all(
        getattr(profile, part) == getattr(study.profile, part) for part in ("data", "train", "runtime")
    ) if str(name).endswith(".toml") else True  # fmt: skip
    if profile.name != study.profile.name or not same_sizes:
        raise _locked(study, "profile", name, study.profile.name)


def _locked(study: "Study", name: str, value: object, locked: object) -> UsageError:
    option, kept = f"--{name.replace('_', '-')}", "none" if locked is None else locked
    return UsageError(
        f"{option} {value}: the study in {study.folder} has {kept} and keeps it; leave {option} out to go on with it, {_NEW}"
    )


def _known(value: object) -> str:
    return "n/a" if value is None else str(value)
