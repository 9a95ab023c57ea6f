"""`autoresearch show N`: one experiment: what it changed, what came of it, the end of its log."""

import json
from dataclasses import asdict

import click

from autoresearch.commands.options import options


@click.command("show")
@click.argument("number", type=click.IntRange(min=0), metavar="N")
@options("workspace", "json")
def command(number, workspace, as_json):
    """One experiment: its diff, its numbers, the end of its log.

    N is the number in `autoresearch results`; 0 is the baseline. Example: `autoresearch show 7`
    """
    from autoresearch.errors import UsageError
    from autoresearch.loop.ledger import State, read
    from autoresearch.loop.session import log_tail
    from autoresearch.loop.store import diff
    from autoresearch.loop.workspace import find

    study = find(workspace)
    experiments = State.from_events(read(study.events)).experiments
    if number >= len(experiments):
        known = f"there are 0 to {len(experiments) - 1}" if experiments else "there is none yet"
        raise UsageError(f"no experiment {number}: {known}; `autoresearch results` lists them")
    experiment = experiments[number]
    patch = diff(study.folder, experiment.parent, experiment.commit) if experiment.parent else ""
    tail = log_tail(study.runs / experiment.runs[-1].folder / "log.txt") if experiment.runs else ""
    ref = f"refs/autoresearch/{study.tag}/{number}"
    if as_json:
        click.echo(json.dumps(record(experiment) | {"ref": ref, "diff": patch, "log_tail": tail}, indent=2))
        return
    for text in lines(experiment, ref, patch, tail):
        click.echo(text)


def record(experiment) -> dict:
    """An experiment for programs: what the ledger holds of it."""
    table = asdict(experiment) | {"peak_memory_bytes": experiment.peak_memory_bytes}
    for run in table["runs"]:
        result = run.pop("result") or {}
        run |= {name: value for name, value in result.items() if name not in run}
    return table


def lines(experiment, ref: str, patch: str, tail: str) -> list[str]:
    score = "n/a" if experiment.val_bpb is None else f"{experiment.val_bpb:.6f}"
    found = [
        f"experiment {experiment.number}: {experiment.description}",
        f"{experiment.state or 'pending'}  val_bpb {score}  {experiment.reason or ''}".rstrip(),
        f"commit {experiment.commit}  ({ref}), proposed by {experiment.agent}, {experiment.started}",
    ]
    if experiment.reasoning:
        found += ["", *(f"  {line}" for line in experiment.reasoning.splitlines())]
    for run in experiment.runs:
        head = f"run {run.k}, seed {run.seed}"
        if run.result is None:
            found += ["", f"{head}: no result yet"]
        else:
            failed = "" if run.result.ok else f" {run.result.status}: {run.result.reason}"
            found += ["", f"{head}:{failed}", run.result.summary_block()]
    if patch:
        found += ["", patch.rstrip("\n")]
    if tail:
        found += ["", "the end of its log", *(f"  {line}" for line in tail.splitlines())]
    return found
