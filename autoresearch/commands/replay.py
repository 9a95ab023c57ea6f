"""`autoresearch replay N`: an experiment trained again; reproduced or not, within the noise."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say, say_device

if TYPE_CHECKING:
    from autoresearch.loop.replay import Judgement
    from autoresearch.measure.summary import RunResult
    from autoresearch.metric import Metric


@click.command("replay")
@click.argument("number", type=click.IntRange(min=0), metavar="N")
@options("study")
@click.option("--seeds", "count", type=click.IntRange(1, 100), metavar="K", help="How many trainings. Default: 1.")
@click.option("--same-seed", is_flag=True, help="On the seeds that it ran on. Default: new ones.")
@options("device", "sandbox", "on_battery", "json", "plain")
@click.pass_context
def command(
    context: click.Context, number: int, workspace: Path | None, count: int | None, same_seed: bool, device: str | None,
    sandbox: str, on_battery: bool, as_json: bool, plain: bool,
) -> None:  # fmt: skip
    """Train experiment N again: reproduced or not.

    Takes its commit's train.py, trains it in the sandbox and compares the score with the recorded one, within the noise of the
    seed. The study stays as it was; the weights are kept beside it, for `export N` and `sample --experiment N`.

    Exit status: 0 reproduced; 1 not, or the training failed, or the noise is not known (then --seeds 3 measures it).
    Example: `autoresearch replay 7 --seeds 3`
    """
    import secrets
    from functools import partial

    from autoresearch.commands.bars import bars
    from autoresearch.commands.train import Line
    from autoresearch.errors import UsageError
    from autoresearch.hardware.now import power
    from autoresearch.loop import replay
    from autoresearch.noise import mean
    from autoresearch.paths import typed
    from autoresearch.report import answers
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study.commits import text_of
    from autoresearch.study.session import as_known, conditions_for, log_tail
    from autoresearch.study.workspace import find
    from autoresearch.text import one_line, without_colours

    study = find(workspace)
    state = answers.state_of(study)
    subject = answers.experiment(study, number)
    if not subject.scores:
        scoreless = f"no score ({subject.state}); `autoresearch show {number}` says why"
        why = "no verdict yet; wait for it" if subject.verdict is None else scoreless
        raise UsageError(f"there is nothing to reproduce: experiment {number} has {why}")
    if study.task.is_paired:
        raise UsageError("a paired score is of its moment, beside the best of then", "`autoresearch try` measures an edit again")
    train_py = answers.train_py(study, subject)
    metric = state.metric

    def score(value: float | None) -> str:
        return f"{metric.name} {metric.text(value)}"

    known = [(run.seed, run.result.val_bpb) for run in subject.runs if run.result and run.result.val_bpb is not None]
    count = count or (len(known) if same_seed else 1)
    if same_seed and count > len(known):
        raise UsageError(f"experiment {number} ran {len(known)} time(s); give --seeds {len(known)} or less, or no --same-seed")
    seeds = [seed for seed, _ in known[:count]] if same_seed else [secrets.randbelow(1 << 31) for _ in range(count)]
    recorded = [score for _, score in known[:count]] if same_seed else subject.fair  # the luck that chose a keep comes back too
    power.refuse_on_battery(power.supply(), on_battery)
    level = levels.choose(sandbox)
    lock.check(study.lock)
    changes: list[str] = []
    with bars(quiet=as_json, plain=plain) as on_progress:
        setup = terms.ready(study, level, on_progress, device, on_changes=changes.extend)
    setup = as_known(setup, state, partial(text_of, study.folder))
    say_device(setup, as_json)
    if not as_json:
        for change in changes:
            say(f"differs   {change}")
        for warning in conditions_for(setup).warnings:
            say(f"warning: {warning}", err=True)
        runs = f"{len(recorded)} run{'s' * (len(recorded) > 1)}"
        say(f"recorded  experiment {number}, {one_line(subject.description)}: {score(mean(recorded))}, {runs}")
    show = Line(quiet=as_json, overwrite=sys.stderr.isatty() and not plain)

    def on_result(result: "RunResult") -> None:
        show.end()
        if not as_json and result.ok:
            say(f"again     seed {result.seed}: {score(result.val_bpb)}")

    results, log = replay.train_again(study, setup, subject, train_py, seeds, show, on_result)
    scores = [result.val_bpb for result in results if result.ok and result.val_bpb is not None]
    failed = next((result for result in results if not result.ok), None)
    judged = replay.judge(recorded, scores, state.noise, metric) if scores and not failed else None
    if as_json:
        click.echo(json.dumps(facts(number, results, changes, judged, metric), indent=2))
    elif failed:
        say(without_colours(log_tail(log)), err=True)
        say(f"not reproduced: the training failed ({failed.status}): {failed.reason}", err=True)
    elif judged:
        say(verdict(judged, metric))
        where = f"--workspace {typed(study.folder)}"
        say(f"weights   `autoresearch export {number} {where}` takes them away, `sample --experiment {number}` has them write")
    context.exit(0 if judged and judged.reproduced else 1)


def verdict(judged: "Judgement", metric: "Metric") -> str:
    found, side = metric.text(judged.found), "above" if metric.shown(judged.difference) > 0 else "below"
    if judged.difference == 0:
        return f"reproduced: {found} is what was recorded, to the last digit"
    apart = f"{found} is {metric.amount(abs(judged.difference))} {side} what was recorded"
    if judged.margin is None:
        return f"no verdict: {apart}, and the noise is not known; `--seeds 3` measures it here, `autoresearch noise` for the study"
    word = "reproduced" if judged.reproduced else "not reproduced"
    return f"{word}: {apart}; the seed alone explains up to {metric.amount(judged.margin)} (19 times in 20)"


def facts(
    number: int, results: "list[RunResult]", changes: list[str], judged: "Judgement | None", metric: "Metric"
) -> dict[str, Any]:  # fmt: skip
    of_run = ("seed", "status", "reason", "val_bpb", "training_seconds", "num_steps", "total_tokens")
    runs = metric.told([{name: getattr(result, name) for name in of_run} for result in results])
    judgement: dict[str, Any] = {
        name: getattr(judged, name, None) for name in ("reproduced", "recorded", "found", "difference", "margin", "sigma")
    }
    for name in ("recorded", "found", "difference") if judged else ():
        judgement[name] = metric.shown(judgement[name])
    return {"experiment": number, "runs": runs, "differs": changes} | judgement
