"""`autoresearch cache`: what lies in the cache, and room made in it."""

import json

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

ALL = "all"


@click.command("cache")
@options("json")
@click.option("--clean", metavar=f"KIND|{ALL}", help="Remove one kind; or all of which nothing is missed.")
def command(as_json: bool, clean: str | None) -> None:
    """What lies in the cache: its folder, and the size of each kind.

    `--clean all` leaves `copies` and `agents`: what studies were made of may have changed since, and without its copy they can't go
    on; and a sign-in that a coding agent has renewed may be the only valid one. No study is in the cache, and the rest can be made
    again. Nothing is removed while a text is being prepared.

    Example: `autoresearch cache --clean compile`
    """
    from autoresearch.data import cached
    from autoresearch.errors import UsageError
    from autoresearch.paths import cache_dir

    if clean not in (None, ALL, *cached.KINDS):
        raise UsageError(
            f"--clean KIND|{ALL} takes one of {', '.join(cached.KINDS)}, {ALL}, not {clean!r}; see `autoresearch cache`"
        )
    root = cache_dir()
    kinds = [kind for kind in cached.KINDS if kind not in cached.ASKED_FOR] if clean == ALL else [clean] if clean else []
    removed = cached.clean(root, kinds) if kinds else 0
    sizes = cached.sizes(root)
    if as_json:
        click.echo(json.dumps({"folder": str(root), "bytes": sizes, "removed_bytes": removed}, indent=2))
        return
    say(f"cache     {root} (AUTORESEARCH_CACHE_DIR moves it)")
    for name, size in sizes.items():
        say(f"{name:<12} {size / 1e6:>10,.1f} MB  {cached.KINDS[name]}")
    if clean:
        say(f"removed   {removed / 1e6:,.1f} MB")
    else:
        say("`autoresearch cache --clean KIND` removes one")
