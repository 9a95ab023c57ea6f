"""`autoresearch compare`: two studies, or two experiments, side by side, and whether there is a difference."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import Text, options
from autoresearch.commands.say import say, say_table
from autoresearch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoresearch.metric import Metric
    from autoresearch.report.compare import Subject

_ROUND = ("machine_hours", "cost_usd")
_WIDEST = 34  # of a column


@click.command("compare")
@click.argument("first", type=Text(), metavar="A")
@click.argument("second", type=Text(), metavar="B")
@options("json")
def command(first: str, second: str, as_json: bool) -> None:
    """Two studies, or two experiments, side by side, and whether they differ.

    A and B are folders of studies, whose best counts, or DIR@N for experiment N; @N is one of the current folder's study. Scored on
    the same text, they are compared document by document, and seeds and documents say how sure the difference is. (`autoresearch
    bench compare` compares machines.)

    Examples: `autoresearch compare autoresearch-nov21 autoresearch-nov22`, `autoresearch compare @0 @12`
    """
    from autoresearch.errors import UsageError
    from autoresearch.report.compare import table

    a, b = subject(first), subject(second)
    if (a.study.folder, a.experiment.number) == (b.study.folder, b.experiment.number):
        raise UsageError(f"{first} and {second} are the same experiment; name another, as in `autoresearch compare @0 @12`")
    found, metric = table(a, b), a.state.metric
    if as_json:
        paired = found["paired"] and {metric.key(name): value for name, value in found["paired"].items()}  # has no direction
        click.echo(json.dumps(metric.told(found) | {"paired": paired}, indent=2))
        return
    say_table(lines(found, metric))
    say(f"\n{found['sentence']}")


def subject(text: str) -> "Subject":
    """What DIR, DIR@N or @N names."""
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report import answers
    from autoresearch.report.compare import Subject
    from autoresearch.study.workspace import find

    name, number = text, None
    if (parts := re.fullmatch(r"(.*)@(\d{1,9})", text, re.DOTALL)) and not expanded(text).exists():
        name, number = parts[1], int(parts[2])
    study = find(Path(name) if name else None)
    state = answers.state_of(study)
    chosen = state.best if number is None else answers.experiment(study, number)
    if chosen is None:
        raise UsageError(f"the study {study.tag} in {study.folder} has no baseline yet; `autoresearch run` trains it")
    return Subject(study, state, chosen)


def lines(found: dict[str, Any], metric: "Metric") -> list[str]:
    """Both sides, a line a fact: those of the scores, and of the rest what differs and what it took."""
    a, b, paired = found["a"], found["b"], found["paired"]
    gain = f"{metric.beyond}_baseline"
    always = {"study", "experiment", "description", "val_bpb", "runs", "test_bpb", gain, "cost_usd"}
    words: dict[str, Callable[[Any], str]] = {"val_bpb": metric.text, "test_bpb": metric.text, gain: metric.amount}
    words |= dict.fromkeys(_ROUND, "{:.2f}".format)
    rows = [
        (metric.key(name), *("n/a" if side[name] is None else words.get(name, _word)(side[name]) for side in (a, b)))
        for name in a
        if name in always or a[name] != b[name]
    ]
    width = min(_WIDEST, max(len(word) for _, word, _ in rows))
    wide = max(14, *(len(name) for name, _, _ in rows))
    shown = [f"{'':<{wide}}  {'A':<{width}}  B"]
    shown += [
        f"{name.replace('_', ' '):<{wide}}  {one_line(left, _WIDEST):<{width}}  {one_line(right, 120)}"
        for name, left, right in rows
    ]
    if paired:
        size = f"{paired['documents']} {metric.pieces}" + (f", {paired['text_bytes']:,} {metric.per}s" if metric.per else "")
        errors = [paired["seeds_error"], paired["documents_error"]]
        by_seeds, by_pieces = ("n/a" if one is None else f"+- {metric.amount(one)}, one standard error" for one in errors)
        shown += [
            "",
            f"{f'B {metric.beyond} A':<{wide}}  {metric.amount(paired['bpb'])} {metric.label} on {size}",
            f"{'by seeds':<{wide}}  {by_seeds}",
            f"{f'by {metric.pieces}':<{wide}}  {by_pieces}",
        ]
        if (tests := found["test_bpb_difference"]) is not None:
            without = f"without an interval: its {metric.pieces} are not kept"
            shown.append(f"{'on the test':<{wide}}  {metric.amount(tests)}, {without}")
    return shown


def _word(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
