"""The front: which experiments' scores no other reaches at less of a measured quantity. And the best one within limits.

Every experiment with a score takes part, a discard too; what was found to be a cheat, or to gain on the validation split alone,
does not. An experiment's figure is the median of its runs, its score the one that it is reported by (noise.py). What differs by
less than twice its standard error does not differ: such places are marked. The more experiments there are, the luckier is the
luckiest of one run; a place that matters is worth `autoresearch replay N`.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch import durable
from autoresearch.errors import UsageError
from autoresearch.report import answers, picture, weights
from autoresearch.run.constraints import Constraints, Limit
from autoresearch.run.quantities import QUANTITIES, figure
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURE = 2.0  # standard errors of a difference
LEFT_OUT = ("cheat", "val-only")
_COLOURS = {"front": "#1a8f4c", "near": "#7f9cc7", "": "#9a9a9a"}


@dataclass(frozen=True)
class Point:
    experiment: Experiment
    score: float  # lower is better
    score_error: float | None  # standard error; None: not known
    figure: float  # of the quantity
    cost: float  # the figure, turned round where more is better
    cost_error: float | None
    place: str = ""  # front; near: behind it by no more than the noise
    rival: int | None = None  # of the front: the one of less cost that it may be better than by chance alone

    def is_over(self, other: "Point", is_sure: bool = False) -> bool:
        """Whether the other is no worse in both and better in one; is_sure: by more than the noise."""
        gaps = self.score - other.score, self.cost - other.cost
        if min(gaps) < 0:
            return False
        bounds = (_reach(self.score_error, other.score_error), _reach(self.cost_error, other.cost_error)) if is_sure else (0.0, 0.0)
        return any(gap > bound for gap, bound in zip(gaps, bounds, strict=True))


@dataclass(frozen=True)
class Front:
    quantity: str
    points: tuple[Point, ...]  # all, the least cost first
    knows_noise: bool

    @property
    def shown(self) -> list[Point]:
        return [point for point in self.points if point.place]


def usual_quantity(limits: Constraints) -> str:
    """What to hold the score against: the first that has a limit, else latency_ms."""
    return next((limit.quantity for limit in limits.limits), "latency_ms")


def measured(state: State) -> list[str]:
    """The quantities that any experiment with a score has, those that every task has first."""
    names = dict.fromkeys(name for experiment in _scored(state) for name in experiment.quantities)
    return sorted(names, key=lambda name: list(QUANTITIES).index(name) if name in QUANTITIES else len(QUANTITIES))


def front(state: State, quantity: str) -> Front:
    sign = -1 if quantity in QUANTITIES and QUANTITIES[quantity].more_is_better else 1
    sigma = state.noise.sigma if state.noise else None
    points = []
    for experiment in _scored(state):
        score, value = experiment.val_bpb, experiment.quantities.get(quantity)
        if score is not None and value is not None:
            runs = sum(quantity in run.quantities for run in experiment.runs)
            error, spread = sigma and sigma / math.sqrt(len(experiment.fair)), state.spread(quantity, value)
            points.append(Point(experiment, score, error, value, sign * value, spread and spread / math.sqrt(runs)))
    points.sort(key=lambda point: (point.cost, point.score, point.experiment.number))
    return Front(quantity, tuple(_placed(point, points) for point in points), sigma is not None)


def _placed(point: Point, points: Sequence[Point]) -> Point:
    if any(point.is_over(other) for other in points):
        is_near = point.score_error is not None and not any(point.is_over(other, is_sure=True) for other in points)
        return replace(point, place="near" if is_near else "")
    less = [other for other in points if other.cost < point.cost]
    rivals = [other for other in less if other.score - point.score <= _reach(point.score_error, other.score_error)]
    best = min(rivals, key=lambda other: other.score, default=None) if point.score_error is not None else None
    return replace(point, place="front", rival=best.experiment.number if best else None)


def _reach(one: float | None, other: float | None) -> float:
    return SURE * math.hypot(one or 0.0, other or 0.0)


def _scored(state: State) -> list[Experiment]:
    return [one for one in state.decided if one.val_bpb is not None and one.state not in LEFT_OUT]


def within(state: State, limits: Sequence[Limit]) -> tuple[Experiment | None, list[str]]:
    """The best one that keeps all limits, and []; else the one that comes nearest, and what it breaks. None: none has all figures.

    How near: by the limit that is broken most, as a share of it.
    """
    known = [one for one in _scored(state) if all(limit.quantity in one.quantities for limit in limits)]
    if not known:
        return None, []

    def excess(one: Experiment) -> float:
        broken = [(limit, one.quantities[limit.quantity]) for limit in limits if limit.is_broken_by(one.quantities[limit.quantity])]
        return max((abs(value - limit.value) / (abs(limit.value) or 1.0) for limit, value in broken), default=0.0)

    found = min(known, key=lambda one: (excess(one), one.val_bpb, one.number))
    values = found.quantities
    return found, [limit.objection(values[limit.quantity]) for limit in limits if limit.is_broken_by(values[limit.quantity])]


def best_within(study: Study, limits: Sequence[Limit]) -> dict[str, Any]:
    """The best experiment within the limits, for programs; `broken` says what the nearest one breaks where there is none.

    UsageError where no experiment has all that is limited.
    """
    state = answers.state_of(study)
    found, broken = within(state, limits)
    if found is None:
        names = ", ".join(limit.quantity for limit in limits)
        raise UsageError(f"no experiment has {names}; what was measured: {', '.join(measured(state)) or 'nothing yet'}")
    try:
        weights.find(study, found.number)
        has_weights = True
    except UsageError:
        has_weights = False
    return {
        "experiment": found.number,
        "description": one_line(found.description),
        "commit": found.commit,
        "ref": answers.ref(study, found.number),
        "state": found.state,
        state.metric.name: None if found.val_bpb is None else state.metric.shown(found.val_bpb),
        "runs": len(found.fair),
        "sigma": state.noise.sigma if state.noise else None,
        "quantities": found.quantities,
        "limits": [str(limit) for limit in limits],
        "broken": broken,
        "has_weights": has_weights,
        "train_py": answers.train_py(study, found),
    }


def rows(state: State, found: Front) -> list[dict[str, Any]]:
    """For programs and spreadsheets: an experiment each, the least cost first; scores in their metric's own direction."""
    shown = state.metric.shown
    return [
        {
            "experiment": point.experiment.number,
            "commit": point.experiment.commit,
            "state": point.experiment.state,
            state.metric.name: shown(point.score),
            "score_error": point.score_error,
            found.quantity: point.figure,
            f"{found.quantity}_error": point.cost_error,
            "runs": len(point.experiment.results),
            "front": point.place == "front",
            "within_noise": point.place == "near" or point.rival is not None,
            "rival": point.rival,
            "description": one_line(point.experiment.description),
        }
        for point in found.points
    ]


