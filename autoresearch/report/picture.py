"""progress.png: every experiment of a study, the running best, and what each keep was.

The vertical axis is chosen for the keeps: a discard that is far worse is drawn as a small triangle at the upper edge. Labels never
overlap one another; a keep for which there is no room stays without one. The file is written whole or not at all.
"""

import io
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch import durable
from autoresearch.metric import Metric
from autoresearch.paths import cache_dir
from autoresearch.study.events import REBASED
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.text import one_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import ScalarFormatter
    from matplotlib.transforms import Bbox

_KEEP, _DISCARD, _CRASH, _BAND = "#1a8f4c", "#9a9a9a", "#cc3333", "#dfe8f5"
_SIZE_INCHES, _DPI = (12.0, 6.5), 130
_LEFT, _BOTTOM, _WIDTH, _HEIGHT = 0.068, 0.085, 0.915, 0.765  # the axes, as parts of the figure
_LABEL_CHARACTERS = 44
_MAX_LABELS = 40  # more can't be read at this size; the largest gains come first


@dataclass(frozen=True)
class _Dot:
    """An experiment with a verdict and a score."""

    number: int
    bpb: float  # lower is better, whatever is shown
    outcome: str | None
    description: str


def draw(state: State, path: Path, machine: str = "") -> None:
    """Draw a study into the PNG file `path`; `machine` is a line about it."""
    buffer = io.BytesIO()
    compose(state, machine).print_png(buffer)  # type: ignore[no-untyped-call]  # matplotlib does not annotate it
    durable.write(Path(path), buffer.getvalue())


def blank() -> "tuple[Figure, FigureCanvasAgg, Axes]":
    """An empty picture (Agg: it needs no screen, and touches no state that other plots share)."""
    # Matplotlib keeps a list of fonts on disk; without this it would lie in a folder of its own in the user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # "building the font cache", into a live panel
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    return figure, canvas, figure.add_axes((_LEFT, _BOTTOM, _WIDTH, _HEIGHT))


def compose(state: State, machine: str = "") -> "FigureCanvasAgg":
    """The picture as a matplotlib canvas."""
    figure, canvas, axes = blank()
    decided = state.decided
    scored = [
        _Dot(e.number, e.val_bpb, e.verdict if e.state == REBASED else e.outcome, e.description)
        for e in decided
        if e.val_bpb is not None
    ]
    if state.baseline_failed:  # also where it has a score, and broke a limit: nothing is held against it
        scored = []
    _frame(figure, axes, state, machine)
    if scored:
        sigma = state.noise.sigma if state.noise else None
        low, high = _y_range(scored, sigma)
        rises = state.metric.direction == "max"
        axes.set_ylim(*((high, low) if rises else (low, high)))
        _draw_noise(axes, scored[0].bpb, sigma, state.metric)
        _draw_discards(axes, [e for e in scored if e.outcome == "discard"], low, high, rises)
        best = _draw_best(axes, scored, decided[-1].number)
    else:
        axes.set_yticks([])
        failed = state.baseline_failed
        words = f"the baseline failed ({failed})" if failed else "no experiment has a score yet"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=_DISCARD)
    _draw_crashes(axes, [e for e in decided if e.number > 0])  # a baseline that failed is tried again, and counts as none
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.1, borderpad=0.3, ncols=6,
            fontsize=8.5, frameon=False, handletextpad=0.3, columnspacing=1.6,
        )  # fmt: skip
    if scored:
        _draw_labels(axes, scored, best, rises)
    return canvas


def _frame(figure: "Figure", axes: "Axes", state: State, machine: str) -> None:
    """Titles, axes and grid."""
    from matplotlib.ticker import MaxNLocator

    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    last = max((e.number for e in state.decided), default=0)
    margin = max(0.6, 0.012 * last)
    axes.set_xlim(-margin, max(last, 1) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14))
    metric = state.metric
    if metric.direction == "max":
        axes.yaxis.set_major_formatter(_turned())
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlabel("experiment (0 is the baseline)", fontsize=9.5)
    unit = f", {metric.unit}" if metric.unit else ""
    axes.set_ylabel(f"{metric.name}{unit} ({metric.better} is better)", fontsize=9.5)
    title = f"{metric.name} {metric.text(state.best.val_bpb if state.best else None, 4)}"
    gain, baseline = state.gain, state.baseline.val_bpb if state.baseline else None
    if gain and baseline:
        gained = f"{metric.amount(gain.bpb, gain.error, 4, '±')}{metric.share(gain.bpb, baseline, 1)} {metric.beyond}"
        unknown = "; the noise was not measured" if gain.error is None else ""
        title += f", {gained} the baseline {metric.text(baseline, 4)}{unknown}"
    _text(figure, _LEFT, 0.962, title, fontsize=13, fontweight="bold", va="center")
    tag = state.study.tag if state.study else ""
    subtitle = "  ·  ".join(one_line(word, 90) for word in (machine, tag, _counts(state)) if word)
    _text(figure, _LEFT, 0.92, subtitle, fontsize=9.5, color="#555555", va="center")


