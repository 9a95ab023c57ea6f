"""`autoresearch try`: one ratchet step on an edit of your own, so that any agent or person can drive the study."""

import json
import sys
from pathlib import Path

import click

from autoresearch.commands.options import Text, options
from autoresearch.commands.say import say, say_device, say_error
from autoresearch.text import without_colours


@click.command("try")
@click.option("-m", "--message", required=True, type=Text(), metavar="TEXT", help="What the edit is, in one line.")
@options("study", "device", "sandbox", "on_battery", "json", "plain")
@click.pass_context
def command(
    context: click.Context, message: str, workspace: Path | None, device: str | None, sandbox: str, on_battery: bool, as_json: bool,
    plain: bool,
) -> None:  # fmt: skip
    """One ratchet step on the work tree's own edit of train.py.

    Edit train.py in the workspace, then call this: it trains, scores and decides. Better than the best: the branch moves to the
    edit. Otherwise train.py goes back to the best, and the edit stays in git under the name that is printed. The first call
    trains the baseline first, from the commit that the study began with.

    Exit status: 0 kept or discarded, 1 it crashed, 2 it does not differ, does not parse or was tried before.

    Example: `autoresearch try -m "MATRIX_LR 0.04 -> 0.06"`
    """
    from autoresearch.commands.bars import bars
    from autoresearch.hardware.now import power
    from autoresearch.loop import edit
    from autoresearch.paths import git
    from autoresearch.report import answers, panel
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study import workspace as workspaces

    power.refuse_on_battery(power.supply(), on_battery)
    study = workspaces.find(workspace)
    lock.check(study.lock)
    with bars(quiet=as_json, plain=plain) as on_progress:
        setup = terms.ready(study, levels.choose(sandbox), on_progress, device)
    say_device(setup, as_json)
    stream = sys.stderr  # the answer alone goes to stdout
    with panel.choose(False, plain or as_json, stream, study.machine_line, answers.events(study), study.profile.budget) as listener:
        tried, ending = edit.try_edit(study, setup, message, listener)
    if tried is None and as_json:
        say_error(f"no verdict: {ending.reason}", ending.exit_status or 1)
        context.exit(ending.exit_status or 1)
    if tried is None:
        say(without_colours(ending.detail), err=True, nl=bool(ending.detail))
        say(f"no verdict: {ending.reason}", err=True)
        context.exit(ending.exit_status or 1)
    if as_json:
        click.echo(json.dumps(study.metric.told(answers.tried(study, tried))))
    else:
        score = f"{study.metric.name} {study.metric.text(tried.val_bpb)}"
        say(f"{tried.verdict}  {score}  experiment {tried.number}: {tried.reason}")
        if tried.verdict != "keep":
            bring_back = f"{git(study.folder)} checkout {answers.ref(study, tried.number)} -- train.py"
            click.echo(f"train.py is the best again; the edit is kept: {bring_back}")
    context.exit(1 if tried.verdict == "crash" else 0)
