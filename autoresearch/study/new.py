"""A new study: look at the machine, choose, prepare the text, make the workspace. The first half of `run`, and all of `init`."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.child import RunFailed
from autoresearch.data import corpora, sight
from autoresearch.data.prepare import prepare
from autoresearch.data.progress import OnProgress, silent
from autoresearch.errors import UsageError
from autoresearch.hardware import cores, slots
from autoresearch.hardware.autotune import split, tune
from autoresearch.hardware.devices import detect
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import plan, profiles
from autoresearch.hardware.planner.plan import Plan
from autoresearch.hardware.planner.profile_file import Profile
from autoresearch.run import command, constraints, quantities
from autoresearch.run.constraints import Constraints
from autoresearch.run.setup import Setup
from autoresearch.sandbox import levels, policy
from autoresearch.study import terms, workspace
from autoresearch.study.origin import Origin
from autoresearch.study.workspace import Study
from autoresearch.task import registry as tasks
from autoresearch.task.contract import Task
from autoresearch.task.table import Table


@dataclass(frozen=True)
class Beginning:
    """What a study begins with that is not as a new one's."""

    text: str | None = None
    origin: Origin | None = None


def make(
    folder: Path,
    chosen: Mapping[str, Any],
    say: Callable[[str], None],
    bars: Callable[[], AbstractContextManager[OnProgress | None]],
    sandbox: int | None,
    begin: Callable[[Plan, str], Beginning] | None = None,
) -> tuple[Study, Setup]:
    """The study and what its runs are made with; each choice is said with its reason.

    begin: of the plan and the train.py that the study would begin with, says what it begins with; for tasks that a profile sizes.
    chosen: the options of `run` by name; profile, backend and corpus have to be there. bars: shows how far a long step is.
    sandbox: the level of the cells; None: not known yet. Raises UsageError and EnvironmentFailure before anything is stored.
    """
    tag = workspace.today() if chosen.get("tag") is None else chosen["tag"]
    terms.check_tag(tag)
    table = tasks.find(chosen.get("task") or tasks.DEFAULT)
    tasks.given(table, chosen)
    workspace.check_free(folder)

    def planned() -> Plan:
        with bars() as on_progress:
            if on_progress:
                on_progress(detect.LOOKING, 0, None)
            return plan.make(chosen["backend"], chosen["profile"], chosen.get("device"), tasks.backends(table))

    terms.check_workers(table, workers := chosen.get("workers"))
    found = planned()
    per_run = _cores_of_each(found, table, workers, say)
    if isinstance(workers, int) and workers > 1:
        slots.of(found.choice.backend, per_run, workers)  # before anything is made
    with slots.shared(per_run):  # all that is chosen is for one share
        return _make(folder, tag, table, chosen, found if per_run is None else planned(), per_run, say, bars, sandbox, begin)


def _cores_of_each(found: Plan, table: Table, workers: object, say: Callable[[str], None]) -> int | None:
    """Of several workers that share the processors; None: nothing is shared."""
    backend, usable = found.choice.backend, cores.usable()
    if workers in (None, 1, "ray") or not backend.processors:
        return None
    if isinstance(workers, int):
        if workers > usable:
            least = f"--workers {usable} or less" if usable > 1 else "leave --workers out"
            raise UsageError(f"--workers {workers}: this computer has {usable} cores, and each worker wants one", least)
        slots.shares(1)  # where they can be bound
        return usable // workers
    if usable == 1 or not slots.can_bind() or not table.sizes:
        say("workers   one: it has all cores")
        return None
    try:
        worth = split.gain(found, workspace.first_text(None, backend, found.profile), slots.shares(1))
    except RunFailed as failure:
        say(f"workers   one: shares of the cores could not be tried ({failure})")
        return None
    together = f"{usable} trainings on one core each make {worth:.2f} times the tokens of one on all {usable}"
    if worth < split.WORTH:
        anyway = f"`--workers {usable}` shares them all the same"
        say(f"workers   one, with all cores: {together}, and {split.WORTH:g} is asked for; {anyway}")
        return None
    say(f"workers   the cores are shared: {together}")
    return 1


