"""`autoresearch status`: where the study stands, from its ledger; also while it runs."""

import json
from pathlib import Path
from typing import Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say_table
from autoresearch.data.sight import IN_SIGHT


@click.command("status")
@options("study", "json")
def command(workspace: Path | None, as_json: bool) -> None:
    """Where the study stands.

    Example: `autoresearch status --json`
    """
    from autoresearch.report import answers
    from autoresearch.study.workspace import find

    facts = answers.status(find(workspace))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    say_table(lines(facts))


def lines(facts: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {word}" for word, count in facts["counts"].items())
    pending, process = facts["pending"], facts["process"]
    under_way = "none"
    if pending:
        under_way = f"experiment {pending['experiment']}, run {max(1, pending['runs'])}: {pending['description']}"
    if facts["best_runs_again"]:
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
    rows = {
        "study": f"{facts['tag']} in {facts['workspace']}",
        "state": running,
        "machine": f"{facts['device'] or 'n/a'}, backend {facts['backend']}, profile {facts['profile']}",
        "terms": f"{facts['train_seconds']:g} s of training on {facts['corpus']}{in_sight}, decide {facts['decide']}",
        "best": f"{_number(facts['best_val_bpb'])}, experiment {facts['best_experiment']}" if facts["best_commit"] else "none yet",
        "gain": _gain(facts) + held,
        "baseline": f"failed ({facts['baseline_failed']})" if facts["baseline_failed"] else _number(facts["baseline_val_bpb"]),
        "noise": f"sigma {facts['sigma']:.6f}, {facts['sigma_dof']} degrees of freedom" if facts["sigma"] else "not measured yet",
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


def _gain(facts: dict[str, Any]) -> str:
    """Of the best over the baseline, on each text."""
    if facts["gain_bpb"] is None:
        return "none yet"
    error = "not known with --decide strict" if facts["gain_error_bpb"] is None else f"+- {facts['gain_error_bpb']:.6f}"
    others = f"{_number(facts['gain_slice_bpb'])} on the audit slice, {_number(facts['gain_test_bpb'])} on the test"
    return f"{facts['gain_bpb']:.6f} bpb ({error}); {others}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.6f}"
