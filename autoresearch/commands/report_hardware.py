"""`autoresearch report-hardware`: one file for us from a machine that we never had."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say

if TYPE_CHECKING:
    from autoresearch.hardware.devices.detect import Choice


@click.command("report-hardware")
@options("backend", "device", "profile", "corpus", "train_seconds", "sandbox", "on_battery")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json",
    help="Where the report is written. Default: hardware-<device>.json here.",
)  # fmt: skip
@options("plain")
@click.pass_context
def command(
    context: click.Context, backend: str, device: str | None, profile: str, corpus: str, train_seconds: float | None, sandbox: str,
    on_battery: bool, output: Path | None, plain: bool,
) -> None:  # fmt: skip
    """Try everything that only this machine can show, and write it to one file to attach to an issue. Under 8 minutes.

    What doctor says, the ways out of the sandbox, the contracts of the backend, and a training of 60 s. The file holds no home
    folder, no user's name and none of your texts; look through it before you send it. Exit status: 0 when all passed, 1 when
    something failed; the file is written all the same. Ctrl-C ends it, and what is known by then is written.

    Example: `autoresearch report-hardware --corpus stdlib`
    """
    from autoresearch import durable
    from autoresearch.bench import hardware_report
    from autoresearch.commands.bars import bars, looking
    from autoresearch.data import corpora
    from autoresearch.errors import UsageError
    from autoresearch.hardware.devices import detect
    from autoresearch.hardware.now import power
    from autoresearch.hardware.planner import plan
    from autoresearch.sandbox import levels

    power.refuse_on_battery(power.supply(), on_battery)
    level = levels.choose(sandbox, is_shipped=True)
    try:
        with looking(quiet=False, plain=plain):
            choice = detect.detect(backend, device=device)
    except KeyboardInterrupt:
        say("interrupted before anything was tried; nothing was written: run it again", err=True)
        context.exit(130)
    corpora.choose(corpus, plan.from_choice(choice, profile).profile.sizes.corpus)  # what is wrong with the call is said at once
    path = output or Path(f"hardware-{_name(choice)}.json")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}; make it, or name another file by --output")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"nothing can be written into the folder {path.parent}; name another file by --output")
    seconds = hardware_report.TRAIN_SECONDS if train_seconds is None else train_seconds
    with bars(quiet=False, plain=plain) as shown:
        assert shown is not None, "it is not quiet"
        table: dict[str, Any] = hardware_report.make(choice, profile, corpus, level, seconds, shown.say, shown)
    durable.write(path, json.dumps(table, indent=1).encode() + b"\n")
    if part := table.get("interrupted"):
        say(f"interrupted in {part}; what is known by then is written to {path}: run it again for the rest")
        context.exit(130)
    say(f"written to {path}; attach it to an issue (template: a hardware report)")
    context.exit(1 if table["failed"] else 0)


def _name(choice: "Choice") -> str:
    """A device's name as a part of a file's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", choice.facts.device or choice.backend.name).strip("-").lower()[:60] or "device"
