"""`autoresearch noise`: what the seed alone does to the score on this machine, and what gain can be told from it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say, say_device
from autoresearch.text import one_line

if TYPE_CHECKING:
    from autoresearch.metric import Metric


@click.command("noise")
@options("study")
@click.option(
    "--runs", type=click.IntRange(2, 1000), default=5, show_default=True, metavar="N", help="How often the best has to have run."
)
@click.option("--new", "is_new", is_flag=True, help="Train it N times more, however often it ran. Default: only what is missing.")
@options("device", "sandbox", "on_battery", "json", "plain")
@click.pass_context
def command(
    context: click.Context, workspace: Path | None, runs: int, is_new: bool, device: str | None, sandbox: str, on_battery: bool,
    as_json: bool, plain: bool,
) -> None:  # fmt: skip
    """Measure the noise: how far the seed alone moves the score here.

    Trains the study's best (at first: the baseline) on new seeds until it ran N times, and prints sigma, its 95 % interval, and
    the smallest gain that is kept 4 times in 5. The runs are recorded, and count in every later decision. Cut short, the same
    command goes on.

    Example: `autoresearch noise --workspace my-study --runs 10`
    """
    from autoresearch.commands.bars import bars
    from autoresearch.hardware.now import power
    from autoresearch.loop import measure_noise
    from autoresearch.report import answers, panel
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study.workspace import find

    study = find(workspace)
    exit_status = 0
    if measure_noise.missing(answers.state_of(study), runs, is_new):
        power.refuse_on_battery(power.supply(), on_battery)
        level = levels.choose(sandbox)
        lock.check(study.lock)
        with bars(quiet=as_json, plain=plain) as on_progress:
            setup = terms.ready(study, level, on_progress, device)
        say_device(setup, as_json)
        past = answers.events(study)
        with panel.choose(False, plain or as_json, sys.stderr, study.machine_line, past, study.profile.budget) as listener:
            ending = measure_noise.measure(study, setup, runs, is_new, listener)
        exit_status = ending.exit_status
        if exit_status:
            say(f"{ending.detail}\nnot measured to the end: {ending.reason}".lstrip("\n"), err=True)
    facts = measure_noise.facts(study, answers.state_of(study))
    if as_json:
        click.echo(json.dumps(study.metric.told(facts), indent=2))
    else:
        for line in lines(facts, study.metric):
            say(line)
    context.exit(exit_status)


def lines(facts: dict[str, Any], metric: "Metric") -> list[str]:
    machine = f"machine   {facts['device'] or 'n/a'}, profile {facts['profile']}"
    if facts["sigma"] is None:
        return [machine, "sigma     n/a: nothing ran twice yet"]
    sigma, low, high, seen = (metric.amount(facts[name]) for name in ("sigma", "sigma_low", "sigma_high", "seen_gain_bpb"))
    rows = [
        machine,
        f"sigma     {sigma} {metric.label}, {low} to {high} with 95 % confidence ({facts['dof']} degrees of freedom)",
        f"seen      a gain of {seen} {metric.label} is kept 4 times in 5 (`{facts['decide']}`), a smaller one less",
    ]
    for group in facts["measured"]:
        scores = " ".join(map(metric.text, group["scores"]))
        rows.append(f"runs      experiment {group['experiment']}, {one_line(group['description'])}: {scores}")
    return rows
