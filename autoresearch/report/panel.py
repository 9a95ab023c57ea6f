"""What `run` shows: a live panel on a terminal, plain lines elsewhere, JSON lines for programs.

A listener is a context manager with two methods: `event(dict)` for every event of the ledger as it is written (and for notes,
which are not stored: {"event": "note", "reason": text}), and `progress(number, run, progress)`, which may be called as often as
one likes: it costs next to nothing until the next drawing is due. No threads: the CPU is what trains. Text that an agent wrote
can't move the cursor, colour the screen or break a line.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TextIO

from autoresearch.report.history import Experiment, History, span
from autoresearch.text import one_line

PANEL_SECONDS = 1.0  # between two drawings
PLAIN_SECONDS = 30.0  # between two progress lines
JSON_SECONDS = 5.0
MORNING_HOUR = 7  # what "by 07:00" counts to
_LAST_RESULTS = 6
_STYLES = {"baseline": "blue", "keep": "green", "discard": "dim", "crash": "red"}


def choose(as_json: bool, plain: bool, stream: TextIO, machine: str = "", past: Iterable[dict] = ()):
    """The listener for this call. `machine` is a line about device and profile; `past` are the events of a resumed study."""
    if as_json:
        return JsonLines(stream)
    history = History.of(past)
    if plain or not stream.isatty() or _is_dumb():
        return PlainLines(stream, machine, history)
    return Panel(stream, machine, history)


class JsonLines:
    """One JSON object a line: the ledger's events as they are, and `progress` now and then."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._due = _Due(JSON_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def event(self, event: dict) -> None:
        self._write(event)

    def progress(self, number: int, run: int, progress) -> None:
        if self._due(number, run, progress.phase):
            self._write({"event": "progress", "n": number, "k": run, **asdict(progress)})

    def _write(self, entry: dict) -> None:
        self._stream.write(json.dumps(entry) + "\n")  # ASCII, so that every encoding can hold it
        self._stream.flush()


class PlainLines:
    """A line an event, and a line about the running training at most every PLAIN_SECONDS."""

    def __init__(self, stream: TextIO, machine: str, history: History):
        self._stream, self._machine, self._history = stream, machine, history
        self._due = _Due(PLAIN_SECONDS)

    def __enter__(self):
        if self._machine:
            self._write(self._machine)
        return self

    def __exit__(self, *_) -> None:
        pass

    def event(self, event: dict) -> None:
        self._history.add(event)
        line = _sentence(event, self._history)
        if line:
            self._write(line)

    def progress(self, number: int, run: int, progress) -> None:
        if self._due():
            self._write(f"experiment {number} run {run}: " + ", ".join([progress.phase, *_numbers(progress)]))

    def _write(self, line: str) -> None:
        self._stream.write(_encodable(f"{datetime.now():%H:%M:%S} {one_line(line, 400)}", self._stream) + "\n")
        self._stream.flush()


