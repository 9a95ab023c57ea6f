"""Any coding agent that is a program: `claude -p ...`, `codex exec ...`, aider, or one of your own.

For each proposal the program is started in a fresh scratch folder (scratch.py) with the best train.py in it; what it leaves in
train.py is the proposal. In the command, `{task_file}` becomes the path of TASK.md and `{prompt}` its text; without either the
text comes on stdin. No shell takes part.

Promises: it runs in a fence (sandbox/fence.py) where the system has one, with copies of what its recipe names of the home folder;
the program and what it started are ended at the time limit, when nobody waits any more, and with us; only train.py's text comes
back; variables that look like secrets are not in its environment, save those that are named; once the study has spent the limit, as
far as the program tells what it costs, it is not asked again. Every failure is `Unavailable`, so that the loop goes on without
it; the end of its output stays in `<view.folder>/command/last-output.txt`.
"""

import atexit
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
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from autoresearch.agents.base import Ask, Exhausted, Proposal, Unavailable, View
from autoresearch.agents.command import home, scratch
from autoresearch.agents.command.recipes import OWN, Recipe, folders, recipe, recipes
from autoresearch.agents.command.usage import Meter
from autoresearch.border import files
from autoresearch.errors import UsageError, nearest
from autoresearch.processes import has_password, is_secret
from autoresearch.sandbox import fence
from autoresearch.sandbox.policy import Cell

SECONDS = 600.0  # chosen: two trainings of 300 s, within which a coding agent reads, thinks and edits
KEPT_BYTES = 256 * 1024  # chosen: of the output's end, some thousand lines
_PREFIX = "autoresearch-agent-"  # of the scratch folders, in the system's temporary one: a path with ../ meets nothing of the study
_POLL_SECONDS = 0.25
_LOOKS = 8  # of these between two at the size of its folder
_REASON_CHARACTERS = 300  # chosen: of the output's end in a reason, which is one line of a panel
# What a program says to the coding agents that are started in it; Claude Code refuses to be started in itself.
NESTED = (
    "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SESSION_ID", "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "GEMINI_CLI", "OPENCODE",
)  # fmt: skip


