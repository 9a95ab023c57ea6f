"""`autoresearch report`: the study's picture."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("report")
@options("study")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
    help="Where the picture goes. Default: progress.png in the workspace.",
)  # fmt: skip
def command(workspace: Path | None, output: Path | None) -> None:
    """Draw progress.png: every experiment, the running best, and what each keep was.

    It may be called while the study runs. Example: `autoresearch report --output ~/night.png`
    """
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report import answers
    from autoresearch.report.picture import draw
    from autoresearch.study.workspace import find

    if output is not None:
        output = expanded(output)
        if output.suffix.lower() != ".png":
            raise UsageError(f"--output {output} is no .png file; name one that ends in .png")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder {output.parent}; make it, or give --output another one")
    study = find(workspace)
    path = output or study.folder / "progress.png"
    draw(answers.state_of(study), path, study.machine_line)
    click.echo(path)
