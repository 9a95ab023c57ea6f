"""`autoresearch cache`: what lies in the cache, and room made in it."""

import json
from pathlib import Path

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

# folder of the cache: what is in it, and what its loss costs
KINDS = {
    "downloads": "corpora as they were published; fetched again when a text is prepared",
    "data": "prepared texts; made again by the next run, some minutes each",
    "compile": "what trainings have compiled; compiled again, a minute a study",
    "tune": "what autotune has found; a new study tries sizes again, 2 to 15 minutes",
    "conformance": "the small text of `backends check`",
    "matplotlib": "its list of fonts",
    "errors": "tracebacks of errors that nobody foresaw",
}


@click.command("cache")
@options("json")
@click.option(
    "--clean", type=click.Choice([*KINDS, "all"]), metavar="KIND|all", help=f"Remove one kind: {', '.join(KINDS)}; or all."
)
def command(as_json: bool, clean: str | None) -> None:
    """What lies in the cache: its folder, and the size of each kind.

    No study is in it, and nothing that can't be made again. Nothing is removed while a text is being prepared.

    Example: `autoresearch cache --clean compile`
    """
    from autoresearch.paths import cache_dir

    root = cache_dir()
    removed = _clean(root, KINDS if clean == "all" else [clean]) if clean else 0
    sizes = {name: _size(root / name) for name in KINDS}
    if as_json:
        click.echo(json.dumps({"folder": str(root), "bytes": sizes, "removed_bytes": removed}, indent=2))
        return
    say(f"cache     {root} (AUTORESEARCH_CACHE_DIR moves it)")
    for name, size in sizes.items():
        say(f"{name:<12} {size / 1e6:>10,.1f} MB  {KINDS[name]}")
    if clean:
        say(f"removed   {removed / 1e6:,.1f} MB")
    else:
        say("`autoresearch cache --clean KIND` removes one")


def _clean(root: Path, kinds: "dict[str, str] | list[str]") -> int:
    """Bytes that were removed. UsageError while a text is being prepared."""
    from autoresearch import durable, locks
    from autoresearch.errors import UsageError

    before = sum(_size(root / name) for name in kinds)
    (root / "data").mkdir(exist_ok=True)
    with open(root / "data" / ".lock", "a+b") as lock:
        if not locks.try_lock(lock.fileno()):
            raise UsageError("a text is being prepared in this cache; wait for it, or end it with Ctrl-C")
        for name in kinds:
            for path in (root / name).glob("*"):
                if path.name != ".lock":
                    durable.remove_tree(path) if path.is_dir() and not path.is_symlink() else durable.remove(path)
    return before - sum(_size(root / name) for name in kinds)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
