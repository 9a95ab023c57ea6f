"""The live screen of a study: one pure function from a View to what rich prints; `run` and `watch` draw with it.

What matters is folded and never cut, down to 60 columns and 24 lines; in less, lines are left out from the least important one on.
Every text of others is made harmless here. Colours are of those few that can be read on white and on black
(docs/design/terminal.md), and nothing is told by colour alone.
"""

import textwrap
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING

from autoresearch.hardware.now.health import Health
from autoresearch.metric import Metric
from autoresearch.report import slots, words
from autoresearch.report.chart import chart, limits
from autoresearch.report.summary import Summary, summarise
from autoresearch.run.setup import Progress
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.text import one_line

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

# Of the 240 colours that no theme of a terminal changes; 4.5:1 and more on white and on black.
COLOURS = {
    "bar": "color(63)", "best": "bold color(63)", "baseline": "color(63)", "keep": "bold color(29)", "crash": "color(131)",
    "note": "bold", "faint": "color(243)",
}  # fmt: skip
PLAIN = {
    "best": "bold",
    "keep": "bold",
    "note": "bold",
}  # where there are but the 16 of the theme: none of them is readable on both
_TABLE_ROWS, _CHART_ROWS = 8, 12  # at most
_LEAST_CHART = 4
_ROOMY = 32  # lines of a terminal from which on some are left blank
_BLOCKS = (("machine",), ("doing", "bar", "why", "note"), ("chart",), ("score", "belief", "tally"), ("next", "spent"), ("table",))
_NAME = 12  # letters of the metric's, at most, above its column
_LABEL, _BESIDE = 20, 64  # cells: of what a worker is at, at least; of what stands beside it, before it gets more
_TOLD = 8  # cells of a description, from which on it is shown
_SPOILED = ("cheat", "val-only")  # states of experiments whose score is none


@dataclass(frozen=True)
class Digest:
    """What changes with events alone, and takes the longer to make the longer the study is."""

    summary: Summary
    scores: tuple[float | None, ...]  # of each experiment up to the last one with a verdict
    best: tuple[float | None, ...]  # after it
    seen: int  # of state.changes
    whole: int  # experiments at the beginning that all have a verdict

    @classmethod
    def of(cls, state: State, last: "Digest | None" = None) -> "Digest":
        """last: an earlier one of this state. What did not change since is taken over."""
        stays = min(state.changed(last.seen) | {last.whole}) if last else 0
        scores, best = (list(last.scores[:stays]), list(last.best[:stays])) if last else ([], [])
        lowest, whole = best[-1] if best else None, stays
        end = 1 + next((one.number for one in reversed(state.experiments) if one.verdict is not None), -1)
        for experiment in state.experiments[stays:end]:  # several workers decide them in another order
            score = None if experiment.verdict is None or experiment.state in _SPOILED else experiment.val_bpb
            lowest = score if experiment.verdict == "keep" else lowest
            whole += experiment.number == whole and experiment.verdict is not None
            scores.append(score)
            best.append(lowest)
        return cls(summarise(state), tuple(scores), tuple(best), len(state.changes), whole)


@dataclass(frozen=True)
class View:
    """All that a screen shows, at one moment."""

    state: State
    now: datetime  # the local time
    machine: str = ""  # what it runs on
    progress: Progress | None = None
    train_seconds: float | None = None
    startup_limit_seconds: float | None = None
    idle: tuple[str, float] = ("", 0.0)  # what is done between two trainings, and for how many seconds
    note: str = ""
    thinks: tuple[str, float] | None = None  # an agent at work on its answer, and for how many seconds
    away: str = ""  # that no run is at work, where none is
    workers: tuple[slots.Slot, ...] = ()  # several workers, and what each is at
    health: Health = field(default_factory=Health)
    keys: str = ""  # what Ctrl-C does
    digest: Digest | None = None  # of the state, where somebody has it already


