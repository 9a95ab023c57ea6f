"""`autoresearch report`: the study as a picture and as a page."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("report")
@options("study")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png",
    help="Where the picture goes, and then it alone is drawn. Default: progress.png in the workspace, and report.html beside it.",
)  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Show report.html in the browser.")
def command(workspace: Path | None, output: Path | None, opens: bool) -> None:
    """Draw progress.png, and write report.html: chart, table, diffs, loss curves, and whether to believe the gain.

    report.html is one file that needs no network. It may be called while the study runs. Example: `autoresearch report --open`
    """
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded
    from autoresearch.report import answers
    from autoresearch.report.page import html
    from autoresearch.report.picture import draw
    from autoresearch.study.workspace import find

    if output is not None:
        if opens:
            raise UsageError("--output draws the picture alone, and --open shows report.html; leave one of them out")
        output = expanded(output)
        if output.suffix.lower() != ".png":
            raise UsageError(f"--output {output} is no .png file; name one that ends in .png")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder {output.parent}; make it, or give --output another one")
    study = find(workspace)
    state = answers.state_of(study)
    path = output or study.folder / "progress.png"
    draw(state, path, study.machine_line)
    click.echo(path)
    if output is None:
        page = html.write(study, state)
        click.echo(page)
        if opens and not shown(page):
            click.echo("no browser can be opened from here; copy that file to where one is, or see `autoresearch serve --help`")


def shown(page: Path) -> bool:
    """Whether a browser was opened: not over ssh, where it would be the other machine's, nor without a screen."""
    import os
    import sys
    import webbrowser

    has_screen = sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return has_screen and "SSH_CONNECTION" not in os.environ and webbrowser.open(page.as_uri())
