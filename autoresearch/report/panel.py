"""What `run` shows: a live panel on a terminal, plain lines elsewhere, JSON lines for programs.

A listener is a context manager with two methods: `event(dict)` for every event of the ledger as it is written (and for notes,
which are not stored: {"event": "note", "reason": text}), and `progress(number, run, progress)`, which may be called as often as
one likes: it costs next to nothing, and nothing is drawn by it. So may {"event": "workers at work", "workers": a table for each
Slot}, which the panel alone shows. Text that an agent wrote can't move the cursor, colour the screen or break a line.
"""

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Self, TextIO

from autoresearch.hardware.now.health import Health, look
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.report import words
from autoresearch.report.screen import Digest, Terminal, View, screen
from autoresearch.report.slots import Slot
from autoresearch.run.setup import Progress
from autoresearch.study.state import State
from autoresearch.text import one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleDimensions, Group

    from autoresearch.hardware.planner.profile_file import Budget

PANEL_SECONDS = 1.0  # between two drawings without news
AWAY_SECONDS = 60.0  # the same where no run is at work, and nothing changes
LOOK_SECONDS = 0.25  # between two looks at the terminal's size
LEAST_SECONDS = 0.1  # between two drawings
HEALTH_SECONDS = 5.0
ENDING_SECONDS = 1.0  # chosen: what the end of a training takes, at most, where nothing is told of it
PLAIN_SECONDS = 30.0  # between two progress lines
JSON_SECONDS = 5.0
FOR_THE_PANEL = ("thinking", "workers at work")  # events that no line is written of: it counts on


def choose(
    as_json: bool, plain: bool, stream: TextIO, machine: str = "", past: Iterable[dict[str, Any]] = (),
    budget: "Budget | None" = None, keys: str = "Ctrl-C stops after this run", metric: Metric = VAL_BPB,
) -> "JsonLines | PlainLines | Panel":  # fmt: skip
    """The listener for this call. `machine` is a line about device and profile; `past` are the events of a resumed study.

    budget: of its trainings, for estimates. keys: what the panel says of Ctrl-C. metric: of the JSON's scores.
    """
    if as_json:
        return JsonLines(stream, metric)
    state = State.from_events(past)
    if plain or not stream.isatty() or _is_dumb():
        return PlainLines(stream, machine, state)
    return Panel(stream, machine, state, budget, keys)


def follow(state: State, event: dict[str, Any]) -> None:
    """Take an event of the ledger in; notes and checks are none."""
    if "seq" in event:
        state.apply(event)


class JsonLines:
    """One JSON object a line: the ledger's events, told by the metric's name, and `progress` now and then."""

    def __init__(self, stream: TextIO, metric: Metric = VAL_BPB):
        self._stream, self._metric = stream, metric
        self._due: dict[tuple[int, int], _Due] = {}  # of each run under way

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, event: dict[str, Any]) -> None:
        if event["event"] not in FOR_THE_PANEL:
            self._write(event)
        if event["event"] in ("run", "lost", "invalid"):
            self._due.pop((event["n"], event["k"]), None)

    def progress(self, number: int, run: int, progress: Progress) -> None:
        if self._due.setdefault((number, run), _Due(JSON_SECONDS))(progress.phase):
            self._write({"event": "progress", "n": number, "k": run, **asdict(progress)})

    def _write(self, entry: dict[str, Any]) -> None:
        self._stream.write(json.dumps(self._metric.told(entry)) + "\n")  # ASCII, so that every encoding can hold it
        self._stream.flush()


