"""`autoresearch best`: the best train.py so far and what it gained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

if TYPE_CHECKING:
    from autoresearch.study.state import State


@click.command("best")
@options("study", "json")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the best train.py there.")
def command(workspace: Path | None, as_json: bool, output: Path | None) -> None:
    """The best train.py so far and what it gained.

    Example: `autoresearch best --output best_train.py`
    """
    from autoresearch import durable
    from autoresearch.data import sight
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report import answers
    from autoresearch.study.workspace import find

    study = find(workspace)
    facts = answers.best(study)
    if output is not None:
        output = expanded(output)
        if not output.name:
            raise UsageError("--output names no file; give it one, as in `--output best_train.py`")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder {output.parent}; make it, or give --output another one")
        durable.write(output, facts["train_py"])
    facts["output"] = str(output) if output else None
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    state = answers.state_of(study)
    say(gain(state))
    say(elsewhere(state))
    say(tested(state))
    if warning := sight.warning(study.corpus):
        say(warning)
    say(f"commit {facts['commit']} on branch {facts['branch']} in {study.folder}: {facts['description']}")
    if output:
        say(f"written to {output}")
    else:
        changed = f"; `autoresearch show {facts['experiment']}` says what it changed" if facts["experiment"] else ""
        say(f"`--output FILE` writes it{changed}")


def gain(state: "State") -> str:
    """The best, and how far it lies below the baseline."""
    best, found = state.best, state.gain
    if best is None:
        return "no val_bpb yet"
    baseline = state.experiments[0].val_bpb
    if found is None or baseline is None:
        return f"best val_bpb {best.val_bpb:.6f}, the baseline"
    percent = 100 * found.bpb / baseline
    return f"best val_bpb {best.val_bpb:.6f} by experiment {best.number}, {found} ({percent:.2f} %) below the baseline"


def elsewhere(state: "State") -> str:
    """The same on the audit slice, which a keep is checked against, beside the same runs' gain on the validation text."""
    held = ", ".join(map(str, state.val_only))
    return _elsewhere(state) + (f"; not kept, since they gain on val alone: experiments {held}" if held else "")


def _elsewhere(state: "State") -> str:
    best, baseline = state.best, state.baseline
    if best is None or baseline is None or not baseline.slices:
        return "audit slice n/a: the corpus has no document to spare for it, or the baseline was not scored on it"
    if reason := baseline.slices[0].reason:
        return f"audit slice: decides nothing, since {reason}"
    if best is baseline:
        return f"audit slice: {best.slices[-1].bpb:.6f} bits a byte"
    if (found := state.slice_gain) is None or found.gain_slice is None or found.gain_val is None:
        return f"audit slice: the gain is n/a until `autoresearch run` ends; the baseline has {baseline.slices[-1].bpb:.6f}"
    other, val = (bpb if error is None else f"{bpb:.6f} +- {error:.6f}" for bpb, error in (found.gain_slice, found.gain_val))
    return f"audit slice: {other} below the baseline's, and {val} by the same runs on the validation text (+- between documents)"


def tested(state: "State") -> str:
    """The same on the test text, which took part in no decision."""
    best, baseline = state.best, state.baseline
    if best is None or baseline is None or baseline.test_bpb is None:
        return "test_bpb n/a: the corpus has no document to spare for a test text"
    if best is baseline:
        return f"test_bpb {best.test_bpb:.6f}"
    if best.test_bpb is None:
        return f"test_bpb n/a until `autoresearch run` ends; the baseline has {baseline.test_bpb:.6f}"
    below = baseline.test_bpb - best.test_bpb
    percent = 100 * below / baseline.test_bpb
    return f"test_bpb {best.test_bpb:.6f}, {below:.6f} ({percent:.2f} %) below the baseline's, on text that no decision saw"
