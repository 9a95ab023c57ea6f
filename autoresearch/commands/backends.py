"""`autoresearch backends`: what there is to train on, and what works here."""

import json

import click

from autoresearch.commands.options import options


@click.command()
@options("json")
def command(as_json):
    """List backends: what each is, whether it works here or why not, and the line that installs what it needs."""
    from autoresearch.commands.prepare import looking
    from autoresearch.hardware import checkup, detect, registry

    backends = registry.scan()
    with looking(quiet=as_json, plain=False):
        facts = detect.probe_all(backends)
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
        found = facts[one.name]
        click.echo(f"{one.name:<8} {one.title}" + ("" if one.auto or one.problem else " (only by name)"))
        click.echo(f"         {'works: ' + checkup.describe(found) if found.ok else 'not here: ' + str(found.reason)}")
        if not found.ok and found.cure:
            click.echo(f"         to do: {found.cure}")
        click.echo(f"         needs: {one.install or 'nothing more'}")
