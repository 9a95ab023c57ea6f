"""`autoresearch best`: the best train.py so far and what it gained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import Measured, options
from autoresearch.commands.say import say

if TYPE_CHECKING:
    from autoresearch.metric import Metric
    from autoresearch.study.state import State
    from autoresearch.study.workspace import Study


@click.command("best")
@options("study", "json")
@click.option(
    "--limit", type=Measured(), multiple=True, metavar="'QUANTITY<=N'",
    help="The best within it, as in 'latency_ms<=5'. May be given again. docs/limits.md has the quantities.",
)  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the best train.py there.")
@click.pass_context
def command(context: click.Context, workspace: Path | None, as_json: bool, limit: tuple[str, ...], output: Path | None) -> None:
    """The best train.py so far and what it gained.

    With --limit the best of all experiments, kept or not, that keeps every limit. Where none does: the nearest one, and exit
    status 1.

    Examples: `autoresearch best --output best_train.py`, `autoresearch best --limit 'latency_ms<=5'`
    """
    from autoresearch import durable
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report import answers, pareto
    from autoresearch.run.constraints import Constraints
    from autoresearch.study.workspace import find

    study = find(workspace)
    limits = Constraints().changed(limit).limits
    facts = pareto.best_within(study, limits) if limits else answers.best(study)
    if output is not None:
        output = expanded(output)
        if not output.name:
            raise UsageError("--output names no file; give it one, as in `--output best_train.py`")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder {output.parent}; make it, or give --output another one")
        durable.write(output, facts["train_py"])
    facts["output"] = str(output) if output else None
    if as_json:
        click.echo(json.dumps(study.metric.told(facts), indent=2))
        context.exit(bool(facts.get("broken")))
    state = answers.state_of(study)
    if limits:
        for line in within(state, facts, study.folder):
            say(line)
        context.exit(bool(facts["broken"]))
    say(gain(state))
    for line in unseen(study, state):
        say(line)
    if warning := study.warning:
        say(warning)
    say(f"commit {facts['commit']} on branch {facts['branch']} in {study.folder}: {facts['description']}")
    if output:
        say(f"written to {output}")
    else:
        changed = f"; `autoresearch show {facts['experiment']}` says what it changed" if facts["experiment"] else ""
        say(f"`--output FILE` writes it{changed}")


def within(state: "State", facts: dict[str, Any], folder: Path) -> list[str]:
    """facts: pareto.best_within's."""
    from autoresearch.paths import typed
    from autoresearch.run.constraints import parse
    from autoresearch.run.quantities import figure

    metric, number = state.metric, facts["experiment"]
    limited = ", ".join(facts["limits"])
    head = f"no experiment keeps {limited}; the nearest is" if facts["broken"] else f"best within {limited}:"
    sigma = "the noise n/a" if facts["sigma"] is None else f"sigma {metric.amount(facts['sigma'])}"
    runs = f"{facts['runs']} run{'s' * (facts['runs'] != 1)}"
    names = dict.fromkeys(parse(text)[0] for text in facts["limits"])
    replayed = f"autoresearch replay {number} --workspace {typed(folder)}"
    return [
        f"{head} experiment {number}, {metric.name} {metric.text(metric.shown(facts[metric.name]))}, {runs}, {sigma}",
        *facts["broken"],
        *(f"{name} {figure(facts['quantities'][name])}" for name in names),
        f"commit {facts['commit']}, {facts['state']}: {facts['description']}",
        *([] if facts["has_weights"] else [f"command  {replayed}   # trains it again: only the best's weights are kept"]),
        f"command  autoresearch export {number} --workspace {typed(folder)}",
    ]


def gain(state: "State") -> str:
    """The best, and how far it lies beyond the baseline."""
    best, best_gain, metric = state.best, state.gain, state.metric
    if best is None:
        return f"no {metric.name} yet"
    baseline, score = state.experiments[0].val_bpb, f"best {metric.name} {metric.text(best.val_bpb)}"
    if best_gain is None or baseline is None:
        return f"{score}, the baseline"
    share = metric.share(best_gain.bpb, baseline)
    return f"{score} by experiment {best.number}, {best_gain.text(metric)}{share} {metric.beyond} the baseline"


def unseen(study: "Study", state: "State") -> list[str]:
    """What the best is worth where no agent looked."""
    return [confirmed(state)] if study.task.is_paired else [elsewhere(state), tested(state)]


def confirmed(state: "State") -> str:
    """The same by the confirming measure of a paired task, where there is one."""
    held, gains = ", ".join(map(str, state.val_only)), state.slice_gain
    told = "n/a: nothing was kept, --confirm was not given, or `autoresearch run` has not ended"
    if gains and gains.gain_slice:
        told = f"{state.metric.amount(*gains.gain_slice)} {state.metric.beyond} the baseline's, beside it"
    return f"confirming measure: {told}" + (f"; not kept, since they gain on the measure alone: experiments {held}" if held else "")


def elsewhere(state: "State") -> str:
    """The same on the audit slice, which a keep is checked against, beside the same runs' gain on the validation data."""
    held = ", ".join(map(str, state.val_only))
    return _elsewhere(state) + (f"; not kept, since they gain on val alone: experiments {held}" if held else "")


def _elsewhere(state: "State") -> str:
    best, baseline, metric = state.best, state.baseline, state.metric
    if best is None or baseline is None or not baseline.slices:
        return f"audit slice n/a: {_none_to_spare(metric)} it, or the baseline was not scored on it"
    if reason := baseline.slices[0].reason:
        return f"audit slice: decides nothing, since {reason}"
    if best is baseline:
        return f"audit slice: {metric.text(best.slices[-1].bpb)} {metric.measure}"
    first = metric.text(baseline.slices[-1].bpb)
    if (gains := state.slice_gain) is None or gains.gain_slice is None or gains.gain_val is None:
        return f"audit slice: the gain is n/a until `autoresearch run` ends; the baseline has {first}"
    other, val = metric.amount(*gains.gain_slice), metric.amount(*gains.gain_val)
    return (
        f"audit slice: {other} {metric.beyond} the baseline's, and {val} by the same runs on the validation {metric.data}"
        f" (+- between {metric.pieces})"
    )


def tested(state: "State") -> str:
    """The same on the test data, which took part in no decision."""
    best, baseline, metric = state.best, state.baseline, state.metric
    if best is None or baseline is None or baseline.test_bpb is None:
        return f"{metric.test_name} n/a: {_none_to_spare(metric)} {metric.article}test {metric.data}"
    first = metric.text(baseline.test_bpb)
    if best is baseline:
        return f"{metric.test_name} {first}"
    if best.test_bpb is None:
        return f"{metric.test_name} n/a until `autoresearch run` ends; the baseline has {first}"
    below = baseline.test_bpb - best.test_bpb
    share = metric.share(below, baseline.test_bpb)
    return (
        f"{metric.test_name} {metric.text(best.test_bpb)}, {metric.amount(below)}{share} {metric.beyond} the baseline's,"
        f" on {metric.data} that no decision saw"
    )


def _none_to_spare(metric: "Metric") -> str:
    return f"the corpus has no {metric.piece} to spare for"
