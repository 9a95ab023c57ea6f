"""`autoresearch train`: one training of the work tree's train.py, scored, outside of the ratchet."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say, say_device
from autoresearch.text import without_colours

if TYPE_CHECKING:
    from autoresearch.run.setup import Progress

_EVERY_SECONDS = 10.0  # between two lines where nothing can be overwritten


@click.command("train")
@options("study", "device", "training_seed", "sandbox", "on_battery", "json", "plain")
@click.pass_context
def command(
    context: click.Context, workspace: Path | None, device: str | None, seed: int | None, sandbox: str, on_battery: bool,
    as_json: bool, plain: bool,
) -> None:  # fmt: skip
    """One training of the workspace's train.py, scored, with its summary.

    Nothing is recorded: no commit, no line in the results. The files stay in .autoresearch/runs/train until the next one.
    Exit status: 0 when there is a score, 1 when the training failed.

    Example: `autoresearch train --workspace my-study`
    """
    from autoresearch.commands.bars import bars
    from autoresearch.hardware.now import power
    from autoresearch.report import answers
    from autoresearch.run import quantities
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study import workspace as workspaces
    from autoresearch.study.session import conditions_for, log_tail, train_outside

    power.refuse_on_battery(power.supply(), on_battery)
    study = workspaces.find(workspace)
    lock.check(study.lock)
    with bars(quiet=as_json, plain=plain) as on_progress:
        setup = terms.ready(study, levels.choose(sandbox), on_progress, device)
    say_device(setup, as_json)
    if limits := answers.state_of(study).limits:
        setup = replace(setup, constraints=limits)
    if not as_json:
        for warning in conditions_for(setup).warnings:
            say(f"warning: {warning}", err=True)
    show = Line(quiet=as_json, overwrite=sys.stderr.isatty() and not plain)
    result = train_outside(study, setup, study.seed if seed is None else seed, show)
    show.end()
    known = quantities.of(result)
    if result.ok and (broken := setup.constraints.objection(known)):
        say(f"warning: {broken}: an experiment with such figures is discarded", err=True)
    if as_json:
        click.echo(json.dumps(study.metric.told(result.to_json())))
    elif result.ok:
        click.echo("\n".join([result.summary_block(study.metric), *quantities.lines(known)]))
    else:
        say(without_colours(log_tail(study.runs / "train" / "log.txt")), err=True)
        say(f"the training failed ({result.status}): {result.reason}", err=True)
    context.exit(0 if result.ok else 1)


class Line:
    """How far the run is: one line that is overwritten, or a line now and then."""

    def __init__(self, quiet: bool, overwrite: bool):
        self._quiet, self._overwrite = quiet, overwrite
        self._due, self._phase = 0.0, ""

    def __call__(self, progress: "Progress") -> None:
        if self._quiet or (progress.phase == self._phase and time.monotonic() < self._due):
            return
        self._phase, self._due = progress.phase, time.monotonic() + (0.5 if self._overwrite else _EVERY_SECONDS)
        words = [f"{progress.phase:<8} {progress.elapsed_seconds:6.1f} s"]
        if progress.loss is not None:
            words.append(f"loss {progress.loss:.3f}")
        if progress.tokens_per_second is not None:
            words.append(f"{progress.tokens_per_second:,.0f} tok/s")
        text = "  ".join(words)
        click.echo(f"\r{text:<60}" if self._overwrite else text, nl=not self._overwrite, err=True)

    def end(self) -> None:
        if self._overwrite and not self._quiet:
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
