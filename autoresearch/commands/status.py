"""`autoresearch status`: where the study stands, from its ledger; also while it runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say_table
from autoresearch.data.sight import IN_SIGHT

if TYPE_CHECKING:
    from autoresearch.metric import Metric


@click.command("status")
@options("study", "json")
def command(workspace: Path | None, as_json: bool) -> None:
    """Where the study stands.

    Example: `autoresearch status --json`
    """
    from autoresearch.report import answers
    from autoresearch.study.workspace import find

    study = find(workspace)
    facts = answers.status(study)
    if as_json:
        click.echo(json.dumps(study.metric.told(facts), indent=2))
        return
    say_table(lines(facts, study.metric))


def lines(facts: dict[str, Any], metric: "Metric") -> list[str]:
    counts = ", ".join(f"{count} {word}" for word, count in facts["counts"].items())
    pending, process = facts["pending"], facts["process"]
    under_way = "none"
    if pending:
        under_way = f"experiment {pending['experiment']}, run {max(1, pending['runs'])}: {pending['description']}"
    if len(facts["under_way"]) > 1 or len(facts["open"]) > 1:
        runs = [_told(run, facts["best_experiment"]) for run in facts["under_way"]]
        at_work = {run["experiment"] for run in facts["under_way"]}
        under_way = "; ".join([*runs, *(f"experiment {n} waits for a run" for n in facts["open"] if n not in at_work)])
    elif facts["best_runs_again"]:
        under_way = f"the best, experiment {facts['best_experiment']}, runs again" + (f", for {under_way}" if pending else "")
    requests = "none to an agent's service"
    if facts["asked"]:
        cost = "n/a" if facts["cost_usd"] is None else f"{facts['cost_usd']:.2f}"
        without = f", without {facts['unpriced']} whose cost is not known" if facts["unpriced"] else ""
        requests = f"{facts['asked']} to an agent's service, {cost} USD{without}"
    running = f"running in process {process}" if process else f"not running; last stop: {facts['last_stop'] or 'n/a'}"
    if facts["paused"]:
        running += "; paused, `autoresearch resume` goes on" + (" after this experiment" if process and pending else "")
    alone = ", ".join(map(str, facts["val_only"]))
    held = f"; not kept, since they gain on val alone: {alone}" if alone else ""
    in_sight = ", which train.py can read" if facts["corpus"] in IN_SIGHT else ""
    terms = f"{facts['train_seconds']:g} s of training on {facts['corpus']}{in_sight}"
    if facts["fenced"]:
        terms = f"commands of at most {facts['train_seconds']:g} s on {facts['corpus']}; a fenced number, not a sealed one"
    trainings = f"{facts['trainings']} training{'s' * (facts['trainings'] != 1)}"
    rows = {
        "study": f"{facts['tag']} in {facts['workspace']}",
        "state": running,
        "machine": f"{facts['device'] or 'n/a'}, backend {facts['backend']}, profile {facts['profile']}",
        "terms": f"{terms}, decide {facts['decide']}",
        "best": f"{metric.text(facts['best_val_bpb'])}, experiment {facts['best_experiment']}"
        if facts["best_commit"]
        else "none yet",
        "gain": _gain(facts, metric) + held,
        "baseline": f"failed ({facts['baseline_failed']})" if facts["baseline_failed"] else metric.text(facts["baseline_val_bpb"]),
        "believe": facts["belief"],
        "noise": _noise(facts, metric),
        "time": f"{facts['trained_hours']:.2f} h of training, {facts['machine_hours']:.2f} h with start and scoring, {trainings}",
        "energy": _energy(facts),
        "verdicts": f"{counts}; {facts['rejected']} rejected before training",
        "runs again": f"{facts['lost']} lost, {facts['invalid']} invalid since the machine was disturbed",
        "requests": requests,
        "under way": under_way,
    }
    asked = [*facts["asked_for"], *(f"to try next: {text}" for text in facts["handed"])]
    rows |= {"asked for": ", ".join(asked)} if asked else {}
    rows |= {"told": facts["told"][-1]} if facts["told"] else {}
    rows |= {"ledger": facts["skipped_why"]} if facts["skipped_why"] else {}
    return [f"{name:<10} {value}" for name, value in rows.items()]


def _told(run: dict[str, Any], best: int | None) -> str:
    """Of one of several runs."""
    again = ", the best, again" if run["experiment"] == best else ""
    return f"worker {run['worker'] or 'n/a'}: experiment {run['experiment']}, run {run['run']}{again}: {run['description']}"


def _gain(facts: dict[str, Any], metric: "Metric") -> str:
    """Of the best over the baseline, on what decided and elsewhere."""
    if facts["gain_bpb"] is None:
        return "none yet"
    error = "not known with --decide strict" if facts["gain_error_bpb"] is None else f"+- {metric.amount(facts['gain_error_bpb'])}"
    on_slice, on_test = (
        "n/a" if facts[name] is None else metric.amount(facts[name]) for name in ("gain_slice_bpb", "gain_test_bpb")
    )
    return f"{metric.amount(facts['gain_bpb'])} {metric.label} ({error}); {on_slice} on the audit slice, {on_test} on the test"


def _noise(facts: dict[str, Any], metric: "Metric") -> str:
    if facts["sigma"]:
        sigma = f"{metric.amount(facts['sigma'])} (sigma, {facts['sigma_dof']} degrees of freedom)"
        return f"the seed alone moves {metric.name} by {sigma}"
    return "not measured: `autoresearch noise` does it" if facts["decide"] == "strict" else "not measured yet"


def _energy(facts: dict[str, Any]) -> str:
    if facts["energy_kwh"] is None:
        return "n/a: this machine does not tell it" if facts["trainings"] else "n/a"
    return f"{facts['energy_kwh']:.3f} kWh, measured in {facts['energy_trainings']} of the trainings"