class PlainLines:
    """A line an event, and a line about a running training at most every PLAIN_SECONDS."""

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
        if event["event"] in FOR_THE_PANEL:
            return
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
    """The live panel. Printed text of others appears above it; it redraws itself whole when the terminal's size changes.

    It is drawn by a thread with a clock of its own, so that it counts on while the main thread waits, and nothing waits for a
    terminal that is slow or stopped (Ctrl-S).
    """

    def __init__(self, stream: TextIO, machine: str, state: State, budget: "Budget | None" = None, keys: str = ""):
        from rich.console import Console
        from rich.live import Live

        self._state, self._machine, self._budget, self._keys = state, machine, budget, keys
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._size = self._console.size = self._terminal_size()
        self._lock = threading.Lock()  # of all that the view is made of
        self._news, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._draw_on, name="panel", daemon=True)
        self._told = 0, 0, ""  # whose progress was told last: experiment, run, phase
        self._progress: tuple[Progress, float] | None = None  # and when it was told; times are time.monotonic's
        self._slots: dict[int, tuple[Slot, float]] = {}  # of several workers, by number; and when each was told
        self._thinks: tuple[str, float] | None = None  # and since when
        self._idle, self._idle_since = "getting ready", time.monotonic()
        self._note = self._speed = self._away = ""
        self._health, self._health_due = Health(), 0.0
        self._digest: Digest | None = None  # of the state as it was drawn last

    def __enter__(self) -> Self:
        self._live.start()
        self._draw()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._news.set()
        self._thread.join()
        self._progress = self._thinks = None
        self._slots = {}
        self._idle, self._idle_since, self._keys = "stopped", time.monotonic(), ""
        try:
            self._draw()
        finally:  # or standard error would stay rich's
            self._live.stop()

    def event(self, event: dict[str, Any]) -> None:
        if event["event"] == "workers at work":
            return self._at_work([Slot(**table) for table in event["workers"]])
        with self._lock:
            follow(self._state, event)
            self._take(event)
        self._news.set()

    def _at_work(self, slots: list[Slot]) -> None:
        """Told several times a second: drawn at once where a worker turned to something else."""
        with self._lock:
            before, now = self._slots, time.monotonic()
            is_news = [(slot.at, slot.n, slot.k) for slot, _ in before.values()] != [(slot.at, slot.n, slot.k) for slot in slots]
            known = {slot: at for slot, at in before.values()}
            self._slots = {slot.worker: (slot, known.get(slot, now)) for slot in slots}
            self._progress = None
        if is_news:
            self._news.set()

    def recall(self, events: Iterable[dict[str, Any]]) -> None:
        """Say what was said at these events, which the state has already: for who comes later."""
        with self._lock:
            for event in events:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        sentence = words.sentence(event, self._state) or ""
        self._away = ""
        match event["event"]:
            case "start":
                self._progress = None
            case "begin":
                self._progress = None
                self._note = self._note or "; ".join((event.get("conditions") or {}).get("warnings", []))
            case "run":
                self._now_idle("weighing the result")
                if self._state.late_startup or (event.get("watched") or {}).get("state"):
                    self._note = sentence
            case "speed":  # what it said before is over with the next check
                if sentence or self._note == self._speed:
                    self._note = sentence
                self._speed = sentence
                self._progress = None
                if seconds := event["wait_seconds"]:
                    self._progress = Progress("waiting", 0.0, 0.0), time.monotonic()
                    self._waits_seconds = seconds
            case "invalid" | "lost":
                self._now_idle("getting ready to run it again")
                self._note = sentence
            case "verdict":
                self._now_idle("choosing what to try next")
                self._note = ""
            case "wait" if self._progress and self._progress[0].phase == "waiting":
                pass  # it is counted down already
            case "check" | "wait":
                self._now_idle(sentence)
            case "workers":
                self._slots = {}
            case "away":
                self._away, self._slots = str(event["reason"]), {}
            case "thinking":
                self._thinks = (event["agent"], time.monotonic()) if event["agent"] else None
            case kind if kind not in ("study", "asked"):  # a note, a pause, a rejected proposal: it stays until the next verdict
                self._note = sentence or self._note

    def _now_idle(self, what: str) -> None:
        self._progress, self._idle, self._idle_since = None, what, time.monotonic()

    def progress(self, number: int, run: int, progress: Progress) -> None:
        with self._lock:
            self._away = ""
            if self._slots and (number, run) in self._state.under_way:
                return  # a worker's
            self._progress = progress, time.monotonic()
            if number == len(self._state.experiments) and not self._idle.startswith("checking"):  # `watch` is told of no check
                self._idle = f"checking what may be experiment {number}"
            is_news = self._told != (number, run, progress.phase)
            self._told = number, run, progress.phase
        if is_news:
            self._news.set()

    def _draw_on(self) -> None:
        """In the thread: a drawing for each news, and one a second. Whatever comes of it, the study goes on."""
        try:
            due = 0.0
            while not self._is_over.is_set():
                has_news = self._news.wait(LOOK_SECONDS)
                self._news.clear()
                if has_news or time.monotonic() >= due or self._terminal_size() != self._size:
                    self._draw()
                    due = time.monotonic() + (AWAY_SECONDS if self._away else PANEL_SECONDS)
                    self._is_over.wait(LEAST_SECONDS)
        except OSError:  # the terminal went away
            pass
        except Exception as error:
            self._console.print(f"the panel can't be drawn ({type(error).__name__}: {error}); the study goes on", markup=False)

    def _draw(self) -> None:
        if (size := self._terminal_size()) != self._size:  # lines that the terminal has folded can't be drawn over
            self._size = self._console.size = size
            self._live.stop()
            self._console.clear()
            self._live.start()
        self._live.update(self.renderable(), refresh=True)

    def _terminal_size(self) -> "ConsoleDimensions":
        """What the terminal itself says; rich would believe a COLUMNS that some shell exported before it was resized."""
        from rich.console import ConsoleDimensions

        try:
            columns, rows = os.get_terminal_size(self._console.file.fileno())
        except (OSError, ValueError):
            return self._console.size
        return ConsoleDimensions(columns - self._console.legacy_windows, rows) if columns > 1 and rows else self._console.size

    def renderable(self) -> "Group":
        """The panel for the console's present size."""
        with self._lock:
            return screen(self.view(), terminal_of(self._console))

    def print(self) -> None:
        """Once, as it is now."""
        self._console.print(self.renderable())

    def view(self) -> View:
        """What there is to show now; the lock is held."""
        now = time.monotonic()
        if now >= self._health_due:
            self._health, self._health_due = look(), now + HEALTH_SECONDS
        self._digest = Digest.of(self._state, self._digest)
        return View(
            self._state, datetime.now(), self._machine, self._progress and self._counted_on(*self._progress, now),
            self._budget.train_seconds if self._budget else None, self._budget.startup_limit_seconds if self._budget else None,
            (self._idle, now - self._idle_since), self._note, self._thinks and (self._thinks[0], now - self._thinks[1]),
            self._away, self._slots_now(now), self._health, self._keys, self._digest,
        )  # fmt: skip

    def _slots_now(self, now: float) -> tuple[Slot, ...]:
        """Each worker, and the loop itself where it is at work; none where it alone is."""
        slots = [
            replace(slot, progress=slot.progress and self._counted_on(slot.progress, at, now)) for slot, at in self._slots.values()
        ]
        if self._progress:
            if all(slot.state != "runs" for slot in slots):
                return ()
            number, run, _ = self._told
            slots.append(Slot(0, "runs", number, run, None, self._counted_on(*self._progress, now)))
        return tuple(slots)

    def _counted_on(self, told: Progress, at: float, now: float) -> Progress:
        """What was told at that time, as far as it will be by now. A training that is over is saved, and then scored."""
        elapsed = told.elapsed_seconds + now - at
        whole = told.elapsed_seconds / told.fraction if told.fraction else None
        if told.phase == "waiting":
            whole = self._waits_seconds
        if told.phase == "training" and whole and elapsed > whole + ENDING_SECONDS:
            return Progress("scoring", elapsed - whole)
        is_time = told.phase in ("training", "waiting")  # rows come back in steps: a share foretold is taken back
        return replace(told, elapsed_seconds=elapsed, fraction=min(1.0, elapsed / whole) if whole and is_time else told.fraction)


def terminal_of(console: "Console") -> Terminal:
    encoding = "ascii" if console.options.ascii_only or console.legacy_windows else "utf-8"
    return Terminal(*console.size, encoding, console.color_system in ("256", "truecolor"))


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
