"""`autoresearch demo`: a whole study at tiny sizes, so that a newcomer sees it work: `run` with chosen options, nothing else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import Folder, options

if TYPE_CHECKING:
    from autoresearch.study.workspace import Study

TAG = "demo"  # its folder is no autoresearch-<tag>, so that `autoresearch run` beside it begins a night and does not go on with it
EXPERIMENTS = 4
PROFILE = Path(__file__).with_name("demo.toml")


@click.command("demo")
@click.option("--workspace", type=Folder(), metavar="DIR", help="Where the study lies. Default: demo-autoresearch here.")
@options("backend", "device", "seed", "sandbox", "json", "plain")
@click.pass_context
def command(
    context: click.Context, workspace: Path | None, backend: str, device: str | None, seed: int | None, sandbox: str, as_json: bool,
    plain: bool,
) -> None:  # fmt: skip
    """A whole study at tiny sizes, in two to three minutes on two cores: see it work first.

    What a night does, on the same code: the machine is looked at, text is prepared (Python's own library: no download), a small
    GPT trains for 10 s as the baseline, then four edits of it are tried and each is kept or rolled back. No key, no money: the
    search proposes. Ctrl-C stops it, and the same command goes on; when it is done, the same command tries four more. Another
    --workspace begins anew.

    Example: `autoresearch demo`
    """
    from autoresearch.commands import run
    from autoresearch.commands.say import say_on
    from autoresearch.errors import UsageError
    from autoresearch.paths import expanded, typed
    from autoresearch.study import workspace as workspaces
    from autoresearch.study.ledger import read
    from autoresearch.study.state import State

    folder = expanded(workspace or f"{TAG}-autoresearch").resolve()
    given = [f"--{name}={value}" for name, value in (("device", device), ("seed", seed)) if value is not None]
    left = EXPERIMENTS
    if workspaces.is_workspace(folder):
        study = workspaces.load(folder)
        if study.tag != TAG or study.profile.name != PROFILE.stem:
            cure = f"name another folder, or go on with it: `autoresearch run --workspace {typed(folder)}`"
            raise UsageError(f"{folder} is no demo but the study {study.tag}; {cure}")
        done = len(State.from_events(read(study.events)).decided[1:])
        left = EXPERIMENTS - done % EXPERIMENTS
    else:
        given += [f"--profile={PROFILE}", f"--tag={TAG}", "--decide=strict"]
    words = [*given, f"--workspace={folder}", f"--backend={backend}", f"--sandbox={sandbox}", f"--experiments={left}"]
    night = run.command.make_context(
        "run", [*words, "--agent=search", "--on-battery"], parent=context
    )  # three minutes empty no battery
    if not as_json:
        for line in _before(folder, left):
            say_on(line)
    study, ending = run.night(**night.params | {"as_json": as_json, "plain": plain})
    if as_json:
        say_on(json.dumps(run.end(study, ending)), fold=False)
    else:
        for line in [*([ending.detail] if ending.detail else []), f"stopped: {ending.reason}", *_after(study)]:
            say_on(line)
    context.exit(ending.exit_status)


def _before(folder: Path, left: int) -> list[str]:
    """What is going to happen, and how long it takes."""
    from autoresearch.hardware import cores

    slower = "; this machine has one, so longer" if cores.usable() == 1 else ""
    return [
        f"demo      a whole study at tiny sizes: trainings of 10 s, {left} edits to try; 2 to 3 minutes on two cores{slower}",
        f"          in {folder}; Ctrl-C stops it, the same command goes on",
    ]


def _after(study: "Study") -> list[str]:
    """What was found, whether to believe it, where it lies, and the night."""
    from autoresearch.commands.best import gain
    from autoresearch.paths import typed
    from autoresearch.report.answers import state_of
    from autoresearch.report.summary import summarise
    from autoresearch.text import one_line

    state = state_of(study)
    if state.best is None:
        return [f"again     autoresearch demo --workspace {typed(study.folder)}"]
    came, here = summarise(state), typed(study.folder)
    late = sum(subject.state == "timeout" for subject in state.decided)
    kept = [one_line(subject.description) for subject in state.decided[1:] if subject.verdict == "keep"]
    return [
        "",
        f"found     {gain(state)}; of {came.experiments} edits {came.keep} kept, {came.discard} rolled back, {came.crash} crashed",
        *(f"kept      {description}" for description in kept),
        f"believe   {came.belief}",
        "          To be quick the demo keeps any lower number; a night trains what looks better again, and keeps what stays so.",
        *(
            [f"busy      {late} of the trainings had not ended in time: close what computes, and try `--workspace another-demo`"]
            if late
            else []
        ),
        f"look      autoresearch report --open --workspace {here}",
        f"files     {study.folder / 'report.html'}, progress.png, results.tsv",
        "night     autoresearch run --profile auto --hours 8",
    ]
