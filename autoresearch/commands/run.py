"""`autoresearch run`: the whole job, and the way back into one that was stopped."""

import json
import sys

import click

from autoresearch.commands.options import CONSTRAINTS, options


@click.command("run")
@options(
    "workspace", "profile", "autotune", "backend", "corpus", "agent", "model", "max_cost", "max_tokens_per_experiment",
    "command", "command_env", "mix", "tag", "experiments", "hours", "train_seconds", "decide", "stop_early", "seed",
    *CONSTRAINTS, "sandbox", "on_battery", "json", "plain",
)  # fmt: skip
@click.pass_context
def command(context, workspace, experiments, hours, sandbox, on_battery, as_json, plain, **chosen):
    """The whole job: detect, prepare, baseline, then experiments all night. Also resumes.

    Typed again, it goes on with the study of the current folder, or with the newest autoresearch-<tag> in it; a new --tag starts
    another study. Ctrl-C stops after the running training, a second one ends that training (it is done again next time).

    Example: `autoresearch run --profile auto --hours 8`
    """
    from autoresearch import agents
    from autoresearch.commands.prepare import bars
    from autoresearch.commands.say import say as tell
    from autoresearch.data import sight
    from autoresearch.hardware.now import power
    from autoresearch.loop import loop
    from autoresearch.report import answers, panel
    from autoresearch.report.history import machine_line
    from autoresearch.sandbox import levels
    from autoresearch.study import terms
    from autoresearch.study import workspace as workspaces

    def say(line: str) -> None:
        click.echo(json.dumps({"event": "choice", "text": line}) if as_json else line)

    power.refuse_on_battery(power.supply(), on_battery)
    level = levels.choose(sandbox, unattended=True)
    folder = workspaces.locate(workspace, chosen["tag"])
    if workspaces.is_workspace(folder):
        study = workspaces.load(folder)
        terms.check_options(study, chosen)
        proposers, reason = agents.choose(chosen, study.seed)
        say(f"study {study.tag} in {study.folder} goes on; `--tag NAME` would start another")
        with bars(quiet=as_json, plain=plain) as on_progress:
            setup = terms.ready(study, level, on_progress)
    else:
        from autoresearch.commands.init import make_study

        seed = workspaces.DEFAULT_SEED if chosen["seed"] is None else chosen["seed"]
        proposers, reason = agents.choose(chosen, seed)  # first: what can't work leaves no study behind
        study, setup = make_study(folder, chosen | {"hours": hours, "experiments": experiments}, plain, say, level, quiet=as_json)
    say(f"sandbox   level {level}: {levels.WORDS[level]}")
    if warning := sight.warning(study.corpus):
        say(f"text      {warning}")
    machine = machine_line(study)
    say(f"agent     {reason}")
    with panel.choose(as_json, plain, sys.stdout, machine, answers.events(study)) as listener:
        outcome = loop.run_study(study, setup, proposers, loop.Limits(experiments, hours), listener)
    if as_json:
        end = {"event": "end", "reason": outcome.reason, "exit_status": outcome.exit_status, "workspace": str(study.folder)}
        click.echo(json.dumps(end))
    else:
        for line in farewell(study, outcome):
            tell(line)
    context.exit(outcome.exit_status)


def farewell(study, outcome) -> list[str]:
    """Where the study stands, and what to type next."""
    from autoresearch.commands.best import elsewhere, gain, tested
    from autoresearch.data import sight
    from autoresearch.study.ledger import read
    from autoresearch.study.state import State

    state = State.from_events(read(study.events))
    counts = ", ".join(f"{count} {word}" for word, count in state.counts().items())
    return [
        *([outcome.detail] if outcome.detail else []),
        f"stopped: {outcome.reason}",
        f"{gain(state)}; {counts}",
        *([state.skipped_line] if state.skipped else []),
        *([elsewhere(state), tested(state)] if state.best else []),
        *([warning] if (warning := sight.warning(study.corpus)) else []),
        f"go on    autoresearch run --workspace {study.folder}",
        f"look     autoresearch results --workspace {study.folder}; {study.folder / 'progress.png'}",
    ]
