"""`autoresearch bench`: what this machine makes of the job, as a table or as a run card that others can compare with theirs."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import options

if TYPE_CHECKING:
    from autoresearch.commands.bars import Shown
    from autoresearch.hardware.devices.detect import Choice
    from autoresearch.hardware.planner.plan import Plan


@click.group(invoke_without_command=True)
@options("backend", "device")
@click.option(
    "--profile", default="auto", show_default=True, metavar="NAME,...|all|auto",
    help="Profiles to measure: some by name, all of this backend's, or the one that a run would use.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Under a minute or two a profile: no full training, so no val_bpb, and no cold start.")
@options("corpus", "train_seconds", "json", "plain")
@click.pass_context
def command(
    context: click.Context, backend: str, device: str | None, profile: str, quick: bool, corpus: str, train_seconds: float | None,
    as_json: bool, plain: bool,
) -> None:  # fmt: skip
    """Measure this machine: limits, tokens/s, MFU, memory, start-up, experiments per hour, and val_bpb of one full run.

    A table, or with --json a run card to keep and to compare. Nothing else should run meanwhile; what does is named. Exit status: 0
    when every profile was measured, 1 when one failed.

    Example: `autoresearch bench --quick`, `autoresearch bench --json > mine.json`
    """
    if context.invoked_subcommand is not None:
        return

    from autoresearch.bench import card, text
    from autoresearch.bench.measure import measure
    from autoresearch.child import RunFailed
    from autoresearch.commands.bars import bars, looking
    from autoresearch.data import corpora
    from autoresearch.data.prepare import prepare
    from autoresearch.errors import EnvironmentFailure
    from autoresearch.hardware.devices import detect
    from autoresearch.hardware.now import conditions

    names = _names(profile)
    with looking(quiet=as_json, plain=plain):
        choice = detect.detect(backend, device=device)
    # Whatever can be wrong with the call is said before the minutes that measuring takes, and preparing is a load itself.
    jobs = []
    for made in _plans(names, choice):
        one = made.profile
        if train_seconds is not None:
            one = one.with_train_seconds(train_seconds)
        name, _ = corpora.choose(corpus, one.sizes.corpus)
        with bars(quiet=as_json, plain=plain) as on_progress:
            jobs.append((made.choice, one, prepare(name, one.sizes.vocab_size, on_progress)))
    now = conditions.look(choice.backend)
    rows, limits, failed = [], [], []
    with bars(quiet=False, plain=plain or as_json) as shown:
        assert shown is not None, "it is not quiet"
        for chosen, one, prepared in jobs:
            say = partial(_say, shown, one.name)
            try:
                row, found = measure(chosen, one, prepared, quick, say)
            except (RunFailed, EnvironmentFailure) as failure:  # what the other profiles gave is kept
                failed.append((one.name, f"{failure.kind}: {failure}" if isinstance(failure, RunFailed) else str(failure)))
                say(f"failed: {failed[-1][1]}")
                continue
            rows.append(row)
            limits.append(found)
    whole = card.make(choice, rows, limits, failed, now, quick)
    if as_json:
        click.echo(json.dumps(whole, indent=2))
    else:
        for line in text.lines(whole):
            click.echo(line)
    context.exit(1 if failed else 0)


@command.command()
@click.argument("cards", type=click.Path(path_type=Path, dir_okay=False), metavar="A.json B.json ...", nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "csv"]), default="text", show_default=True,
    help="How it is printed; csv leaves out the notes.",
)  # fmt: skip
def compare(cards: tuple[Path, ...], form: str) -> None:
    """Run cards beside each other, with the ratio of each to the first.

    What the noise of the steps hides is said below, and what does not compare. Studies are compared by `autoresearch compare`.

    Example: `autoresearch bench compare laptop.json desktop.json server.json --format markdown`
    """
    from autoresearch.bench import card, text
    from autoresearch.errors import UsageError

    if len(cards) < 2:
        raise UsageError("one run card alone compares with nothing; name two or more")
    comparison = text.comparison([card.read(path) for path in cards])
    for line in {"text": comparison.text, "markdown": comparison.markdown, "csv": comparison.csv}[form]():
        click.echo(line)


def _say(shown: "Shown", name: str, line: str) -> None:
    shown.say(f"{name}: {line}")


def _names(text: str) -> list[str]:
    """What --profile names, each one time; `all` stands alone. Raises UsageError, before the seconds that the probes take."""
    from autoresearch.errors import UsageError
    from autoresearch.hardware.planner import profiles

    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if "all" in names and len(names) > 1:
        raise UsageError("--profile all is every profile of this backend already; name some, or all alone")
    for name in names:
        if name not in ("auto", "all"):
            profiles.load(name)
    return names


def _plans(names: list[str], choice: "Choice") -> "list[Plan]":
    """A plan for each profile of those names, checked against this backend and its train.py. Raises UsageError.

    `auto` is as autotune has left it on this machine, or the named profile that it starts from.
    """
    from autoresearch.errors import UsageError
    from autoresearch.hardware.autotune import tune
    from autoresearch.hardware.planner import plan, profiles

    name, shelf = choice.backend.name, profiles.all()
    if names == ["all"]:
        plans = [plan.from_choice(choice, profile.name) for profile in shelf.values() if name in profile.backends]
        if not plans:
            raise UsageError(f"no profile is for the backend {name}; write one and pass it with --profile FILE.toml")
    else:
        plans = []
        for asked in names:
            made = plan.from_choice(choice, asked)
            tuned = tune.remembered(made) if asked == "auto" else None
            plans.append(made if tuned is None else plan.informed(tune.applied(made, tuned)))
    plans = list({made_plan.profile.name: made_plan for made_plan in plans}.values())  # auto may be one of the others
    for made_plan in plans:
        profiles.check(made_plan.profile, {name: choice.backend})
    return plans