@dataclass(frozen=True)
class Terminal:
    width: int
    height: int
    encoding: str = "utf-8"
    colours: bool = True  # more than the 16 of its theme

    @property
    def ascii_only(self) -> bool:
        return not self.encoding.lower().startswith("utf")


def screen(view: View, terminal: Terminal) -> "Group":
    from rich import box
    from rich.console import Group
    from rich.panel import Panel as Frame
    from rich.text import Text

    pen = _Pen(terminal)
    lines = _lines(view, pen)
    for line in lines:
        line.no_wrap, line.overflow = True, "crop" if terminal.ascii_only else "ellipsis"
    study = view.state.study
    title = Text(pen.shown(f"autoresearch {study.tag if study else ''}".strip()), style="bold default")
    frame = Frame(
        Group(*lines), title=title, title_align="left", subtitle=Text(pen.shown(view.keys)) if view.keys else None,
        subtitle_align="left", box=box.ASCII if terminal.ascii_only else box.ROUNDED, border_style=pen.styles.get("faint", ""),
        width=terminal.width,
    )  # fmt: skip
    # The cursor rests on an empty line: the terminal's own "^C" after a full one would fold it and spoil the next drawing.
    return Group(frame, Text(""))


def _lines(view: View, pen: "_Pen") -> "list[Text]":
    """What fits between the frame's two lines and over the empty one."""
    state, rows = view.state, max(1, pen.terminal.height - 3)
    roomy = pen.terminal.height >= _ROOMY
    digest = view.digest or Digest.of(state)
    spent = [*words.costs(digest.summary), *words.machine(view.health)]
    parts = {
        "machine": pen.folded(view.machine, "faint", most=2 if roomy else 1),
        "doing": pen.folded(view.away or _doing(view), "best"),
        "bar": [] if view.away else _slots(view, pen) if view.workers else _bar(view, pen),
        "why": [] if view.away or view.workers else pen.labelled("why", _reasoning(state), most=2 if roomy else 1),
        "note": pen.folded("" if view.away else view.note, "note"),
        "score": pen.folded(_score(view), "keep"),
        "belief": pen.folded(digest.summary.belief if state.best else "", ""),
        "tally": pen.folded(words.tally(state, view.now, not view.away), ""),
        "next": pen.labelled("next", words.ideas(state, view.thinks)),
        "spent": pen.folded(" · ".join(spent), "faint"),
    }
    least = min(2, len(digest.scores))  # lines of the table
    wanted = least + (_LEAST_CHART + 1 if pen.can_chart(digest) else 0)
    for name in ("machine", "why", "spent", "next", "belief", "tally"):  # the least important first
        if rows - sum(map(len, parts.values())) < (wanted if name in ("machine", "why") else least):
            parts[name] = []
    spare = rows - sum(map(len, parts.values())) - (len(_BLOCKS) - 1 if roomy else 0)
    chart_rows = min(_CHART_ROWS, max(_LEAST_CHART, (spare - 2) * 5 // 9))
    drawn = _chart(view, digest, pen, chart_rows) if pen.can_chart(digest) and spare >= wanted else []
    spare = max(0, spare - len(drawn))
    has_head = spare > 3
    table_rows = min(len(digest.scores), _TABLE_ROWS, spare - has_head)
    parts |= {"chart": drawn, "table": _table(state, digest, pen, table_rows, has_head)}
    blocks = [[line for name in names for line in parts[name]] for names in _BLOCKS]
    blocks = [block for block in blocks if block]
    gap = [pen.text("")] if rows - sum(map(len, blocks)) >= len(blocks) - 1 else []
    return [line for number, block in enumerate(blocks) for line in (gap * (number > 0) + block)][:rows]


def _doing(view: View) -> str:
    return slots.summary(view.workers, view.state) if view.workers else words.running(view.state) or view.idle[0]


def _score(view: View) -> str:
    if view.state.best is not None:
        return words.best(view.state)
    return words.first_scores(view.state, None if view.away or view.workers else view.progress, view.train_seconds)


def _reasoning(state: State) -> str:
    """Why somebody proposed what is tried now."""
    return state.pending.reasoning if state.pending and state.pending.number else ""


def _bar(view: View, pen: "_Pen") -> "list[Text]":
    """How far the running phase is."""
    progress = view.progress
    if progress is None:
        idle, seconds = view.idle
        said = pen.shown(idle) if words.running(view.state) else "so far"
        return [pen.text(f"{said}, {words.span(seconds)}" if seconds >= 1 else said, "faint")] if idle else []
    return [_phase(progress, progress.phase, view, pen, pen.width)]


def _slots(view: View, pen: "_Pen") -> "list[Text]":
    """A line for each worker; where that is more than half of the screen, one for all."""
    from rich.cells import cell_len
    from rich.text import Text

    shown = tuple(slot for slot in view.workers if slot.state != "unseen")
    if len(shown) > min(slots.MOST, pen.terminal.height // 2 - 2):
        folded = pen.folded(slots.together(shown), "")
        shown = tuple(slot for slot in shown if slot.worker == 0)
    else:
        folded = []
    least = max([_LABEL, *(len(slots.short(slot, view.state)) for slot in shown if slot.n is not None)])
    label = slots.label if pen.width - _BESIDE > least + _TOLD else slots.short
    labels = [pen.shown(label(slot, view.state)) for slot in shown]
    width = max(least, min(pen.width - _BESIDE, max(map(cell_len, labels), default=0)))
    lines = []
    for slot, told in zip(shown, labels, strict=True):
        number = f"{slot.worker or '':>{len(str(view.workers[-1].worker))}}  "
        if slot.progress is None:
            lines.append(pen.text(number + told, "" if slot.state == "runs" else "faint"))
            continue
        before = number + pen.fitted(told, width) + "  "
        phase = _phase(slot.progress, f"{slot.progress.phase:<8}", view, pen, pen.width - len(number) - width - 2)
        lines.append(Text.assemble(before, phase))
    return folded + lines


def _phase(progress: Progress, name: str, view: View, pen: "_Pen", width: int) -> "Text":
    """How far a phase is, in a line of that width; its numbers are told before there is room for a bar."""
    from rich.text import Text

    fraction, numbers = words.phase(progress, view.state, view.startup_limit_seconds)
    width -= len(name) + 2
    while len(numbers) > 2 and len(", ".join(numbers)) > width - 10:
        del numbers[2]  # the speed, then the loss
    said = ", ".join(numbers)
    room = width - len(said)
    if fraction is None or room < 5:
        return pen.text(f"{name} {said}")
    full = int(room * min(1.0, fraction))
    done, left = ("#", "-") if pen.terminal.ascii_only else ("━", "─")
    return Text.assemble(f"{name} ", (done * full, pen.style("bar")), (left * (room - full), pen.style("faint")), f" {said}")


def _chart(view: View, digest: Digest, pen: "_Pen", rows: int) -> "list[Text]":
    """rows lines with a scale on the left, and one below them."""
    from rich.text import Text

    scores, best = digest.scores, digest.best
    metric = view.state.metric
    rises = metric.direction == "max"
    ends = limits(scores, best)
    edge = "|" if pen.terminal.ascii_only else "│"
    bottom, top = (metric.text(end, words.SHORT) for end in (ends[::-1] if rises else ends))
    scale = {0: top, rows - 1: bottom}
    lines = []
    for number, row in enumerate(chart(scores, best, pen.width - 8, rows, pen.terminal.ascii_only, rises)):
        line = Text(f"{scale.get(number, ''):>6} {edge}", style=pen.style("faint"))
        for on_line, letters in groupby(row, key=lambda letter: letter[1]):
            line.append("".join(letter for letter, _ in letters), style=pen.style("best" if on_line else "faint"))
        lines.append(line)
    last = str(len(scores) - 1)
    legend = ("- best, . each experiment" if pen.terminal.ascii_only else "━ best  ⠂ each experiment") if pen.width >= 50 else ""
    name = metric.name
    if len(name) > 7:  # of the room below the scale
        name, legend = "", f"{name}  {legend}".strip()
    lines.append(pen.text(f"{name:<8}0 {legend:^{pen.width - 10 - len(last)}}{last}", "faint"))
    return lines


def _table(state: State, digest: Digest, pen: "_Pen", rows: int, has_head: bool) -> "list[Text]":
    """The last experiments, the newest at the bottom."""
    if not rows:
        return []
    wide = pen.width >= 70
    metric = state.metric
    name = metric.name[:_NAME]
    head = f"{'':>5}  {'result':<8}  {name:<7}{'  than best' if wide else ''}  change"
    lines = [pen.text(head, "faint")] if has_head else []
    for one in [*islice((one for one in reversed(state.experiments) if one.verdict is not None), rows)][::-1]:
        before = digest.best[one.number - 1] if one.number else None
        lines.append(_row(one, before if one.base is None else state.experiments[one.base].val_bpb, pen, wide, metric))
    return lines


def _row(experiment: Experiment, best: float | None, pen: "_Pen", wide: bool, metric: Metric) -> "Text":
    outcome, score = experiment.outcome or "", experiment.val_bpb
    word = experiment.state or outcome if outcome == "crash" else outcome  # timeout, oom, ...
    shown = metric.text(score, words.SHORT) if score is not None else ""
    columns = f"{experiment.number:>5}  {word:<8}  {shown:<{max(7, len(metric.name[:_NAME]))}}"
    if wide:
        columns += f"  {metric.change(score - best, words.SHORT) if score is not None and best is not None else '':>9}"
    return pen.text(f"{columns}  {pen.shown(experiment.description)}", outcome)


class _Pen:
    """Makes lines for one terminal."""

    def __init__(self, terminal: Terminal):
        self.terminal = terminal
        self.width = max(8, terminal.width - 4)
        self.styles = COLOURS if terminal.colours else PLAIN

    def style(self, name: str) -> str:
        return self.styles.get(name, "")

    def shown(self, text: str) -> str:
        """In one line, harmless, and with a question mark for what the encoding lacks."""
        line = one_line(text, 600)
        if self.terminal.ascii_only:
            line = line.replace(" · ", ", ").replace("°C", "C")
        return line.encode(self.terminal.encoding, "replace").decode(self.terminal.encoding)

    def can_chart(self, digest: Digest) -> bool:
        return self.width >= 30 and sum(score is not None for score in digest.scores) > 1

    def fitted(self, text: str, width: int) -> str:
        """A harmless text in exactly so many cells."""
        from rich.cells import cell_len, set_cell_size

        if cell_len(text) <= width:
            return set_cell_size(text, width)
        end = "." if self.terminal.ascii_only else "…"
        return set_cell_size(text, width - 1) + end

    def text(self, line: str, style: str = "") -> "Text":
        """A line of our own words, or of harmless ones; its columns stay where they are."""
        from rich.text import Text

        return Text(line, style=self.style(style))

    def folded(self, text: str, style: str, most: int = 0) -> "list[Text]":
        """A line for each part that fits; most: lines, by default as many as it takes, and one where there is little room."""
        from rich.text import Text

        most = most or (6 if self.terminal.height >= 20 else 1)
        end = " ..." if self.terminal.ascii_only else " …"
        parts = textwrap.wrap(self.shown(text), self.width, max_lines=most, placeholder=end)
        return [Text(part, style=self.style(style)) for part in parts]

    def labelled(self, label: str, text: str, most: int = 2) -> "list[Text]":
        return self.folded(f"{label}: {text}", "", most) if text else []