class Panel:
    """The live panel. Printed text of others appears above it; it redraws itself whole when the terminal's size changes."""

    def __init__(self, stream: TextIO, machine: str, history: History):
        from rich.console import Console
        from rich.live import Live

        self._machine, self._history = machine, history
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._size = self._console.size
        self._due = _Due(PANEL_SECONDS)
        self._progress = None
        self._note = self._speed = ""
        self._idle = "between two experiments"

    def __enter__(self):
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_) -> None:
        self._progress, self._idle = None, "stopped"
        self._draw()
        self._live.stop()

    def event(self, event: dict) -> None:
        self._history.add(event)
        match event["event"]:
            case "start" | "begin":
                self._progress = None
            case "run":
                self._progress = None
                if self._history.late_startup or (event.get("watched") or {}).get("state"):
                    self._note = _sentence(event, self._history)
            case "speed":  # what it said before is over with the next check
                said = _sentence(event, self._history) or ""
                if said or self._note == self._speed:
                    self._note = said
                self._speed = said
            case "invalid":
                self._progress, self._note = None, _sentence(event, self._history)
            case "verdict":
                self._progress, self._note = None, ""
            case "check":
                self._idle = _sentence(event, self._history)
            case kind if kind != "study":  # a note, a pause, a rejected proposal: it stays to be read until the next verdict
                self._note = _sentence(event, self._history) or self._note
        self._draw()

    def progress(self, number: int, run: int, progress) -> None:
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

    def renderable(self):
        """The panel for the console's present size; every line is one line, however narrow it is."""
        from rich import box
        from rich.console import Group
        from rich.panel import Panel as Frame
        from rich.text import Text

        history = self._history
        room = max(1, self._console.height - 10)  # for the last results
        lines = [
            Text(self._shown(self._machine), style="dim"),
            Text(self._shown(_running(history) or self._idle), style="bold"),
            self._bar(),
            *([Text(self._shown(self._note), style="yellow")] if self._note else []),
            Text(self._shown(_best(history)), style="green"),
            Text(self._shown(_tally(history))),
            *(self._result(e) for e in history.experiments[-min(_LAST_RESULTS, room) :]),
        ]
        for line in lines:
            line.no_wrap, line.overflow = True, "crop" if self._ascii else "ellipsis"
        title = Text(self._shown(f"autoresearch {history.tag}".strip()))
        frame = Frame(Group(*lines), title=title, title_align="left", box=box.ASCII if self._ascii else box.ROUNDED)
        # The cursor rests on an empty line: the terminal's own "^C" after a full one would fold it and spoil the next drawing.
        return Group(frame, Text(""))

    @property
    def _ascii(self) -> bool:
        return self._console.options.ascii_only or self._console.legacy_windows

    def _shown(self, text: str) -> str:
        return _encodable(one_line(text, 400), self._console.file)

    def _bar(self):
        from rich.text import Text

        progress = self._progress
        if progress is None:
            return Text("")
        words = ", ".join(_numbers(progress))
        width = max(0, min(40, self._console.width - len(words) - len(progress.phase) - 8))
        full = int(width * (progress.fraction or 0.0)) if progress.phase != "startup" else 0
        done, left = ("#", "-") if self._ascii else ("━", "─")
        return Text.assemble(f"{progress.phase} ", (done * full, "cyan"), (left * (width - full), "dim"), f" {words}")

    def _result(self, experiment: Experiment):
        from rich.text import Text

        columns = f"{experiment.number:>5}  {experiment.outcome:<8}  {_bpb(experiment.val_bpb):<6}  "
        return Text(columns + self._shown(experiment.description), style=_STYLES[experiment.outcome])


