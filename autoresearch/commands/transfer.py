"""`autoresearch transfer`: do the kept edits of a study hold at another size?"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import Folder, options
from autoresearch.commands.say import say, say_table

if TYPE_CHECKING:
    from autoresearch.hardware.planner.plan import Plan
    from autoresearch.metric import Metric
    from autoresearch.study.origin import Constants
    from autoresearch.study.state import State
    from autoresearch.study.workspace import Study
    from autoresearch.transfer.design import Levels
    from autoresearch.transfer.stack import Stack

SEEDS = 3


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
def command(context: click.Context, /, folder: Path, is_apply: bool, workspace: Path | None, **given: Any) -> None:
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
    power.refuse_on_battery(power.supply(), given["on_battery"])
    context.exit(transfer(study, workspace, **given))


def transfer(
    first: "Study", workspace: Path | None, *, profile: str, attribute: bool, is_agreed: bool, device: str | None, sandbox: str,
    as_json: bool, plain: bool, **given: Any,
) -> int:  # fmt: skip
    """Make the study or go on with it; the exit status."""
    from autoresearch.commands.bars import bars
    from autoresearch.commands.say import say_device
    from autoresearch.errors import UsageError
    from autoresearch.hardware.planner import profiles
    from autoresearch.paths import expanded
    from autoresearch.report import answers, panel
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, new, terms
    from autoresearch.study import workspace as workspaces
    from autoresearch.study.commits import head_text
    from autoresearch.study.new import Beginning
    from autoresearch.transfer import figures, night
    from autoresearch.transfer.stack import Stack, kept

    first_state = answers.state_of(first)
    night.check_origin(first, first_state)
    big = profiles.load(profile)
    place = expanded(workspace) if workspace else first.folder.with_name(f"{first.folder.name}-transfer-{big.name}")
    place = place.resolve()
    level = levels.choose(sandbox, unattended=True)
    tell = partial(say, err=as_json)
    show = partial(bars, quiet=as_json, plain=plain)
    stack: Stack | None = None

    if workspaces.is_workspace(place):
        study = workspaces.load(place)
        _check_terms(study, first, profile, given)
        lock.check(study.lock)
        assert study.origin is not None, "the terms were checked"
        state = answers.state_of(study)
        base = answers.train_py(study, state.experiments[0]) if state.experiments else head_text(place)
        stack = Stack(base, kept(first, first_state, study.origin.edits), study.origin.constants)
        begun = dict(zip(study.origin.edits, study.origin.commits, strict=False))
        if {edit.number: edit.commit for edit in stack.edits} != begun:
            raise UsageError(f"the edits of {first.folder} are not those that the transfer began with; begin another: --workspace")
        has_begun = len(state.experiments) > figures.ROWS
        rows = _rows(stack, attribute or has_begun)
        is_new = rows is not None and not has_begun
        _price(study.profile.budget.train_seconds, state, study.origin.seeds, rows, first_state, is_new, is_agreed, tell)
        with show() as on_progress:
            setup = terms.ready(study, level, on_progress, device)
    else:
        edits = kept(first, first_state, given["edits"])
        seeds = given["seeds"] or SEEDS
        how: Constants = given["constants"] or "ratio"

        def begin(planned: "Plan", text: str) -> Beginning:
            nonlocal stack
            night.check_fits(planned)
            stack = Stack(text, edits, how)
            for line in _made(stack, first, night.carried_by_hand(first, first_state)):
                tell(line)
            if not stack.edits:
                raise UsageError(f"no kept edit of {first.folder} can be made on the train.py of {planned.profile.name}; see above")
            rows = _rows(stack, attribute)
            _price(planned.profile.budget.train_seconds, None, seeds, rows, first_state, True, is_agreed, tell)
            return Beginning(origin=night.origin_of(first, first_state, stack.edits, seeds, how))

        chosen = {
            "profile": profile, "backend": first.backend, "device": device, "corpus": first.corpus, "seed": first.seed,
            "task": first.task.named, "decide": "strict", "tag": f"{first.tag[:40]}-transfer", "autotune": "off",
            "train_seconds": given["train_seconds"], **{name.replace("-", "_"): value for name, value in first.options.items()},
        }  # fmt: skip
        study, setup = new.make(place, chosen, tell, show, level, begin)
        assert stack is not None and study.origin is not None, "`begin` has made them"
        if study.checksums["corpus"] != first.checksums["corpus"]:
            tell(f"text      {study.corpus} is not what it was for {first.folder}: its gain there was on another text")
        rows = _rows(stack, attribute)
    if attribute and rows is None:
        tell("one edit    is all there is, or all go together: nothing to tell apart")
    say_device(setup, as_json)
    past = answers.events(study)
    with panel.choose(
        False, plain or as_json, sys.stderr if as_json else sys.stdout, study.machine_line, past, study.profile.budget
    ) as listener:
        ending = night.measure(study, setup, stack, rows, listener)
    if ending.exit_status:
        say(f"{ending.detail}\nnot measured to the end: {ending.reason}; the same command goes on".lstrip("\n"), err=True)
    table = figures.facts(study, answers.state_of(study), stack if rows else None, len(rows) if rows else None)
    if as_json:
        click.echo(json.dumps(study.metric.told(table), indent=2))
    else:
        say_table(lines(table, study.metric))
    return ending.exit_status


def apply(
    done: "Study", workspace: Path | None, *, device: str | None, as_json: bool, plain: bool, profile: str | None, **given: Any
) -> None:
    """A study whose first commit is the best of a transfer."""
    from autoresearch.commands.bars import bars
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded, typed
    from autoresearch.report import answers
    from autoresearch.study import new
    from autoresearch.study.new import Beginning
    from autoresearch.transfer import figures

    if done.origin is None:
        raise UsageError(f"{done.folder} is no transfer; `autoresearch transfer STUDY --profile NAME` makes one")
    asked = {"profile": profile} | {name: given[name] for name in ("train_seconds", "seeds", "edits", "constants")}
    asked["attribute"] = given["attribute"] or None
    if wrong := next((name for name, value in asked.items() if value is not None), None):
        raise UsageError(f"--apply takes what the transfer has measured; leave out --{wrong.replace('_', '-')}")
    state = answers.state_of(done)
    best = state.best
    if best is None or best.number == 0:
        stacked = state.experiments[figures.STACK] if len(state.experiments) > figures.STACK else None
        why = stacked.reason if stacked and stacked.verdict else "it is not measured to its end"
        raise UsageError(f"there is nothing to apply: {why}; `autoresearch results --workspace {typed(done.folder)}` has the rest")
    text, edits = answers.train_py(done, best), figures.edits_of(best)
    place = (expanded(workspace) if workspace else done.folder.with_name(f"{done.folder.name}-applied")).resolve()
    tell = partial(say, err=as_json)
    with _profile(done) as path:
        chosen = {
            "profile": str(path), "backend": done.backend, "device": device, "corpus": done.corpus, "seed": done.seed,
            "task": done.task.named, "tag": f"{done.tag[:48]}-applied", "autotune": "off",
        }  # fmt: skip
        study, _ = new.make(place, chosen, tell, partial(bars, quiet=as_json, plain=plain), None, lambda *_: Beginning(text))
    if as_json:
        click.echo(json.dumps({"workspace": str(study.folder), "edits": edits, "experiment": best.number}, indent=2))
        return
    tell(f"applied   edits {', '.join(map(str, edits))} of {done.origin.tag}, experiment {best.number} of {done.folder}")
    say(f"go on     autoresearch run --workspace {typed(study.folder)}")


def _rows(stack: "Stack", attribute: bool) -> "list[Levels] | None":
    """What the attribution trains; None: nothing, since it was not asked for or one edit is all there is."""
    from autoresearch.errors import UsageError
    from autoresearch.transfer import design

    if len(stack.factors) > design.MOST_EDITS and attribute:
        raise UsageError(f"--attribute takes up to {design.MOST_EDITS} edits; choose with --edits")
    return design.rows(len(stack.factors)) if attribute and len(stack.factors) > 1 else None


def _check_terms(study: "Study", first: "Study", profile: str, given: dict[str, Any]) -> None:
    """UsageError where the study that is there is not the transfer that was asked for."""
    from autoresearch.errors import UsageError
    from autoresearch.study import terms

    origin, another = study.origin, "another `--workspace` begins another"
    if origin is None:
        raise UsageError(f"{study.folder} is a study, and no transfer; {another}")
    if (origin.tag, origin.created) != (first.tag, first.created):
        made_of = f"the study {origin.tag} of {origin.created}, then in {origin.study}"
        raise UsageError(f"{study.folder} is a transfer of {made_of}; {first.folder} has {first.tag} of {first.created}: {another}")
    terms.check_options(study, {"profile": profile, "train_seconds": given["train_seconds"]})
    for name, kept in (("seeds", origin.seeds), ("constants", origin.constants), ("edits", origin.edits)):
        if given[name] not in (None, kept):
            shown = ",".join(map(str, kept)) if isinstance(kept, tuple) else kept
            raise UsageError(f"--{name}: the transfer in {study.folder} has {shown} and keeps it; leave it out, or {another}")


def _price(
    train_seconds: float, state: "State | None", seeds: int, rows: "list[Levels] | None", first: "State", is_new: bool,
    is_agreed: bool, tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Say what is left to be trained, and ask where nobody has agreed to it yet. UsageError where nobody can be asked."""
    from autoresearch.errors import UsageError
    from autoresearch.transfer import night

    left = night.trainings(state, seeds, rows)
    if not left:
        return
    hours = left * (train_seconds + _beside(state if state and state.results else first)) / 3600
    long = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    price = f"{left} trainings of {train_seconds:g} s, about {long} with start and scoring"
    tell(f"price     {price}")
    if is_agreed or not is_new:
        return
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError(f"{price}: there is no terminal to ask on; type it again with --yes")
    if not click.confirm("Train that?", err=True):
        raise click.exceptions.Exit(0)


