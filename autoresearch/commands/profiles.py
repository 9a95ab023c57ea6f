"""`autoresearch profiles`: list, show and check the sizes for classes of machines."""

import json
from pathlib import Path
from typing import Any

import click

from autoresearch.commands.options import Text, options


@click.group(invoke_without_command=True)
@options("json")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List profiles: for which backend and which device each is, and its sizes. `doctor` says which one fits here."""
    if context.invoked_subcommand is not None:
        return
    from autoresearch.hardware.planner import profiles

    shelf = profiles.all()
    if as_json:
        click.echo(json.dumps([profile.to_dict() for profile in shelf.values()], indent=2))
        return
    rows = [("NAME", "BACKENDS", "FOR", "CORPUS", "VOCAB", "SEQ_LEN", "BUDGET")]
    for profile in shelf.values():
        data = profile.sizes
        budget = f"{profile.budget.train_seconds:g} s"
        sizes = (data.corpus, str(data.vocab_size), str(data.seq_len), budget)
        rows.append((profile.name, " ".join(profile.backends), profiles.conditions(profile.match), *sizes))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command()
@click.argument("name", type=Text(), metavar="NAME|FILE.toml")
@options("json")
def show(name: str, as_json: bool) -> None:
    """Print one profile: its file, with the source of every number, or with --json its values."""
    from autoresearch.hardware.planner import profiles

    profile = profiles.load(name)
    if as_json:
        click.echo(json.dumps(profile.to_dict(), indent=2))
    else:
        click.echo(Path(profile.source).read_text(encoding="utf-8").rstrip())


@command.command()
@click.argument("files", metavar="FILE.toml...", nargs=-1, required=True)
@options("json")
@click.pass_context
def check(context: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check profile files: keys, values, and that each constant is one of its backends' train.py. Exit status 1 for a fault."""
    from autoresearch.errors import UsageError
    from autoresearch.hardware.devices import registry
    from autoresearch.hardware.planner import profiles

    backends = registry.scan()
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            notes = profiles.check(profiles.load(file), backends)
            rows.append({"file": file, "ok": True, "notes": notes})
        except UsageError as fault:
            rows.append({"file": file, "ok": False, "fault": str(fault)})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['file']}: ok ({'; '.join(row['notes'])})" if row["ok"] else f"fault: {row['fault']}")
    if not all(row["ok"] for row in rows):
        context.exit(1)
