"""`autoresearch backends`: what there is to train on, and what works here."""

import json
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import Text, options
from autoresearch.commands.outcomes import WIDTH, shown
from autoresearch.commands.say import say_table

if TYPE_CHECKING:
    from autoresearch.hardware.devices.registry import Backend


@click.group(invoke_without_command=True)
@options("json")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List backends: what each is, whether it works here or why not, and the line that installs what it needs."""
    if context.invoked_subcommand is not None:
        return
    from autoresearch.checks import checkup
    from autoresearch.commands.bars import looking
    from autoresearch.hardware.devices import detect, registry

    backends = registry.scan()
    with looking(quiet=as_json, plain=False):
        backends, facts = detect.survey(backends)
    if as_json:
        rows = [
            {
                "name": one.name,
                "title": one.title,
                "rank": one.rank,
                "auto": one.auto,
                "requires": list(one.requires),
                "install": one.install or None,
                "facts": facts[one.name].to_dict(),
            }
            for one in backends.values()
        ]
        click.echo(json.dumps(checkup.anonymous(rows), indent=2))
        return
    for one in backends.values():
        device_facts = facts[one.name]
        told = [
            f"{one.name:<8} {one.title}" + ("" if one.auto or one.problem else " (only by name)"),
            f"         {f'works: {checkup.describe(device_facts)}' if device_facts.ok else f'not here: {device_facts.reason}'}",
            *([f"         to do: {device_facts.cure}"] if not device_facts.ok and device_facts.cure else []),
            f"         needs: {one.install or 'nothing more'}",
        ]
        say_table(told)


@command.command()
@click.argument("backend", type=Text(), metavar="NAME|FOLDER")
@options("device", "json")
@click.pass_context
def check(context: click.Context, backend: str, device: str | None, as_json: bool) -> None:
    """Is a backend right? Each contract, passed or failed, with what was measured. A few minutes where it compiles.

    FOLDER is one of your own that is not installed yet: it holds a backend.toml. Exit status 1 when a contract fails.

    Example: `autoresearch backends check cpu`
    """
    from autoresearch.checks.conformance import suite
    from autoresearch.hardware.devices import cards

    placed = cards.pick(_named(backend), device)
    if placed.card_reason and not as_json:
        click.echo(f"{'on':<{WIDTH}} {placed.card_reason}")
    context.exit(shown(suite.check(placed), as_json))


def _named(name: str) -> "Backend":
    """The backend of that name, or in that folder. Raises UsageError."""
    from autoresearch.errors import UsageError, nearest
    from autoresearch.hardware.devices import registry
    from autoresearch.paths import expanded

    backends = registry.scan()
    if name in backends:
        return backends[name]
    folder = expanded(name).resolve()
    if (folder / "backend.toml").is_file():
        return registry.read(folder.name, folder)
    raise UsageError(
        f"no backend {name!r}{nearest(name, backends)} (there are: {', '.join(backends)}), and no folder with a backend.toml; "
        "name one of them"
    )
