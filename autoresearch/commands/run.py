"""`autoresearch run`: the whole job, and the way back into one that was stopped."""

import json
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import CONSTRAINTS, TaskCommand, options

if TYPE_CHECKING:
    from autoresearch.loop.stop import Ending
    from autoresearch.study.workspace import Study


CHOOSING = "looking for an agent"
AGENT_OPTIONS = (
    "agent", "model", "base_url", "max_cost", "max_tokens_per_experiment", "context", "agent_command", "command_env", "agent_fence",
    "mix", "notify", "workers", "address",
)  # fmt: skip


@click.command("run", cls=TaskCommand)
@options(
    "workspace", "task", "profile", "autotune", "backend", "device", "corpus", "agent", "model", "base_url", "max_cost",
    "max_tokens_per_experiment", "context", "command", "command_env", "agent_fence", "mix", "tag", "experiments", "hours",
    "workers", "address", "train_seconds", "decide", "stop_early", "seed", *CONSTRAINTS, "sandbox", "on_battery", "notify", "json",
    "plain",
)  # fmt: skip
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """The whole job: detect, prepare, baseline, then experiments all night. Also resumes.

    Typed again, it goes on with the study of the current folder, or with the newest autoresearch-<tag> in it; a new --tag starts
    another study. Limits (--max-params and the like) may be others than before; they hold from then on. Ctrl-C stops after the
    running training, a second one ends that training (it is done again next time).

    Example: `autoresearch run --profile auto --hours 8`
    """
    from autoresearch.commands.say import say_on

    study, ending = night(**given)
    if given["as_json"]:
        say_on(json.dumps(end(study, ending)), fold=False)
    else:
        for line in farewell(study, ending, agent_words(context)):
            say_on(line)
    context.exit(ending.exit_status)


def night(
    *, workspace: Path | None, workers: int | str | None, address: str | None, experiments: int | None, hours: float | None,
    sandbox: str, on_battery: bool, notify: str | None, as_json: bool, plain: bool, **chosen: Any,
) -> "tuple[Study, Ending]":  # fmt: skip
    """All of it but the last words; what it is called with are the options."""
    from autoresearch import agents
    from autoresearch.commands.bars import bars, doing
    from autoresearch.commands.say import say_on
    from autoresearch.hardware.now import power
    from autoresearch.loop import loop
    from autoresearch.report import answers, panel
    from autoresearch.report.notify import Notifier
    from autoresearch.run import constraints, disk
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study import workspace as workspaces
    from autoresearch.workers import crews

    def say(line: str) -> None:
        say_on(json.dumps({"event": "choice", "text": line}) if as_json else line, fold=not as_json)

    program(notify)  # before anything is made
    power.refuse_on_battery(power.supply(), on_battery)
    level = levels.choose(sandbox)
    cluster = crews.joined(workers, address)
    limits = constraints.asked(chosen)
    asked = chosen | {"hours": hours, "experiments": experiments, "workers": workers}
    folder = workspaces.locate(workspace, chosen["tag"])
    if workspaces.is_workspace(folder):
        study = workspaces.load(folder)
        terms.check_night(study)
        lock.check(study.lock)
        terms.check_options(study, chosen)
        spent_usd = answers.state_of(study).cost_usd
        with doing(CHOOSING, quiet=as_json, plain=plain):
            proposers, reasons = agents.choose(asked, study.seed, spent_usd)
        say(f"study {study.tag} in {study.folder} goes on; another `--workspace` starts another")
        with bars(quiet=as_json, plain=plain) as on_progress:
            setup = terms.ready(study, level, on_progress, chosen["device"])
        if setup.backend.card_reason:
            say(f"device    {setup.backend.card_reason}")
        constraints.check(limits, setup.backend, study.task.scoring, setup.task.guards(setup.task.options))
    else:
        from autoresearch.study import new

        seed = workspaces.DEFAULT_SEED if chosen["seed"] is None else chosen["seed"]
        with doing(CHOOSING, quiet=as_json, plain=plain):
            proposers, reasons = agents.choose(asked, seed)  # first: what can't work leaves no study behind
        study, setup = new.make(folder, asked, say, partial(bars, quiet=as_json, plain=plain), level)
    crew = crews.choose(workers, study, setup, say, cluster)
    say(f"sandbox   level {level}: {levels.WORDS[level]}")
    if warning := disk.warning(study.folder):
        say(f"folder    {warning}")
    if warning := study.warning:
        say(f"{'number' if study.task.is_paired else 'text':<9} {warning}")
    for title, line in zip(["agent", *[""] * len(reasons)], reasons, strict=False):
        say(f"{title:<9} {line}")
    past = answers.events  # asked twice, and not kept
    keys = f"Ctrl-C stops after {'the runs under way' if crew else 'this run'}"
    with (
        panel.choose(
            as_json, plain, sys.stdout, study.machine_line, past(study), study.profile.budget, keys, study.metric
        ) as shown,
        Notifier(program(notify), shown, study.tag, str(study.folder), past(study), study.metric) as listener,
    ):
        ending = loop.run_study(study, setup, proposers, loop.Until(experiments, hours), listener, limits=limits, crew=crew)
        listener.ended(ending.reason, ending.exit_status)
    return study, ending


def end(study: "Study", ending: "Ending") -> dict[str, Any]:
    """The last line for programs."""
    return {"event": "end", "reason": ending.reason, "exit_status": ending.exit_status, "workspace": str(study.folder)}


def program(command: str | None) -> list[str] | None:
    """--notify's program, by its whole path, and its arguments. UsageError where it can't be run."""
    if command is None:
        return None
    import shutil

    from autoresearch.agents.command.command import split
    from autoresearch.errors import UsageError

    words = split(command)
    found = shutil.which(words[0])
    if found is None:
        raise UsageError(f"--notify: there is no program {words[0]!r} on PATH; install it or give its full path")
    return [os.path.abspath(found), *words[1:]]


def agent_words(context: click.Context) -> str:
    """The options of this call that say who proposes, who is told and who trains, to be typed again: another may cost money."""
    from click.core import ParameterSource

    from autoresearch.paths import typed

    words = []
    for option in context.command.get_params(context):
        if option.name in AGENT_OPTIONS and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            given = context.params[option.name]
            for value in given if option.multiple else [given]:
                words += [option.opts[0], typed("none" if value == math.inf else f"{value:g}" if type(value) is float else value)]
    return "".join(f" {word}" for word in words)


def farewell(study: "Study", ending: "Ending", agent: str = "") -> list[str]:
    """Where the study stands, and what to type next. agent: options of `run`."""
    from autoresearch.commands.best import gain, unseen
    from autoresearch.paths import typed
    from autoresearch.report import answers
    from autoresearch.report.page import html

    state = answers.state_of(study)
    counts = ", ".join(f"{count} {word}" for word, count in state.counts().items())
    return [
        *([ending.detail] if ending.detail else []),
        f"stopped: {ending.reason}",
        f"{gain(state)}; {counts}",
        *([skipped] if (skipped := state.skipped_line) else []),
        *(unseen(study, state) if state.best else []),
        *([warning] if (warning := study.warning) else []),
        f"go on    autoresearch run --workspace {typed(study.folder)}{agent}",
        f"look     autoresearch results --workspace {typed(study.folder)}",
        f"picture  {study.folder / 'progress.png'}",
        f"report   {study.folder / html.NAME}",
    ]
