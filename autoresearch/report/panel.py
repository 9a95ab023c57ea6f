"""What `run` shows: a live panel on a terminal, plain lines elsewhere, JSON lines for programs.

A listener is a context manager with two methods: `event(dict)` for every event of the ledger as it is written (and for notes,
which are not stored: {"event": "note", "reason": text}), and `progress(number, run, progress)`, which may be called as often as
one likes: it costs next to nothing until the next drawing is due. No threads: the CPU is what trains. Text that an agent wrote
can't move the cursor, colour the screen or break a line.
"""

import json
import os
import textwrap
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Self, TextIO

from autoresearch.report import words
from autoresearch.run.setup import Progress
from autoresearch.study.state import Experiment, State
from autoresearch.text import one_line

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

PANEL_SECONDS = 1.0  # between two drawings
PLAIN_SECONDS = 30.0  # between two progress lines
JSON_SECONDS = 5.0
_LAST_RESULTS = 6
_TALL = 16  # lines of a terminal in which what is long may be folded
_STYLES = {"baseline": "blue", "keep": "green", "discard": "dim", "skip": "dim", "crash": "red"}


def choose(
    as_json: bool, plain: bool, stream: TextIO, machine: str = "", past: Iterable[dict[str, Any]] = ()
) -> "JsonLines | PlainLines | Panel":
    """The listener for this call. `machine` is a line about device and profile; `past` are the events of a resumed study."""
    if as_json:
        return JsonLines(stream)
    state = State.from_events(past)
    if plain or not stream.isatty() or _is_dumb():
        return PlainLines(stream, machine, state)
    return Panel(stream, machine, state)


def follow(state: State, event: dict[str, Any]) -> None:
    """Take an event of the ledger in; notes and checks are none."""
    if "seq" in event:
        state.apply(event)


