"""`autoresearch pareto`: the score against what is measured beside it."""

import json
from pathlib import Path

import click

from autoresearch.commands.options import Text, options
from autoresearch.commands.say import say, say_table


@click.command("pareto")
@options("study")
@click.option(
    "--quantity", type=Text(), metavar="NAME", help="What to hold the score against. Default: what has a limit, else latency_ms."
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
    help="Where the picture goes. Default: pareto.png in the workspace.",
)  # fmt: skip
@options("json")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets: every experiment with a score, as CSV.")
def command(workspace: Path | None, quantity: str | None, output: Path | None, as_json: bool, as_csv: bool) -> None:
    """The front of score against a measured quantity, over all experiments, and a picture of it.

    On the front is what no other experiment beats at that latency, memory or size, whether it was kept or not. `autoresearch best
    --limit 'latency_ms<=5'` names the best one within a limit. With --json or --csv no picture is drawn, unless --output names one.

    Example: `autoresearch pareto --quantity checkpoint_mb`
    """
    from autoresearch.errors import UsageError, nearest
    from autoresearch.paths import expanded
    from autoresearch.report import answers, pareto, table
    from autoresearch.study.workspace import find

    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms of the answer; give one of them")
    if output is not None:
        output = expanded(output)
        if output.suffix.lower() != ".png" or not output.parent.is_dir():
            raise UsageError(f"--output {output} is no .png file in a folder that is there; name one that ends in .png")
    study = find(workspace)
    state = answers.state_of(study)
    name, known = quantity or pareto.usual_quantity(state.limits or study.constraints), pareto.measured(state)
    if not known:
        raise UsageError("no experiment has a score yet; `autoresearch run` trains the first")
    if name not in known:
        given = f"--quantity {name}: no experiment has it{nearest(name, known)}"
        raise UsageError(given, f"what was measured: {', '.join(known)}")
    found = pareto.front(state, name)
    path = output or (None if as_json or as_csv else study.folder / "pareto.png")
    if path:
        pareto.draw(state, found, path)
    if as_json:
        sigma = state.noise.sigma if state.noise else None
        facts = {"quantity": name, "metric": state.metric.name, "direction": state.metric.direction, "sigma": sigma}
        click.echo(json.dumps(facts | {"experiments": pareto.rows(state, found), "picture": path and str(path)}, indent=2))
    elif as_csv:
        click.echo(table.as_csv(pareto.rows(state, found)).encode(), nl=False)
    else:
        say_table(pareto.lines(state, found))
        say(f"picture  {path}")
