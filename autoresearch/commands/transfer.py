"""`autoresearch transfer`: do the kept edits of a study hold at another size?"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import Folder, options
from autoresearch.commands.say import say, say_table
from autoresearch.transfer import SEEDS

if TYPE_CHECKING:
    from autoresearch.metric import Metric
    from autoresearch.study.workspace import Study


class Numbers(click.ParamType[tuple[int, ...]]):
    """Experiments by number: 3,7."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            self.fail(f"{value!r} is no list of experiments; write it as in 3,7", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command("transfer")
@click.argument("folder", type=Folder(), metavar="STUDY")
@click.option("--profile", metavar="NAME|FILE.toml", help="The other size; `autoresearch profiles` lists those that are shipped.")
@options("train_seconds")
@click.option("--seeds", type=click.IntRange(2, 100), metavar="K", help=f"Trainings of base and stack each. Default: {SEEDS}.")
@click.option("--edits", type=Numbers(), metavar="N,N,...", help="Only these kept experiments of STUDY. Default: all of them.")
@click.option(
    "--constants",
    type=click.Choice(["ratio", "value"]),
    help="How a changed constant goes over. ratio (default): as many times that size's own; value: as it is.",
)
@click.option("--attribute", is_flag=True, help="Also find out which of the edits carry it, by more trainings.")
@click.option("--apply", "is_apply", is_flag=True, help="Of a transfer: make a study that begins with the train.py that holds.")
@click.option(
    "--workspace", type=Folder(), metavar="DIR",
    help="Where the new study lies. Default: beside STUDY, STUDY-transfer-PROFILE, with --apply STUDY-applied.",
)  # fmt: skip
@click.option("--yes", "is_agreed", is_flag=True, help="Don't ask whether the price in hours is right.")
@options("device", "sandbox", "on_battery", "json", "plain")
@click.pass_context
def command(
    context: click.Context, /, folder: Path, is_apply: bool, workspace: Path | None, on_battery: bool, **given: Any
) -> None:
    """Do the kept edits of STUDY hold at another size?

    All of them are made on the other profile's train.py. That stack and the profile's own train.py are trained by turns, on K seeds
    each, and scored on the validation text and on a test text that no decision saw: holds, holds in part, does not hold, or not
    known. It is a study of its own; typed again, the same command goes on where it stopped.

    Exit status: 0 whatever the answer is; 1 it was not measured to its end; 130 it was ended by Ctrl-C.

    Examples: `autoresearch transfer my-night --profile big.toml`, `autoresearch transfer my-night-transfer-big --apply`
    """
    from autoresearch.errors import UsageError
    from autoresearch.hardware.now import power
    from autoresearch.paths import expanded
    from autoresearch.study import workspace as workspaces

    study = workspaces.load(expanded(folder).resolve())
    if is_apply:
        apply(study, workspace, **given)
        return
    if given["profile"] is None:
        raise UsageError("transfer needs --profile, the size to go to; `autoresearch profiles` lists those that are shipped")
    power.refuse_on_battery(power.supply(), on_battery)
    context.exit(transfer(study, workspace, **given))


def transfer(
    first: "Study", workspace: Path | None, *, is_agreed: bool, sandbox: str, as_json: bool, plain: bool, **given: Any
) -> int:  # fmt: skip
    """Make the study or go on with it; the exit status."""
    from autoresearch.commands.bars import bars
    from autoresearch.commands.say import say_device
    from autoresearch.paths import expanded
    from autoresearch.report import answers, panel
    from autoresearch.sandbox import levels
    from autoresearch.transfer import begin, figures, night

    level = levels.choose(sandbox)
    show = partial(bars, quiet=as_json, plain=plain)
    place = expanded(workspace).resolve() if workspace else None
    agree = _agreed if is_agreed else _ask
    made = begin.ready(first, place, begin.Asked(**given), level, partial(say, err=as_json), show, agree)
    study, stack, rows = made.study, made.stack, made.rows
    say_device(made.setup, as_json)
    past = answers.events(study)
    with panel.choose(
        False, plain or as_json, sys.stderr if as_json else sys.stdout, study.machine_line, past, study.profile.budget
    ) as listener:
        ending = night.measure(study, made.setup, stack, rows, listener)
    if ending.exit_status:
        say(f"{ending.detail}\nnot measured to the end: {ending.reason}; the same command goes on".lstrip("\n"), err=True)
    table = figures.facts(study, answers.state_of(study), stack if rows else None, len(rows) if rows else None)
    if as_json:
        click.echo(json.dumps(study.metric.told(table), indent=2))
    else:
        say_table(lines(table, study.metric))
    return ending.exit_status