class Command:
    name = "command"
    thinks = True

    def __init__(
        self, arguments: list[str], seconds: float = SECONDS, variables: tuple[str, ...] = (), known: Recipe = OWN, level: int = 0,
        model: str | None = None, max_cost_usd: float | None = None, max_tokens: int | None = None, max_asks: int | None = None,
    ):  # fmt: skip
        """arguments: the program's absolute path and its own, with placeholders. max_asks: that may end without a known cost."""
        self.arguments, self.seconds, self.variables, self.recipe, self.level = arguments, seconds, variables, known, level
        self.model, self.max_cost_usd, self.max_tokens, self.max_asks = model, max_cost_usd, max_tokens, max_asks
        self._unpriced = 0
        self._last_problem: str | None = None  # with the last answer; the next task tells it

    def propose(self, view: View) -> Proposal:
        """One edit of view.train_py.

        Raises Unavailable when the program fails, is late, or leaves no usable train.py, and Exhausted when the money is spent.
        """
        left_usd = self._money_left(view)
        kept = (view.folder or Path(tempfile.gettempdir())) / "command"
        program, started = Path(self.arguments[0]).name, time.monotonic()
        folder: Path | None = None
        problem: str | None = "cut short"
        output, meter = "", Meter(self.recipe.usage)
        try:
            kept.mkdir(parents=True, exist_ok=True)
            folder = made()
            task = scratch.fill(folder / "work", view, self.seconds, self._last_problem)
            with closing(files.Held(folder / "work")) as work, closing(files.Held(fence.home(folder))) as its_home:
                problem, output = self._run(folder, task, view.wanted, meter, left_usd)
                with suppress(OSError):  # it is for reading only: a full disk or another thread's write costs nothing else
                    (kept / "last-output.txt").write_text(output, encoding="utf-8", newline="")
                if self.level:
                    with suppress(OSError):  # a full disk costs the renewed sign-in alone
                        home.keep(its_home, self.recipe)
                if problem is None:
                    text, description = scratch.answer(work, view)
                    self._last_problem = None
                    why = f"{program} edited train.py in {time.monotonic() - started:.0f} s"
                    return Proposal(text, self._shown(description), why, meter.told(self.model).get("cost_usd"))
        except scratch.BadAnswer as bad:
            problem = self._last_problem = str(bad)
        except OSError as error:
            problem = f"its scratch folder could not be made ({error.strerror or error})"
        finally:
            if folder is not None:
                files.remove(folder)
            usage = meter.told(self.model)
            self._unpriced += usage.get("cost_usd") is None
            view.on_ask(Ask(program, problem or "answered", time.monotonic() - started, **usage))
        words = _tail(self._shown(meter.said) or output)
        raise Unavailable(f"{program}: {problem}{words} (its output: {kept / 'last-output.txt'})")

    @property
    def files(self) -> list[str]:
        """Those that its command line names: a script."""
        return [argument for argument in self.arguments[1:] if os.path.isabs(argument) and os.path.isfile(argument)]

    def cell(self, folder: Path) -> Cell:
        """The fence for one start."""
        own = [os.path.expanduser(path) for path in self.recipe.reads]
        return fence.cell(self.level, folder, [*folders(self.arguments[0]), *self.files, *own])

    def environment(self, folder: Path) -> dict[str, str]:
        ours = environment(self.variables) | self.recipe.environment
        hidden = self.recipe.moved if self.level else ()
        return fence.environment({name: value for name, value in ours.items() if name not in hidden}, folder, self.level)

    def start(self, arguments: Iterable[str], folder: Path, stdin: Path | None = None) -> "subprocess.Popen[bytes]":
        """The program in its fence, with its copies of the home folder; folder: of `made`. Raises OSError."""
        if self.level:
            home.fill(fence.home(folder), self.recipe)
        return fence.start(self.cell(folder), [self.arguments[0], *arguments], stdin, self.environment(folder))

    def _money_left(self, view: View) -> float | None:
        if self.max_asks is not None and self._unpriced >= self.max_asks:
            raise Exhausted(f"it was asked {self._unpriced} times without telling what that costs; `--max-cost none` sets no limit")
        if self.max_cost_usd is None:
            return None
        if view.spent_usd >= self.max_cost_usd:
            raise Exhausted(
                f"{view.spent_usd:.2f} USD are spent, and the limit is {self.max_cost_usd:g}; raise --max-cost to go on"
            )
        return self.max_cost_usd - view.spent_usd

    def _run(
        self, folder: Path, task: str, wanted: Callable[[], bool], meter: Meter, left_usd: float | None
    ) -> tuple[str | None, str]:
        """(What went wrong or None, the end of the output)."""
        has_place = any("{prompt}" in argument or "{task_file}" in argument for argument in self.arguments)
        task_file = folder / "work" / scratch.TASK
        arguments = [argument.replace("{task_file}", str(task_file)).replace("{prompt}", task) for argument in self.arguments[1:]]
        if left_usd is not None:
            arguments += [argument.replace("{usd}", f"{left_usd:.4f}") for argument in self.recipe.budget]
        try:
            process = self.start(arguments, folder, None if has_place else task_file)
        except OSError as error:
            return f"it could not be started ({error.strerror or error})", ""
        assert isinstance(process.stdout, io.BufferedReader), "a pipe of bytes with the usual buffer is one"
        output = _End(process.stdout, meter)
        at_exit = functools.partial(fence.end, process)  # we may be in a thread that the end of the process cuts short
        atexit.register(at_exit)
        end = time.monotonic() + self.seconds
        problem, look = None, 0
        try:
            while process.poll() is None and problem is None:
                if time.monotonic() > end:
                    problem = self._last_problem = f"it took longer than {self.seconds:g} s and was ended"
                elif self.max_tokens is not None and meter.output_tokens > self.max_tokens:
                    problem = f"it wrote more than the {self.max_tokens} tokens of --max-tokens-per-experiment and was ended"
                elif (look := look + 1) % _LOOKS == 0 and files.takes_more(folder, fence.MOST_BYTES, fence.MOST_FILES):
                    problem = self._last_problem = f"it wrote more than {fence.MOST_BYTES >> 20:,} MB into its folder and was ended"
                elif not wanted():
                    problem = "nobody waits for its answer any more; it was ended"
                else:
                    time.sleep(_POLL_SECONDS)
        finally:
            fence.end(process)  # also after a good end: what it left in the background would slow the training
            atexit.unregister(at_exit)
        if problem is None and process.returncode != 0:
            problem = f"it ended with status {process.returncode}"
        return problem, self._shown(output.text())

    def _shown(self, text: str) -> str:
        """What the program says, for people: without what may not be shown, and without the secrets in its environment."""
        text = scratch.clean(text)
        for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):  # one may be a part of another
            is_hidden = is_secret(name) or has_password(name, value) or name in self.variables
            if is_hidden and len(value) >= 8:  # chosen: a shorter one would blot out ordinary words
                text = text.replace(value, f"[{name}]")
        return text


