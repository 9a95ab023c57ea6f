"""`autoresearch serve`: the page of report.html, live, for browsers on this machine."""

from pathlib import Path

import click

from autoresearch.commands.options import Text, options


@click.command("serve")
@options("study")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, metavar="N", help="0 takes one that is free."
)
@click.option(
    "--host", type=Text(), default="127.0.0.1", show_default=True, metavar="ADDR",
    help="The address to listen on. Any but this machine's own (127.0.0.1) needs --token.",
)  # fmt: skip
@click.option(
    "--token", type=Text(), metavar="TOKEN", envvar="AUTORESEARCH_SERVE_TOKEN",
    help="Show the page only to those who have this word. Better as AUTORESEARCH_SERVE_TOKEN: others can read a command line.",
)  # fmt: skip
def command(workspace: Path | None, port: int, host: str, token: str | None) -> None:
    """The study as a page that follows the run, at an address for a browser on this machine.

    It only reads, may begin before the run and outlives it; Ctrl-C ends it. From elsewhere: `ssh -L 8321:127.0.0.1:8321 MACHINE`.
    Example: `autoresearch serve --port 0`
    """
    from autoresearch.report.page import server
    from autoresearch.study.workspace import find

    server.check(host, token)
    study = find(workspace)
    with server.Server(study, host, port, token) as serving:
        click.echo(f"{serving.url}  (the study {study.tag}; Ctrl-C ends this, and no run)")
        serving.serve_forever()