def _agreed(price: str) -> None:
    """`--yes`."""


def _ask(price: str) -> None:
    """UsageError where nobody can be asked."""
    from autoresearch.errors import UsageError

    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(f"{price}: there is no terminal to ask on; type it again with --yes")
    if not click.confirm("Train that?", err=True):
        raise click.exceptions.Exit(0)


def apply(
    done: "Study", workspace: Path | None, *, device: str | None, as_json: bool, plain: bool, is_agreed: bool, sandbox: str,
    **given: Any,
) -> None:  # fmt: skip
    """A study whose first commit is the best of a transfer."""
    from autoresearch.commands.bars import bars
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded, typed
    from autoresearch.transfer import begin

    if wrong := next((name for name, value in given.items() if value not in (None, False)), None):
        raise UsageError(f"--apply takes what the transfer has measured; leave out --{wrong.replace('_', '-')}")
    tell, place = partial(say, err=as_json), expanded(workspace).resolve() if workspace else None
    study, best, edits = begin.applied(done, place, device, tell, partial(bars, quiet=as_json, plain=plain))
    if as_json:
        click.echo(json.dumps({"workspace": str(study.folder), "edits": edits, "experiment": best.number}, indent=2))
        return
    assert done.origin is not None, "it is a transfer"
    tell(f"applied   edits {', '.join(map(str, edits))} of {done.origin.tag}, experiment {best.number} of {done.folder}")
    say(f"go on     autoresearch run --workspace {typed(study.folder)}")


def lines(table: dict[str, Any], metric: "Metric") -> list[str]:
    """table: figures.facts'."""
    small, big, stack = table["small"], table["big"], table["stack"]
    on_test = f", {metric.amount(small['test_gain_bpb'])} on the test" if small["test_gain_bpb"] is not None else ""
    rows = ["", f"{small['profile']:<12} {_gain(small['gain_bpb'], small['interval_bpb'], metric)}{on_test}"]
    if stack is None:
        return [*rows, f"{big['profile']:<12} not measured yet"]
    rows.append(_of_side(big["profile"], stack, metric))
    rows += ["", f"{table['verdict']}: {table['reason']}"]
    rows += _attributed(table["attribution"], metric) if table["attribution"] else []
    if carriers := table["carriers"]:
        rows += ["", _of_side("these alone", carriers, metric), f"{carriers['verdict']}: {carriers['reason']}"]
    kept = stack["kept"] or bool(carriers and carriers["kept"])
    rows += [f"command  autoresearch transfer {_typed(table['workspace'])} --apply"] if kept else []
    return [*rows, f"look     autoresearch results --workspace {_typed(table['workspace'])}"]


def _of_side(name: str, side: dict[str, Any], metric: "Metric") -> str:
    gains, spans = side["gain_bpb"], side["interval_bpb"]
    test = f", {_gain(gains['test'], spans['test'], metric)} on the test" if gains["test"] is not None else ""
    return f"{name:<12} {_gain(gains['val'], spans['val'], metric)}{test}; {side['base_runs']} and {side['runs']} runs"


def _gain(gain: float | None, interval: "tuple[float, float] | None", metric: "Metric") -> str:
    if gain is None:
        return "n/a"
    span = " (interval n/a)" if interval is None else " ({} to {})".format(*map(metric.amount, interval))
    return f"{metric.amount(gain)} {metric.label} {metric.beyond} the base{span}"


def _attributed(found: dict[str, Any], metric: "Metric") -> list[str]:
    if found["edits"] is None:
        return ["", f"which edits  {found['rows_done']} of {found['rows']} rows are measured; they don't tell yet"]
    rows = ["", f"which edits  by {found['rows']} rows, sigma {metric.amount(found['sigma'])}, {found['dof']} degrees of freedom;"]
    rows.append("             the chance of any wrong `carries` or `reverses` among all is 5 %")
    for edit in sorted(found["edits"], key=lambda one: -one["gain"]):
        numbers = "+".join(map(str, edit["edits"]))
        rows.append(f"edit {numbers:<7} {edit['share']:<9} {metric.amount(edit['gain'], edit['error'])}  {edit['description']}")
    return rows


def _typed(folder: str) -> str:
    from autoresearch.paths import typed

    return typed(Path(folder))