def _make(
    folder: Path, tag: str, table: Table, chosen: Mapping[str, Any], planned: Plan, per_run: int | None, say: Callable[[str], None],
    bars: Callable[[], AbstractContextManager[OnProgress | None]], sandbox: int | None,
    begin: Callable[[Plan, str], Beginning] | None,
) -> tuple[Study, Setup]:  # fmt: skip
    options = tasks.given(table, chosen)
    if not table.sizes:
        planned = replace(planned, profile=tasks.sized(table, planned.profile))
    backend = planned.choice.backend
    # Before the text is fetched: a constant that this train.py has not, a limit that nothing here can tell of.
    profiles.check(planned.profile, {backend.name: backend})
    kind = tasks.kind(table)
    guards = kind.guards(options)  # a task's limit on what this study has none of is none
    usual = [f"{name}{text}" for name, text in table.limits.items() if name in guards or name in quantities.QUANTITIES]
    limits = [*usual, *constraints.asked(chosen)]
    constraints.check(limits, backend, table.scoring, guards)
    if chosen.get("train_seconds") is not None:
        planned = replace(planned, profile=planned.profile.with_train_seconds(chosen["train_seconds"]))
    say(f"machine   {planned.choice.facts.device}")
    say(f"backend   {backend.name}: {planned.choice.reason}")
    if backend.card_reason:
        say(f"device    {backend.card_reason}")
    # Before autotune, which takes a while.
    source = kind.source(table, chosen["corpus"], options, planned.profile.data)
    if place := sight.place(corpora.resolved(source.name)):
        policy.check_hidden(sandbox or 0, [place], backend.sandbox)
    if table.sizes and chosen["profile"] == "auto" and chosen.get("autotune") != "off":
        answer, seconds = chosen.get("autotune"), planned.profile.budget.train_seconds
        length = tune.default_seconds(chosen.get("hours"), chosen.get("experiments"), seconds)
        with bars() as on_progress:
            planned = tune.tuned(
                planned, source.name, lambda vocab_size: prepare(source.name, vocab_size, on_progress), say,
                is_again=answer is not None, seconds=answer if isinstance(answer, float) else length,
                on_progress=on_progress or silent,
            )  # fmt: skip
    profile, choice = planned.profile, planned.choice
    say(f"profile   {profile.name}: {planned.profile_reason}")
    if table.name != tasks.DEFAULT:
        say(f"task      {table.name}: {table.title}")
    say(f"corpus    {source.name}: {source.reason}")
    beginning = begin(planned, workspace.first_text(None, choice.backend, profile)) if begin else Beginning()
    with bars() as on_progress:
        prepared = kind.prepared_from(table, source, options, profile.data, on_progress or silent)
    task = tasks.bound(table, prepared, options, profile.data)
    say(f"{'text' if task.is_causal else 'data':<9} {task.summary()}")
    for warning in task.facts.get("warnings", ()):
        say(f"warning   {warning}")
    if task.table.is_paired:
        say(f"tried     {_tried_out(choice.backend, task, profile, sandbox)}")
    study = workspace.create(
        folder, tag=tag, backend=choice.backend, facts=choice.facts, profile=profile, prepared=prepared, corpus=prepared.corpus,
        seed=workspace.DEFAULT_SEED if chosen.get("seed") is None else chosen["seed"], decide=chosen.get("decide") or "confirmed",
        stop_early=bool(chosen.get("stop_early")), constraints=Constraints().changed(limits), task=task,
        text=beginning.text, origin=beginning.origin, cores=per_run,
    )  # fmt: skip
    say(f"workspace {folder}")
    return study, terms.setup(study, choice.backend, prepared, sandbox or 0)


def _tried_out(backend: Backend, task: Task, profile: Profile, sandbox: int | None) -> str:
    """What the commands gave on the files as they are. UsageError."""
    level, budget = levels.reach().level if sandbox is None else sandbox, profile.budget
    setup = Setup(backend, task, budget.train_seconds, budget.startup_limit_seconds, level, variables=backend.variables)
    with tempfile.TemporaryDirectory(prefix="autoresearch-", ignore_cleanup_errors=True) as folder:
        return command.try_out(setup, workspace.first_text(task, backend, profile), Path(folder).resolve() / "run")