class _Due:
    """True at most every `seconds`, and at once when `what` changes."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._what: tuple | None = None
        self._next = 0.0

    def __call__(self, *what) -> bool:
        now = time.monotonic()
        if what == self._what and now < self._next:
            return False
        self._what, self._next = what, now + self._seconds
        return True


def _sentence(event: dict, history: History) -> str | None:
    """The event for a reader; None when it says nothing that one waits for. `history` already holds the event."""
    kind, number = event["event"], event.get("n")
    match kind:
        case "study":
            return f"study {event['tag']}"
        case "start":
            return f"experiment {number}: {event['description']}"
        case "begin":
            who = "the best, " if history.again is not None else ""
            return f"{who}experiment {number} run {event['k']} starts, seed {event['seed']}"
        case "run":
            score = f"val_bpb {event['val_bpb']:.6f}" if event["status"] == "ok" else f"{event['status']}: {event['reason']}"
            late = history.late_startup
            beyond = "; start-up {:.0f} s, baseline {:.0f} s".format(*late) if late and number > 0 else ""
            disturbed = "; it counts although it was disturbed" if (event.get("watched") or {}).get("state") else ""
            return f"experiment {number} run {event['k']}: {score}{beyond}{disturbed}"
        case "verdict":
            return f"experiment {number} {history.experiments[-1].outcome}: {event['reason']}; {_best(history)}"
        case "audit":
            worst = "no log-probabilities" if event["worst_nats"] is None else f"worst difference {event['worst_nats']:.4f} nats"
            passed = "passed" if event["reason"] is None else f"failed: {event['reason']}"
            return f"experiment {number}: audit of {event['cuts']} cuts, {worst}, {passed}"
        case "tested":
            return f"experiment {number} run {event['k']}: test_bpb {event['test_bpb']:.6f}, which no decision sees"
        case "revoked":
            return f"experiment {number} is no longer the best: {event['reason']}"
        case "lost":
            return f"experiment {number} run {event['k']} lost: {event['reason']}"
        case "invalid":
            return f"experiment {number} run {event['k']} invalid ({event['state']}): {event['reason']}; the same commit runs again"
        case "speed":
            wait = f"; the next check in {event['wait_seconds']:.0f} s" if event["wait_seconds"] else ""
            return f"{event['state']}: {event['reason']}{wait}" if event["reason"] else None
        case "rejected":
            return f"proposal rejected: {event['reason']}"
        case "note":
            return event["reason"]
        case "check":
            return f"checking what may be experiment {number}: {event['description']}"
        case "asked":
            return None if event["outcome"] == "answered" else f"{event['agent']}: {event['outcome']}"
        case "proposed":
            return f"{event['agent']} has an idea ready: {event['description']}"
        case "noise":
            return f"the best, experiment {number}, is to run until it has {event['wanted']} runs since its verdict"
        case "mix":
            wish = ", and is asked for a structural move" if event["wish"] else ""
            return f"the LLM proposes {event['share']:.0%} from now on{wish}: {event['reason']}"
        case _:
            return f"{kind}: {event['reason']}" if event.get("reason") else None


def _running(history: History) -> str:
    if history.running is None:
        if history.again is None:
            return ""
        return f"the best, experiment {history.again}, runs again (run {history.run}, seed {history.seed})"
    number, description = history.running
    if history.again is not None:
        return f"the best, experiment {history.again}, runs again (run {history.run}, seed {history.seed}), for experiment {number}"
    run = "" if history.run is None else f" run {history.run} (seed {history.seed})"
    return f"experiment {number}{run}: {description}"


def _best(history: History) -> str:
    if history.best is None:
        return "no val_bpb yet"
    text = f"best val_bpb {_bpb(history.best)}"
    if not history.gain:
        return f"{text}, the baseline"
    percent = 100 * history.gain.bpb / history.baseline
    error = "" if history.gain.error is None else f" +- {history.gain.error:.4f}"
    return f"{text} by experiment {history.best_number}, {history.gain.bpb:.4f}{error} ({percent:.1f} %) below the baseline"


def _tally(history: History) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in history.counts.items())
    if history.invalid:
        counts += f", {history.invalid} invalid and done again"
    seconds = history.experiment_seconds
    if not seconds:
        return counts
    now = datetime.now()
    morning = now.replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)
    morning += timedelta(days=1) * (morning <= now)
    expected = sum(history.counts.values()) + int((morning - now).total_seconds() / seconds)
    return f"{counts}; {span(seconds)} each, at this pace {expected} by {morning:%H:%M}"


def _numbers(progress) -> list[str]:
    """What is known of the running phase, as short words."""
    words = []
    if progress.phase == "startup" or not progress.fraction:  # start-up has a limit, but no known length
        words.append(span(progress.elapsed_seconds))
    else:
        words.append(f"{100 * progress.fraction:.0f} %")
        words.append(f"{span(progress.elapsed_seconds / progress.fraction - progress.elapsed_seconds)} left")
    if progress.tokens_per_second is not None:
        words.append(f"{progress.tokens_per_second:,.0f} tok/s")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.3f}")
    return words


def _bpb(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _encodable(text: str, stream: TextIO) -> str:
    """What the stream's encoding lacks becomes a question mark; a narrow Windows code page ends no night."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
