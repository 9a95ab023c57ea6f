"""`autoresearch studies`: the studies in a folder, one line each."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import Folder, options
from autoresearch.commands.say import say, say_table

if TYPE_CHECKING:
    from autoresearch.metric import Metric

_WIDEST = 32  # of a name


@click.command("studies")
@click.argument("folder", type=Folder(), required=False, metavar="[DIR]")
@options("json")
def command(folder: Path | None, as_json: bool) -> None:
    """The studies in a folder, one line each: how many experiments, the best score, its gain over the baseline, when, on what.

    DIR is looked at and the folders in it; default: the current folder. `autoresearch compare A B` compares two of them.

    Example: `autoresearch studies ~/nights`
    """
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report.studies import listed

    place = expanded(folder or Path.cwd())
    if not place.is_dir():
        raise UsageError(f"there is no folder {place}; name one that holds studies: `autoresearch studies DIR`")
    found = listed(place)
    if as_json:
        click.echo(json.dumps([metric.told(study) for study, metric in found], indent=2))
    elif not found:
        say(f"no study in {place}, nor in the folders in it; `autoresearch run` starts one")
    else:
        width = min(_WIDEST, max(len(title(study)) for study, _ in found))
        say_table([
            f"{'study':<{width}}  {'state':<7}  {'exps':>5}  {'best':>8}  {'gain':>7}  {'when':<10}  machine",
            *(line(study, metric, width) for study, metric in found),
        ])  # fmt: skip


def title(study: dict[str, Any]) -> str:
    """Its tag, and its folder where that is not named as `run` does."""
    name = Path(study["workspace"]).name
    tag: str = study["tag"] or name
    return tag if name in (tag, f"autoresearch-{tag}") else f"{tag} in {name}"


def line(study: dict[str, Any], metric: "Metric", width: int) -> str:
    if study["state"] == "damaged":
        return f"{title(study):<{width}}  damaged  {study['reason']}"
    best, of = metric.text(study["best_val_bpb"], 4), "" if metric.is_upstreams else f" · {metric.name}"
    gain = "n/a" if study["gain_bpb"] is None else metric.amount(study["gain_bpb"], digits=4)
    machine = f"{study['device'] or 'n/a'} · {study['backend']} · {study['profile']}{of}"
    figures = f"{study['experiments']:>5}  {best:>8}  {gain:>7}  {study['when'][:10]:<10}"
    return f"{title(study):<{width}}  {study['state']:<7}  {figures}  {machine}"