def _turned() -> "ScalarFormatter":
    """For an axis of scores that are shown with the other sign."""
    from matplotlib.ticker import ScalarFormatter

    class Turned(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return super().__call__(-x, pos)

    return Turned()


def _counts(state: State) -> str:
    keep, discard, crash = state.counts().values()
    total = keep + discard + crash
    return f"{total} experiment{'s' * (total != 1)}: {keep} kept, {discard} discarded, {crash} crashed"


def _y_range(scored: list[_Dot], sigma: float | None) -> tuple[float, float]:
    """From under the best to over the baseline: room for labels below, and above for most of the discards while they are near."""
    first, noise = scored[0].bpb, sigma or 0.0
    best = min(e.bpb for e in scored if e.outcome != "discard")
    worse = sorted(e.bpb - best for e in scored if e.bpb > best and e.outcome == "discard")
    most = worse[int(0.8 * len(worse))] if worse else 0.0
    near = max(first - best, 4 * noise, 0.01 * abs(best))
    upper, lower = max(first + noise, best + min(most, near)), min(best, first - noise)
    span = max(upper - lower, 0.001 * abs(best)) or 1.0
    lower = min([lower] + [e.bpb for e in scored if e.bpb > lower - 0.2 * span])
    return lower - 0.16 * span, upper + 0.08 * span


def _draw_noise(axes: "Axes", baseline: float, sigma: float | None, metric: Metric) -> None:
    if sigma:
        label = f"baseline ± sigma ({metric.amount(sigma, digits=4)})"
        axes.axhspan(baseline - sigma, baseline + sigma, color=_BAND, linewidth=0, zorder=0.5, label=label)
    axes.axhline(baseline, color="#7f9cc7", linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)


def _draw_discards(axes: "Axes", discards: list[_Dot], low: float, high: float, rises: bool) -> None:
    crowd = min(1.0, 150 / max(1, len(discards)))  # smaller and paler dots when there are very many
    style: dict[str, Any] = {"s": 10 + 12 * crowd, "color": _DISCARD, "alpha": 0.45 + 0.4 * crowd, "linewidths": 0, "zorder": 2}
    seen = [e for e in discards if low < e.bpb < high]
    if seen:
        axes.scatter([e.number for e in seen], [e.bpb for e in seen], label="discard", **style)
    at_edge = {"transform": axes.get_xaxis_transform(), "clip_on": False, **style}
    above, below = ([e.number for e in discards if e.bpb >= high], [e.number for e in discards if e.bpb <= low])
    if rises:
        above, below = below, above
    if above:
        axes.scatter(above, [0.995] * len(above), marker="^", label="discard, above the scale", **at_edge)
    if below:
        axes.scatter(below, [0.012] * len(below), marker="v", label="discard, below the scale", **at_edge)


def _draw_best(axes: "Axes", scored: list[_Dot], last_number: int) -> list[tuple[float, float]]:
    """The baseline, the keeps, and the running best as steps; returns the steps' corners in data coordinates."""
    steps = [(e.number, e.bpb) for e in scored if e.outcome != "discard"]
    corners: list[tuple[float, float]] = [steps[0]]
    for (_, before), (number, after) in pairwise(steps):
        corners += [(number, before), (number, after)]
    corners.append((last_number, steps[-1][1]))
    axes.plot([x for x, _ in corners], [y for _, y in corners], color=_KEEP, linewidth=1.4, alpha=0.75, zorder=3)
    axes.scatter(*steps[0], s=34, color="#33558b", zorder=4, label="baseline")
    if steps[1:]:
        x, y = zip(*steps[1:], strict=True)
        axes.scatter(x, y, s=34, color=_KEEP, edgecolors="white", linewidths=0.8, zorder=4, label="keep")
    return corners


def _draw_crashes(axes: "Axes", experiments: Iterable[Experiment]) -> None:
    crashed = [e.number for e in experiments if e.outcome == "crash"]
    if crashed:
        axes.scatter(
            crashed,
            [0.0] * len(crashed),
            transform=axes.get_xaxis_transform(),
            marker="x",
            s=30,
            color=_CRASH,
            linewidths=1.3,
            clip_on=False,
            zorder=5,
            label="crash",
        )


def _draw_labels(axes: "Axes", scored: list[_Dot], best: list[tuple[float, float]], rises: bool) -> None:
    """A label for each keep, largest gain first, at the nearest free place: mostly beyond the steps, where nothing else is."""
    import numpy as np
    from matplotlib.patheffects import withStroke

    keeps = [e for e in scored if e.outcome == "keep"]
    point = _DPI / 72  # in pixels
    corners = axes.transData.transform(best)  # [corners, 2]: pixels, as everything below
    obstacles = [(*np.minimum(a, b) - point, *np.maximum(a, b) + point) for a, b in pairwise(corners)]
    obstacles += [(x - 4 * point, y - 4 * point, x + 4 * point, y + 4 * point) for x, y in corners]
    dots = axes.transData.transform([(e.number, e.bpb) for e in scored if e.outcome == "discard"] or np.empty((0, 2)))
    frame = axes.get_window_extent()
    gains = {after.number: before.bpb - after.bpb for before, after in pairwise([scored[0], *keeps])}
    labels: list[tuple[float, float, float, float]] = []
    for keep in sorted(keeps, key=lambda dot: gains[dot.number], reverse=True)[:_MAX_LABELS]:
        text = _text(
            axes,
            0,
            0,
            one_line(keep.description, _LABEL_CHARACTERS),
            fontsize=8,
            color="#22543a",
            va="center",
            zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
        extent = text.get_window_extent()
        size = extent.width + 4 * point, extent.height + 1.5 * point
        x, y = axes.transData.transform((keep.number, keep.bpb))
        place = _free_place(x, y, size, frame, np.array(obstacles), np.array(labels or np.empty((0, 4))), dots, point, rises)
        if place is None:
            text.remove()
            continue
        left, bottom = place
        labels.append((left, bottom, left + size[0], bottom + size[1]))
        to_data = axes.transData.inverted().transform
        text_x, text_y = to_data((left + 2 * point, bottom + size[1] / 2))
        text.set_position((text_x, text_y))
        end = bottom + size[1] if bottom < y else bottom
        if abs(end - y) > 7 * point:  # too far to be seen as this point's label without a line
            obstacles.append((x - point, min(y, end), x + point, max(y, end)))
            (line_x, line_y0), (_, line_y1) = to_data((x, y)), to_data((x, end))
            axes.plot([line_x, line_x], [line_y0, line_y1], color="#a8c9b6", linewidth=0.7, zorder=1.5)


def _free_place(
    x: float, y: float, size: tuple[float, float], frame: "Bbox", obstacles: "np.ndarray", labels: "np.ndarray",
    dots: "np.ndarray", point: float, rises: bool,
) -> tuple[float, float] | None:  # fmt: skip
    """The left lower corner of the best free box of `size` whose upright line to (x, y) crosses no label; None when there is none.

    obstacles and labels are boxes [n, 4] of x0, y0, x1, y1; dots [n, 2] may be covered, at a cost. Everything is in pixels.
    """
    import numpy as np

    width, height = size
    reach = np.linspace(0.02, 0.98, 9) * width  # how far the box lies to the left of the point
    far, near = np.arange(6, 200, 5) * point, np.arange(6, 90, 5) * point
    above, below = (far, near) if rises else (near, far)
    drop = np.concatenate([below + height, -above])
    left, bottom = (grid.ravel() for grid in np.meshgrid(x - reach, y - drop))
    right, top = left + width, bottom + height
    free = (left >= frame.x0 + point) & (right <= frame.x1 + 8 * point) & (bottom >= frame.y0 + 7 * point) & (top <= frame.y1)
    for x0, y0, x1, y1 in (*obstacles, *labels):
        free &= (left >= x1) | (right <= x0) | (bottom >= y1) | (top <= y0)
    for x0, y0, x1, y1 in labels:
        if x0 < x < x1:
            free &= (np.maximum(y, bottom) <= y0) | (np.minimum(y, top) >= y1)
    if not free.any():
        return None
    beside = (dots[:, 0] > left[:, None]) & (dots[:, 0] < right[:, None])  # [boxes, dots]
    covered = (beside & (dots[:, 1] > bottom[:, None]) & (dots[:, 1] < top[:, None])).sum(axis=1)
    distance = np.where(bottom > y, bottom - y, y - top) + 40 * point * ((bottom > y) != rises)
    cost = distance + 6 * point * covered + 0.02 * np.abs(left + width / 2 - x)
    chosen = np.argmin(np.where(free, cost, np.inf))
    return left[chosen], bottom[chosen]


def _text(parent: "Axes | Figure", x: float, y: float, text: str, **style: Any) -> "Text":
    """Text as it is: a dollar sign starts no formula, and a character that the font lacks becomes a question mark."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    return parent.text(x, y, "".join(c if ord(c) in known else "?" for c in text), parse_math=False, **style)
