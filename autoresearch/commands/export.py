"""`autoresearch export [N]`: an experiment's weights as a folder that needs no autoresearch."""

import json
import os
from pathlib import Path

import click

from autoresearch.commands.options import Folder, options
from autoresearch.commands.say import say


@click.command("export")
@click.argument("number", type=click.IntRange(min=0), metavar="[N]", required=False)
@options("study")
@click.option("--output", type=Folder(), metavar="DIR", help="The folder to make. Default: ./<tag>-<N>.")
@options("json", "plain")
def command(number: int | None, workspace: Path | None, output: Path | None, as_json: bool, plain: bool) -> None:
    """Take a model away: the best's, or that of experiment N.

    The folder holds train.py as it was scored, model.safetensors, the tokenizer in two formats, config.json, a model card
    (README.md), and load.py, which needs torch and safetensors alone. An earlier export is replaced, nothing else is.

    Weights are kept of the best; `autoresearch replay N` trains another experiment again and keeps its weights.
    Example: `autoresearch export --output my-model`
    """
    from autoresearch.commands.bars import bars
    from autoresearch.data.prepared import Prepared
    from autoresearch.errors import UsageError
    from autoresearch.hardware.devices import registry
    from autoresearch.paths import expanded
    from autoresearch.report import answers, export, weights
    from autoresearch.study import terms
    from autoresearch.study.workspace import find

    study = find(workspace)
    found = weights.find(study, number)
    if not study.task.sizes:
        problem = f"a study of the task {study.task.name} has no text model to export"
        raise UsageError(problem, f"its weights and train.py lie in {study.runs}, those of the best in {found.folder.name}")
    target = Path(os.path.abspath(expanded(output or f"{study.tag}-{found.experiment.number}")))
    export.check(target)
    backend = registry.scan().get(study.backend)
    if backend is None or backend.problem:
        raise UsageError(f"the backend {study.backend} is not here any more; install it again (`autoresearch backends` lists them)")
    with bars(quiet=as_json, plain=plain) as on_progress:
        prepared = terms.prepared_again(study, *([on_progress] if on_progress else []))
    assert isinstance(prepared, Prepared), "others were refused"
    config = export.write(study, answers.state_of(study), found, prepared, backend, target)
    files = sorted(path.name for path in target.iterdir())
    if as_json:
        scores = {"val_bpb": found.result.val_bpb, "test_bpb": found.test_bpb}
        names = ("experiment", "commit", "vocab_size", "seq_len", "dtype")
        answer = {"output": str(target), "files": files} | {name: config[name] for name in names} | scores
        click.echo(json.dumps(study.metric.told(answer), indent=2))
        return
    say(f"{target}: experiment {found.experiment.number}, {study.metric.name} {study.metric.text(found.result.val_bpb)}")
    say("  " + " ".join(files))
    say(export.next_step(target, "load.py" in files))
