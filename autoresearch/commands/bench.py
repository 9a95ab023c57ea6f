"""`autoresearch bench`: what this machine makes of the job, as a table or as a run card that others can compare with theirs."""

import json
from pathlib import Path

import click

from autoresearch.commands.options import options


@click.group(invoke_without_command=True)
@options("backend")
@click.option(
    "--profile", default="auto", show_default=True, metavar="NAME,...|all|auto",
    help="Profiles to measure: some by name, all of this backend's, or the one that a run would use.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Under a minute or two a profile: no full training, so no val_bpb, and no cold start.")
@options("corpus", "train_seconds", "json", "plain")
@click.pass_context
def command(context, backend, profile, quick, corpus, train_seconds, as_json, plain):
    """Measure this machine: limits, tokens/s, MFU, memory, start-up, experiments per hour, and val_bpb of one full run.

    A table, or with --json a run card to keep and to compare. Nothing else should run meanwhile; what does is named. Exit status: 0
    when every profile was measured, 1 when one failed.

    Example: `autoresearch bench --quick`, `autoresearch bench --json > mine.json`
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import replace

    from autoresearch.bench import card, text
    from autoresearch.child import RunFailed
    from autoresearch.commands.prepare import bars, looking
    from autoresearch.data import corpora
    from autoresearch.data.prepare import prepare
    from autoresearch.hardware import detect

    with looking(quiet=as_json, plain=plain):
        choice = detect.detect(backend)
    rows, limits, failed = [], [], False
    for one in _profiles(profile, choice):
        if train_seconds is not None:
            one = replace(one, budget=one.budget | {"train_seconds": train_seconds})
        name, _ = corpora.choose(corpus, one.data["corpus"])
        with bars(quiet=as_json, plain=plain) as on_progress:
            prepared = prepare(name, one.data["vocab_size"], on_progress)

        def say(line: str, name: str = one.name) -> None:
            click.echo(f"{name}: {line}", err=True)

        try:
            row, found = card.measure(choice, one, prepared, quick, say)
        except RunFailed as failure:
            click.echo(f"{one.name} failed ({failure.kind}): {failure}", err=True)
            failed = True
            continue
        rows.append(row)
        limits.append(found)
    made = card.card(choice, rows, limits, None, quick)
    if as_json:
        click.echo(json.dumps(made, indent=2))
    else:
        for line in text.lines(made):
            click.echo(line)
    context.exit(1 if failed else 0)


@command.command()
@click.argument("first", type=click.Path(path_type=Path, dir_okay=False), metavar="A.json")
@click.argument("second", type=click.Path(path_type=Path, dir_okay=False), metavar="B.json")
def compare(first, second):
    """Two run cards beside each other, with the ratio of the second to the first.

    Example: `autoresearch bench compare laptop.json desktop.json`
    """
    from autoresearch.bench import card, text

    for line in text.comparison(card.read(first), card.read(second)):
        click.echo(line)


def _profiles(names: str, choice) -> list:
    """The profiles that were asked for, all of them for this backend. Raises UsageError."""
    from autoresearch.hardware import profiles

    shelf = profiles.all()
    if names == "all":
        return [one for one in shelf.values() if choice.backend.name in one.backends]
    return [profiles.choose(name.strip(), choice.backend, choice.facts, shelf)[0] for name in names.split(",")]