def _beside(state: "State") -> float:
    """Seconds of a run beside its training: start-up, scoring, and the test text's scoring."""
    from statistics import median

    results = [result for experiment in state.experiments for result in experiment.results if result.ok]
    times = [(result.startup_seconds or 0.0) + 2 * (result.scoring_seconds or 0.0) for result in results]
    return median(times) if times else 0.0


def _made(stack: "Stack", first: "Study", has_own: bool) -> list[str]:
    """What goes over, what not, and as what."""
    changes = stack.changes()
    rows = [f"from      {first.folder}: {len(stack.edits)} of {len(stack.edits) + len(stack.left_out)} edits go over"]
    rows += [f"edit {edit.number:<4} {'; '.join(changes[edit.number])}" for edit in stack.edits]
    for factor in stack.factors:
        if len(factor) > 1:
            numbers = ", ".join(str(edit.number) for edit in factor)
            rows.append(f"together  {numbers}: none can be made without those before it")
    rows += [f"left out  {one.edit.number} ({one.edit.description}): {one.reason}" for one in stack.left_out]
    if has_own:
        rows.append("base      this version's train.py: what was edited there before the first run stays behind")
    return rows


@contextmanager
def _profile(study: "Study") -> Iterator[Path]:
    """The study's own, as a file of that name."""
    import tempfile

    import tomli_w

    table = study.profile.to_dict()
    with tempfile.TemporaryDirectory(prefix="autoresearch-") as folder:
        path = Path(folder) / f"{table.pop('name')}.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        yield path


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
