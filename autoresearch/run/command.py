"""One run of a task that is scored by a command: guard, then measure, beside the present best.

Each command has a cell and a folder of its own, made anew of the snapshot with the edited files in it, and gone after it with every
process that it started: nothing is carried from one to the next. What it may not change is looked at afterwards, by the times that
the kernel keeps of each file. Its number is its own to print: a fenced number, not a sealed one (docs/command.md).
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.border import files, numbers
from autoresearch.border.messages import ENDED, Kind, Protocol, number, text
from autoresearch.child import RunFailed, Worker
from autoresearch.errors import UsageError
from autoresearch.measure.clock import awake_seconds
from autoresearch.measure.summary import RunResult
from autoresearch.run import constraints, disk, paired
from autoresearch.run.cells import WORK
from autoresearch.run.experiment import Monitor
from autoresearch.run.futility import Futility
from autoresearch.run.setup import OnProgress, Progress, Reference, Setup
from autoresearch.sandbox import policy, workdir
from autoresearch.text import one_line, without_colours

SHELL = "autoresearch.run.shell"
TREE = "tree"  # of a run's folder: the repository, while a command runs
_DONE = {"status": number(-1 << 40, 1 << 40, whole=True), "seconds": number(0, 1e9), "output": text(10_000)}
PROTOCOL = Protocol("starting", {"started": Kind({"starting": "running"}), "done": Kind({"running": ENDED}, _DONE)})
FILE_BYTES = 1 << 30  # of the largest file that a command may write
MOST_BYTES, MOST_FILES = 4 << 30, 200_000  # of all that it leaves in its folder
LOOK_SECONDS = 5.0  # between two looks at that
START_SECONDS = 60.0  # that the process which starts it may take
CLOCK = "wall_seconds"  # the metric that is the harness's own clock
REASON_CHARACTERS = 300  # of the end of what a command printed
CHEAT = "cheat"


@dataclass(frozen=True)
class Laid:
    """A text that can be run in folder. As experiment.Warm; there is no process yet."""

    folder: Path

    def __enter__(self) -> "Laid":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextlib.contextmanager
    def ended_on_error(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    seconds: float
    output: str  # the end of what it printed


def warm_up(setup: Setup, text: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None) -> Laid:
    """The first half of a run: the text's files may be edited, and can be laid. RunFailed where not."""
    with disk.errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.py").write_text(text, encoding="utf-8", newline="")
    try:
        objection = setup.task.commands.objection(text)
    except ValueError as error:
        objection = str(error)
    if objection:
        raise RunFailed("invalid", objection)
    return Laid(folder)


def execute(
    setup: Setup, text: str, seed: int, folder: Path, on_progress: OnProgress = lambda progress: None, warm: Laid | None = None,
    monitor: Monitor | None = None, futility: Futility | None = None, reference: Reference | None = None,
) -> RunResult:  # fmt: skip
    """Guard and measure a text in folder, which then holds train.py (the text), log.txt and pairs.jsonl.

    reference: what it is measured beside; by default itself. What goes wrong in a command is in the result's status and reason.
    Raises as experiment.execute does.
    """
    monitor, reference, start = monitor or Monitor(), reference or Reference(text), awake_seconds()
    facts: dict[str, Any] = {}
    commands, metric = setup.task.commands, setup.task.metric
    with disk.errors(folder):
        try:
            if warm is None:
                warm_up(setup, text, seed, folder, on_progress)
            if commands.guard:
                guard(setup, text, folder, on_progress)
            facts["startup_seconds"] = awake_seconds() - start
            monitor.start()
            before, after = measure_pairs(setup, commands.measure, (reference.text, text), folder, seed, on_progress, monitor.tick)
            monitor.check()
            level = paired.level(before, metric) if reference.level is None else reference.level
            facts |= {"val_bpb": paired.score(before, after, level, metric), "level": level, "num_steps": len(after)}
            facts["training_seconds"] = awake_seconds() - start - facts["startup_seconds"]
            status, reason = "ok", None
        except RunFailed as failure:
            monitor.failed(failure.kind)
            status, reason = failure.kind, failure.reason
    return RunResult(status=status, reason=reason, seed=seed, total_seconds=awake_seconds() - start, **facts)


def guard(setup: Setup, text: str, folder: Path, on_progress: OnProgress = lambda progress: None) -> None:
    """RunFailed with the end of what it printed, where it does not succeed."""
    command = setup.task.commands.guard
    assert command, "there is one"

    def shown(progress: Progress) -> None:
        on_progress(replace(progress, phase="startup"))

    with ran(setup, command, text, folder, on_progress=shown) as (done, _):
        _refuse_status("the guard", done, folder, constraints.BROKEN)


