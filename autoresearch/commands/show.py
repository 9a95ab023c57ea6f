"""`autoresearch show N`: one experiment: what it changed, what came of it, the end of its log."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say
from autoresearch.text import one_line

if TYPE_CHECKING:
    from autoresearch.metric import Metric
    from autoresearch.study.experiments import Experiment

WIDE = 4000  # characters of a reason


@click.command("show")
@click.argument("number", type=click.IntRange(min=0), metavar="N")
@options("study", "json")
def command(number: int, workspace: Path | None, as_json: bool) -> None:
    """One experiment: its diff, its numbers, the end of its log.

    N is the number in `autoresearch results`; 0 is the baseline. Example: `autoresearch show 7`
    """
    from autoresearch.report import answers
    from autoresearch.study.workspace import find

    study = find(workspace)
    shown = answers.show(study, number)
    if as_json:
        click.echo(json.dumps(study.metric.told(shown), indent=2))
        return
    for text in lines(answers.experiment(study, number), shown, study.metric):
        say(text)


def lines(experiment: "Experiment", shown: dict[str, Any], metric: "Metric") -> list[str]:
    """shown: what answers.show gives. The caller makes the texts harmless."""
    from autoresearch.run import quantities

    ref, patch, tail = shown["ref"], shown["diff"], shown["log_tail"]
    score = f"{metric.name} {metric.text(experiment.val_bpb)}"
    rows = [
        f"experiment {experiment.number}: {one_line(experiment.description)}",
        f"{experiment.state or 'pending'}  {score}  {one_line(experiment.reason or '', WIDE)}".rstrip(),
        f"commit {experiment.commit}  ({ref}), proposed by {experiment.agent}, {experiment.started}",
    ]
    if experiment.base is not None:
        of = f"; the edit of experiment {experiment.rebased_from}, made again" if experiment.rebased_from is not None else ""
        on = f"; it goes on as experiment {shown['rebased_as']}" if shown["rebased_as"] is not None else ""
        rows.append(f"judged against experiment {experiment.base}{of}{on}")
    if shown["startup_seconds"] is not None:
        baseline = shown["baseline_startup_seconds"]
        rows.append(f"start-up {shown['startup_seconds']:.0f} s, baseline {'n/a' if baseline is None else f'{baseline:.0f} s'}")
    rows += [
        f"run {failure.k} was invalid ({failure.state}) and done again: {one_line(failure.reason, WIDE)}"
        for failure in experiment.invalid
    ]
    if experiment.reasoning:
        rows += ["", *(f"  {line}" for line in experiment.reasoning.splitlines())]
    for run in experiment.runs:
        head = f"run {run.k}, seed {run.seed}, sandbox {'n/a' if run.sandbox is None else f'level {run.sandbox}'}"
        head += "" if run.worker is None else f", worker {run.worker}"
        if run.result is None:
            rows += ["", f"{head}: no result yet"]
        else:
            failed = "" if run.result.ok else f" {run.result.status}: {one_line(run.result.reason or '', WIDE)}"
            rows += ["", f"{head}:{failed}", run.result.summary_block(metric)]
            rows += quantities.lines(run.quantities)
            if run.disturbed:
                rows.append(f"counted although it was disturbed ({run.disturbed}): it was the last of several tries")
    for scored in experiment.slices:
        if scored.gain_val is not None and scored.gain_slice is not None:
            on_val, on_slice = metric.amount(scored.gain_val[0]), metric.amount(scored.gain_slice[0])
            gains = f"{on_val} on the validation {metric.data} and {on_slice} on the audit slice"
            rows += ["", f"run {scored.k} over experiment {scored.against} ({scored.place}): gains {gains}"]
    if patch:
        rows += ["", patch.rstrip("\n")]
    if tail:
        rows += ["", "the end of its log", *(f"  {line}" for line in tail.splitlines())]
    return rows