def made() -> Path:
    """A new scratch folder with the three that a fence wants; what killed processes left is removed."""
    import psutil

    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = old.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            files.remove(old)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")).resolve()
    for name in fence.PLACES:
        (folder / name).mkdir()
    return folder


class _End:
    """The end of a process's output, read by a thread, so that a flood neither blocks the process nor fills disk or memory."""

    def __init__(self, pipe: io.BufferedReader, meter: Meter):
        self._pipe, self._kept, self._meter = pipe, bytearray(), meter
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(timeout=2.0)  # a process that left its group may hold the pipe open: what came until now counts
        return bytes(self._kept[-KEPT_BYTES:]).decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while chunk := self._pipe.read1(64 * 1024):
                self._kept += chunk
                self._meter.feed(chunk)
                if len(self._kept) > 2 * KEPT_BYTES:
                    del self._kept[:-KEPT_BYTES]


def environment(variables: tuple[str, ...], environ: dict[str, str] | None = None) -> dict[str, str]:
    """The user's environment without what looks like a secret, save variables. Names of Windows know no case."""
    environ = dict(os.environ) if environ is None else environ
    passed = {name.upper() for name in variables}
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in passed or not (is_secret(name) or has_password(name, value) or name in NESTED)
    }


def make(
    command: str | None = None, seconds: float = SECONDS, variables: tuple[str, ...] = (), seed: int = 0, fenced: bool = True,
    model: str | None = None, **limits: Any,
) -> Command:  # fmt: skip
    """command: a recipe's name, or a command line. variables: names of secrets that it needs beyond a recipe's. seed is not used.

    limits: max_cost_usd, max_tokens, max_asks. Raises UsageError for a command that can't be split, whose program is not found,
    that could not work in its folder, or that can't be fenced where that was to be expected.
    """
    if not command or not command.strip():
        names = ", ".join(recipes())
        raise UsageError(f"the agent command needs a command; give `--command` one of {names}, or a command line")
    level, why = fence.reach() if fenced else (0, "")
    if fenced and level == 0 and sys.platform == "linux":
        raise UsageError(f"no fence can be made around a coding agent here ({why})", "`--agent-fence off` runs it with your rights")
    known = recipe(command.strip())
    arguments = split((not level and known.unfenced) or known.command if known else command)
    # Another command line for the same program signs in and is set up in the same way.
    known = known or next((other for other in recipes().values() if other.executable == Path(arguments[0]).stem), None)
    program = shutil.which(arguments[0])
    if program is None:
        hint = f"install it: {known.install}" if known and known.install else "install it or give its full path"
        raise UsageError(
            f"there is no program {arguments[0]!r} on PATH; {hint}{nearest(arguments[0], recipes())}, or use `--agent search`"
        )
    for argument in arguments[1:]:
        is_file = Path(argument).suffix and not os.path.isabs(argument) and os.path.isfile(argument)
        if is_file and argument not in (scratch.TRAIN_PY, *scratch.NOTES):
            raise UsageError(
                f"the command runs in a folder of its own, where there is no {argument}; write {os.path.abspath(argument)}"
            )
    if Path(program).suffix.lower() in (".cmd", ".bat") and any("{prompt}" in argument for argument in arguments):
        raise UsageError(f"{program} is a batch file, which the text of {{prompt}} could break out of; use {{task_file}}")
    if model:
        if not (known and known.model):
            raise UsageError("how this command is told its model is not known; put that into --command, and leave --model out")
        arguments += [argument.replace("{model}", model) for argument in known.model]
    known = known or OWN
    return Command(
        [os.path.abspath(program), *arguments[1:]], seconds, (*known.variables, *variables), known, level, model, **limits
    )


def split(command: str, windows: bool = sys.platform == "win32") -> list[str]:
    """The command's parts, by the shell's rules for quotes; on Windows a backslash is a path's, not an escape."""
    try:
        parts = shlex.split(command, posix=not windows)
    except ValueError as error:
        raise UsageError(f"the command {command!r} can't be split ({error}); close its quotes") from error
    if windows:
        parts = [part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'" else part for part in parts]
    if not parts or not parts[0]:
        raise UsageError("the command is empty; give a program and its arguments")
    return parts


def _tail(output: str) -> str:
    """The last words of the output, for a reason of one line."""
    words = " ".join(output[-4 * _REASON_CHARACTERS :].split())
    return f"; its last words: {words[-_REASON_CHARACTERS:]}" if words else ""