def measure_pairs(
    setup: Setup, command: str, texts: tuple[str, str], folder: Path, seed: int,
    on_progress: OnProgress = lambda progress: None, tick: Callable[[], None] = lambda: None,
    pairs: int = paired.PAIRS, is_confirmation: bool = False, phase: str = "training",
) -> tuple[list[float], list[float]]:  # fmt: skip
    """The numbers of the first text and of the second, measured in alternation. RunFailed when a command fails."""
    values: tuple[list[float], list[float]] = ([], [])
    start = awake_seconds()

    def shown(progress: Progress) -> None:
        tick()
        on_progress(Progress(phase, awake_seconds() - start, (len(values[0]) + len(values[1])) / (2 * pairs)))

    for pair, sides in enumerate(paired.order(pairs, seed)):
        for side in sides:
            variables = {"AUTORESEARCH_SEED": str(seed * pairs + pair)}  # both of a pair get the same
            values[side].append(measure(setup, command, texts[side], folder, variables, shown, is_confirmation))
        if paired.is_constant(*values):
            break
    return values


def measure(
    setup: Setup, command: str, text: str, folder: Path, variables: Mapping[str, str] | None = None,
    on_progress: OnProgress = lambda progress: None, is_confirmation: bool = False,
) -> float:  # fmt: skip
    """One number, in the metric's own direction. RunFailed where there is none."""
    result, name = setup.task.commands.result, setup.task.metric.name
    with ran(setup, command, text, folder, variables, on_progress, is_confirmation) as (done, left):
        _refuse_status("the measure", done, folder, "crash")
        if name == CLOCK:
            return done.seconds
        return numbers.printed(done.output, name) if result is None else numbers.written(left, result)


@contextlib.contextmanager
def ran(
    setup: Setup, command: str, text: str, folder: Path, variables: Mapping[str, str] | None = None,
    on_progress: OnProgress = lambda progress: None, is_confirmation: bool = False,
) -> Iterator[tuple[Done, files.Held]]:  # fmt: skip
    """One command in a cell and a folder of its own: how it ended, and the folder as it left it; its processes are gone.

    RunFailed when it takes too long, fills its folder, or has changed what nobody may change.
    """
    commands, tree, shown = setup.task.commands, folder / TREE, one_line(command, 80)
    files.remove(tree)
    kept = commands.lay(text, tree, is_confirmation)
    before = {path: _signature(tree / path) for path in kept}
    work = workdir.make(folder / WORK)
    cell = policy.cell(setup.sandbox, work, commands.reads, [tree], setup.backend.sandbox, setup.task.hidden(), FILE_BYTES)
    job = {"command": command, "folder": str(tree), "variables": dict(variables or {})}
    start = looked = awake_seconds()

    def tick(_message: object) -> None:
        nonlocal looked
        now = awake_seconds()
        on_progress(Progress("training", now - start))
        if now - looked >= LOOK_SECONDS:
            looked = now
            if any(files.takes_more(one, MOST_BYTES, MOST_FILES) for one in (tree, work)):
                raise RunFailed("limit", f"`{shown}` wrote more than {MOST_BYTES >> 30} GB or {MOST_FILES:,} files")

    held = files.Held(tree)
    try:
        with Worker(job, folder, PROTOCOL, SHELL, cell=replace(cell, is_command=True)) as worker:
            worker.wait("started", START_SECONDS, f"no process was started within {START_SECONDS:g} s")
            message = worker.wait("done", setup.train_seconds, f"`{shown}` took longer than {setup.train_seconds:g} s", tick=tick)
        if changed := next((path for path in kept if _signature(tree / path) != before[path]), None):
            raise RunFailed(CHEAT, f"{one_line(changed, 100)}, which is not to be edited, was changed while `{shown}` ran")
        yield Done(message["status"], message["seconds"], message["output"]), held
    finally:
        held.close()
        files.remove(tree)


def try_out(setup: Setup, text: str, folder: Path, on_progress: OnProgress = lambda progress: None) -> str:
    """Guard, measure and the confirming measure once, before there is a study: what they gave, in a line. UsageError."""
    commands, metric = setup.task.commands, setup.task.metric
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for option, line in (("guard", commands.guard), ("measure", commands.measure), ("confirm", commands.confirm)):
        if line is None:
            continue
        start, gave = awake_seconds(), "passed"
        try:
            if option == "guard":
                guard(setup, text, folder, on_progress)
            else:
                value = measure(setup, line, text, folder, {"AUTORESEARCH_SEED": "0"}, on_progress, option == "confirm")
                gave = metric.text(metric.shown(value))
        except RunFailed as failure:
            problem = f"--{option}, on the files as they are: {failure.reason}"
            raise UsageError(
                problem, f"`{one_line(line, 80)}` has to work in the sandbox: docs/command.md says what is there"
            ) from None
        told.append(f"{option} {gave} in {awake_seconds() - start:.1f} s")
    return "; ".join(told)


def _signature(path: Path) -> tuple[int, ...] | None:
    """Changes with every write to a file, and with what is put in its place: no program sets back the time of a change."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink


def _refuse_status(what: str, done: Done, folder: Path, kind: str) -> None:
    if done.status:
        with open(folder / "log.txt", "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 4 * REASON_CHARACTERS))
            last = one_line(without_colours(log.read().decode("utf-8", "replace")), 4 * REASON_CHARACTERS)[-REASON_CHARACTERS:]
        raise RunFailed(kind, f"{what} ended with status {done.status}{f': … {last}' if last else ''}")