def lines(state: State, found: Front) -> list[str]:
    """A table of the front and what lies near it."""
    metric = state.metric
    table = [f"   {'no':>5}  {found.quantity:>18}  {metric.name:>12}  {'runs':>4}  {'state':<12}  description"]
    for point in found.shown:
        one, mark = point.experiment, "~" if point.place == "near" else "*~" if point.rival is not None else "*"
        table.append(
            f"{mark:<2} {one.number:>5}  {figure(point.figure):>18}  {metric.text(point.score):>12}  {len(one.results):>4}  "
            f"{one.state or '':<12}  {one_line(one.description)}"
        )
    left = len(found.points) - len(found.shown)
    behind = "clearly behind" if found.knows_noise else "behind"
    table += [
        "",
        f"* no other of {len(found.points)} has a {metric.better} {metric.name} at that {found.quantity}"
        + (f"; {left} {behind} are left out" if left else ""),
    ]
    if not found.knows_noise:
        table.append("the noise was not measured (--decide strict): whether one is better than the next is not known")
    elif any(point.place == "near" or point.rival is not None for point in found.shown):
        table.append("~ within the noise: on the front by chance, or behind it by chance (two standard errors)")
    return table


def draw(state: State, found: Front, path: Path) -> None:
    """The same as a PNG, without the worst scores, which would press the others together. A logarithmic axis where the quantity
    spans more than a factor of ten.
    """
    buffer = io.BytesIO()
    _, canvas, axes = picture.blank()
    metric, tag = state.metric, state.study.tag if state.study else ""
    axes.set_xlabel(f"{found.quantity}: {_what(found.quantity)}", fontsize=9.5)
    axes.set_ylabel(f"{metric.name}{', ' * bool(metric.unit)}{metric.unit} ({metric.better} is better)", fontsize=9.5)
    title = f"{metric.name} against {found.quantity}: {tag}, {len(found.points)} experiments with a score"
    axes.set_title(title, fontsize=13, fontweight="bold", loc="left")
    axes.set_position((0.068, 0.085, 0.915, 0.85))
    scores = sorted(point.score for point in found.points)
    worst = max(scores[int(0.8 * (len(scores) - 1))], *(point.score for point in found.shown))
    margin = 0.08 * (worst - scores[0]) or 0.01 * abs(worst) or 1.0
    axes.set_ylim(*sorted((metric.shown(scores[0] - margin), metric.shown(worst + margin))))
    _scatter(axes, state, found)
    values = [point.figure for point in found.points]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]  # as in picture.py
    durable.write(path, buffer.getvalue())


def _scatter(axes: "Axes", state: State, found: Front) -> None:
    shown = state.metric.shown
    labels = {"": "behind", "near": "behind, within the noise", "front": "front"}
    for place, label in labels.items():
        here = [point for point in found.points if point.place == place]
        if here:
            axes.errorbar(
                [point.figure for point in here], [shown(point.score) for point in here],
                xerr=[point.cost_error or 0.0 for point in here], yerr=[point.score_error or 0.0 for point in here],
                fmt="o", markersize=4 if not place else 6, color=_COLOURS[place], elinewidth=0.8, alpha=0.5 if not place else 1.0,
                label=label,
            )  # fmt: skip
    ahead = [point for point in found.points if point.place == "front"]
    if ahead:
        axes.plot(
            [point.figure for point in ahead], [shown(point.score) for point in ahead], drawstyle="steps-post",
            color=_COLOURS["front"], linewidth=1.2, alpha=0.7,
        )  # fmt: skip
        for point in ahead:
            axes.annotate(
                str(point.experiment.number), (point.figure, shown(point.score)), xytext=(5, 5), textcoords="offset points",
                fontsize=8, color="#22543a",
            )  # fmt: skip
        axes.legend(loc="best", fontsize=8.5, frameon=False)


def _what(quantity: str) -> str:
    return QUANTITIES[quantity].what if quantity in QUANTITIES else "the task's own"
