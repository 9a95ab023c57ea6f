"""Any coding agent that is a program: `claude -p ...`, `codex exec ...`, aider, or one of your own.

For each proposal the program is started in a fresh scratch folder (scratch.py) with the best train.py in it; what it leaves in
train.py is the proposal. In the command, `{task_file}` becomes the path of TASK.md and `{prompt}` its text; without either the
text comes on stdin. No shell takes part.

Promises: the program and what it started are ended at the time limit, or when nobody waits any more; only train.py's text comes
back; variables that look like secrets are not in its environment, save those that are named. Every failure is `Unavailable`, so
that the loop goes on without it; the end of its output stays in `<view.folder>/command/last-output.txt`.

Not covered: what the program does elsewhere. It runs as the user, with the user's files; its own sandbox is its recipe's part.
"""

import atexit
import contextlib
import functools
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoresearch.agents.base import Ask, Proposal, Unavailable, View
from autoresearch.agents.command import scratch
from autoresearch.border import files
from autoresearch.errors import UsageError, nearest
from autoresearch.processes import end_tree, is_secret, start

__all__ = ["Command", "find_recipe", "make", "recipe"]
SECONDS = 600.0  # chosen: two trainings of 300 s, within which a coding agent reads, thinks and edits
KEPT_BYTES = 256 * 1024  # chosen: of the output's end, some thousand lines
_POLL_SECONDS = 0.25
_REASON_CHARACTERS = 300  # chosen: of the output's end in a reason, which is one line of a panel


class Command:
    name = "command"
    thinks = True

    def __init__(self, arguments: list[str], seconds: float = SECONDS, variables: tuple[str, ...] = ()):
        """arguments: the program's absolute path and its arguments, with placeholders."""
        self.arguments, self.seconds, self.variables = arguments, seconds, variables
        self._last_problem: str | None = None  # with the last answer; the next task tells it

    def propose(self, view: View) -> Proposal:
        """One edit of view.train_py. Raises Unavailable when the program fails, is late, or leaves no usable train.py."""
        home = (view.folder or Path(tempfile.gettempdir())) / "command"
        program, started = Path(self.arguments[0]).name, time.monotonic()
        folder: Path | None = None
        problem: str | None = "cut short"
        output = ""
        try:
            home.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(home)
            folder = Path(tempfile.mkdtemp(prefix=f"scratch-{os.getpid()}-", dir=home))
            task = scratch.fill(folder, view, self.seconds, self._last_problem)
            problem, output = self._run(folder, task, view.wanted)
            with contextlib.suppress(OSError):  # it is for reading only: a full disk or another thread's write costs nothing else
                (home / "last-output.txt").write_text(output, encoding="utf-8", newline="")
            if problem is None:
                text, description = scratch.answer(folder, view)
                self._last_problem = None
                return Proposal(text, description, f"{program} edited train.py in {time.monotonic() - started:.0f} s")
        except scratch.BadAnswer as bad:
            problem = self._last_problem = str(bad)
        except OSError as error:
            problem = f"its scratch folder could not be made ({error.strerror or error})"
        finally:
            if folder is not None:
                files.remove(folder)
            view.on_ask(Ask(program, problem or "answered", time.monotonic() - started))
        raise Unavailable(f"{program}: {problem}{_tail(output)} (its output: {home / 'last-output.txt'})")

    def _run(self, folder: Path, task: str, wanted: Callable[[], bool]) -> tuple[str | None, str]:
        """(What went wrong or None, the end of the output)."""
        has_place = any("{prompt}" in one or "{task_file}" in one for one in self.arguments)
        task_file = str(folder / scratch.TASK)
        arguments = [one.replace("{task_file}", task_file).replace("{prompt}", task) for one in self.arguments]
        # A file, not a pipe: a program that never reads its stdin must not block us, nor wait for more.
        with open(os.devnull if has_place else task_file, "rb") as stdin:
            try:
                process = start(
                    arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
                    env=environment(self.variables) | {"PWD": str(folder)},
                )  # fmt: skip
            except OSError as error:
                return f"it could not be started ({error.strerror or error})", ""
        assert isinstance(process.stdout, io.BufferedReader), "a pipe of bytes with the usual buffer is one"
        output = _End(process.stdout)
        at_exit = functools.partial(end_tree, process)  # we may be in a thread that the end of the process cuts short
        atexit.register(at_exit)
        end = time.monotonic() + self.seconds
        problem = None
        try:
            while process.poll() is None and problem is None:
                if time.monotonic() > end:
                    problem = self._last_problem = f"it took longer than {self.seconds:g} s and was ended"
                elif not wanted():
                    problem = "nobody waits for its answer any more; it was ended"
                else:
                    time.sleep(_POLL_SECONDS)
        finally:
            end_tree(process)  # also after a good end: what it left in the background would slow the training
            atexit.unregister(at_exit)
        if problem is None and process.returncode != 0:
            problem = f"it ended with status {process.returncode}"
        return problem, _without_secrets(scratch.clean(output.text()))