class JsonLines:
    """One JSON object a line: the ledger's events as they are, and `progress` now and then."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._due = _Due(JSON_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, event: dict[str, Any]) -> None:
        self._write(event)

    def progress(self, number: int, run: int, progress: Progress) -> None:
        if self._due(number, run, progress.phase):
            self._write({"event": "progress", "n": number, "k": run, **asdict(progress)})

    def _write(self, entry: dict[str, Any]) -> None:
        self._stream.write(json.dumps(entry) + "\n")  # ASCII, so that every encoding can hold it
        self._stream.flush()


class PlainLines:
    """A line an event, and a line about the running training at most every PLAIN_SECONDS."""

    def __init__(self, stream: TextIO, machine: str, state: State):
        self._stream, self._machine, self._state = stream, machine, state
        self._due = _Due(PLAIN_SECONDS)

    def __enter__(self) -> Self:
        try:
            if self._machine:
                self._write(self._machine)
        except BrokenPipeError:  # the reader is gone already; the study goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, event: dict[str, Any]) -> None:
        follow(self._state, event)
        line = words.sentence(event, self._state)
        if line:
            self._write(line)

    def progress(self, number: int, run: int, progress: Progress) -> None:
        if self._due():
            self._write(f"experiment {number} run {run}: " + ", ".join([progress.phase, *words.numbers(progress)]))

    def _write(self, line: str) -> None:
        self._stream.write(_encodable(f"{datetime.now():%H:%M:%S} {one_line(line, 400)}", self._stream) + "\n")
        self._stream.flush()


class Panel:
    """The live panel. Printed text of others appears above it; it redraws itself whole when the terminal's size changes."""

    def __init__(self, stream: TextIO, machine: str, state: State):
        from rich.console import Console
        from rich.live import Live

        self._machine, self._state = machine, state
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._size = self._console.size
        self._due = _Due(PANEL_SECONDS)
        self._progress: Progress | None = None
        self._note = self._speed = ""
        self._idle = "between two experiments"

    def __enter__(self) -> Self:
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress, self._idle = None, "stopped"
        self._draw()
        self._live.stop()

    def event(self, event: dict[str, Any]) -> None:
        follow(self._state, event)
        match event["event"]:
            case "start" | "begin":
                self._progress = None
            case "run":
                self._progress = None
                if self._state.late_startup or (event.get("watched") or {}).get("state"):
                    self._note = words.sentence(event, self._state) or ""
            case "speed":  # what it said before is over with the next check
                sentence = words.sentence(event, self._state) or ""
                if sentence or self._note == self._speed:
                    self._note = sentence
                self._speed = sentence
            case "invalid":
                self._progress, self._note = None, words.sentence(event, self._state) or ""
            case "verdict":
                self._progress, self._note = None, ""
            case "check" | "wait":
                self._idle = words.sentence(event, self._state) or ""
            case kind if kind != "study":  # a note, a pause, a rejected proposal: it stays to be read until the next verdict
                self._note = words.sentence(event, self._state) or self._note
        self._draw()

    def progress(self, number: int, run: int, progress: Progress) -> None:
        if self._due(number, run, progress.phase):
            self._progress = progress
            self._draw()

    def _draw(self) -> None:
        if self._console.size != self._size:  # lines that the terminal has folded can't be drawn over
            self._size = self._console.size
            self._live.stop()
            self._console.clear()
            self._live.start()
        self._live.update(self.renderable(), refresh=True)

    def renderable(self) -> "Group":
        """The panel for the console's present size; what matters is folded, other lines are cut, however narrow it is."""
        from rich import box
        from rich.console import Group
        from rich.panel import Panel as Frame
        from rich.text import Text

        state = self._state
        lines = [
            Text(self._shown(self._machine), style="dim"),
            *self._folded(words.running(state) or self._idle, "bold"),
            self._bar(),
            *self._folded(self._note, "yellow"),
            *self._folded(words.best(state), "green"),
            *self._folded(words.tally(state), ""),
        ]
        rows = max(1, self._console.height - 4 - len(lines))  # for the last results
        lines += [self._result(e) for e in state.decided[-min(_LAST_RESULTS, rows) :]]
        for line in lines:
            line.no_wrap, line.overflow = True, "crop" if self._ascii else "ellipsis"
        title = Text(self._shown(f"autoresearch {state.study.tag if state.study else ''}".strip()))
        frame = Frame(Group(*lines), title=title, title_align="left", box=box.ASCII if self._ascii else box.ROUNDED)
        # The cursor rests on an empty line: the terminal's own "^C" after a full one would fold it and spoil the next drawing.
        return Group(frame, Text(""))

    def _folded(self, text: str, style: str) -> "list[Text]":
        """A line for each part of text that fits; three at most, and one where there is little room."""
        from rich.text import Text

        most = 3 if self._console.height >= _TALL else 1
        width, end = max(8, self._console.width - 4), " ..." if self._ascii else " …"
        return [Text(part, style=style) for part in textwrap.wrap(self._shown(text), width, max_lines=most, placeholder=end)]

    @property
    def _ascii(self) -> bool:
        return self._console.options.ascii_only or self._console.legacy_windows

    def _shown(self, text: str) -> str:
        return _encodable(one_line(text, 400), self._console.file)

    def _bar(self) -> "Text":
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Text("")
        numbers = ", ".join(words.numbers(progress))
        width = max(0, min(40, self._console.width - len(numbers) - len(progress.phase) - 8))
        full = int(width * (progress.fraction or 0.0)) if progress.phase != "startup" else 0
        done, left = ("#", "-") if self._ascii else ("━", "─")
        return Text.assemble(f"{progress.phase} ", (done * full, "cyan"), (left * (width - full), "dim"), f" {numbers}")

    def _result(self, experiment: Experiment) -> "Text":
        from rich.text import Text

        outcome = experiment.outcome or ""
        columns = f"{experiment.number:>5}  {outcome:<8}  {words.bpb(experiment.val_bpb):<6}  "
        return Text(columns + self._shown(experiment.description), style=_STYLES[outcome])


class _Due:
    """True at most every `seconds`, and at once when `what` changes."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._what: tuple[object, ...] | None = None
        self._next = 0.0

    def __call__(self, *what: object) -> bool:
        now = time.monotonic()
        if what == self._what and now < self._next:
            return False
        self._what, self._next = what, now + self._seconds
        return True


def _encodable(text: str, stream: IO[str]) -> str:
    """What the stream's encoding lacks becomes a question mark; a narrow Windows code page ends no night."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