class _End:
    """The end of a process's output, read by a thread, so that a flood neither blocks the process nor fills disk or memory."""

    def __init__(self, pipe: io.BufferedReader):
        self._pipe, self._kept = pipe, bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(timeout=2.0)  # a process that left its group may hold the pipe open: what came until now counts
        return bytes(self._kept[-KEPT_BYTES:]).decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while chunk := self._pipe.read1(64 * 1024):
                self._kept += chunk
                if len(self._kept) > 2 * KEPT_BYTES:
                    del self._kept[:-KEPT_BYTES]


def environment(variables: tuple[str, ...], given: dict[str, str] | None = None) -> dict[str, str]:
    """The user's environment without what looks like a secret, save variables. Names of Windows know no case."""
    given = dict(os.environ) if given is None else given
    passed = {name.upper() for name in variables}
    return {name: value for name, value in given.items() if name.upper() in passed or not is_secret(name)}


def make(command: str | None = None, seconds: float = SECONDS, variables: tuple[str, ...] = (), seed: int = 0) -> Command:
    """command: a recipe's name, or a command line. variables: names of secrets that it needs beyond a recipe's. seed is not used.

    Raises UsageError for a command that can't be split, whose program is not found, or that could not work in its folder.
    """
    if not command or not command.strip():
        names = ", ".join(recipes())
        raise UsageError(f"the agent command needs a command; give `--command` one of {names}, or a command line")
    known = recipe(command.strip())
    arguments = split(known.command if known else command)
    # Another command line for the same program signs in with the same variables.
    same = (one.variables for one in recipes().values() if one.executable == Path(arguments[0]).stem)
    variables = (*next(same, ()), *variables)
    program = shutil.which(arguments[0])
    if program is None:
        hint = f"install {known.title}" if known else f"install it or give its full path{nearest(arguments[0], recipes())}"
        raise UsageError(f"there is no program {arguments[0]!r} on PATH; {hint}, or use `--agent search`")
    for one in arguments[1:]:
        is_file = Path(one).suffix and not os.path.isabs(one) and os.path.isfile(one)
        if is_file and one not in (scratch.TRAIN_PY, *scratch.NOTES):
            raise UsageError(f"the command runs in a folder of its own, where there is no {one}; write {os.path.abspath(one)}")
    if Path(program).suffix.lower() in (".cmd", ".bat") and any("{prompt}" in one for one in arguments):
        raise UsageError(f"{program} is a batch file, which the text of {{prompt}} could break out of; use {{task_file}}")
    return Command([os.path.abspath(program), *arguments[1:]], seconds, variables)


def split(command: str, windows: bool = sys.platform == "win32") -> list[str]:
    """The command's parts, by the shell's rules for quotes; on Windows a backslash is a path's, not an escape."""
    try:
        parts = shlex.split(command, posix=not windows)
    except ValueError as error:
        raise UsageError(f"the command {command!r} can't be split ({error}); close its quotes") from error
    if windows:
        parts = [one[1:-1] if len(one) > 1 and one[0] == one[-1] and one[0] in "\"'" else one for one in parts]
    if not parts or not parts[0]:
        raise UsageError("the command is empty; give a program and its arguments")
    return parts


def _without_secrets(text: str) -> str:
    """The output is shown and kept: a secret that the program printed is not."""
    for name, value in os.environ.items():
        if is_secret(name) and len(value) >= 8:  # chosen: a shorter one would blot out ordinary words
            text = text.replace(value, f"[{name}]")
    return text


def _tail(output: str) -> str:
    """The last words of the output, for a reason of one line."""
    words = " ".join(output[-4 * _REASON_CHARACTERS :].split())
    return f"; its last words: {words[-_REASON_CHARACTERS:]}" if words else ""


def _remove_leftovers(home: Path) -> None:
    """Scratch folders of a process that was killed. One process at a time has the study."""
    for folder in home.glob("scratch-*"):
        if not folder.name.startswith(f"scratch-{os.getpid()}-"):
            files.remove(folder)


# How the known coding agents are called: recipes.toml, by name or by what is installed


FILE = Path(__file__).with_name("recipes.toml")


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    executable: str
    command: str
    variables: tuple[str, ...]  # secrets that the program signs in with
    source: str


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name, best first."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Recipe(name, **{**fields, "variables": tuple(fields["variables"])}) for name, fields in table.items()}


def recipe(name: str) -> Recipe | None:
    """The recipe of that exact name."""
    return recipes().get(name)


def find_recipe() -> Recipe | None:
    """The first recipe whose program is on PATH, for `--agent auto`."""
    return next((known for known in recipes().values() if shutil.which(known.executable)), None)
