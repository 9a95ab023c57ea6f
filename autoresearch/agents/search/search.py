"""The search agent: no LLM and no key. It proposes values for train.py's constants (autoresearch/constants.py).

A proposal starts from the best train.py and changes one or two constants, or makes one known move:

  1. Every other experiment, while there are any, the next move of moves.toml: what helped others, best first.
  2. Otherwise Optuna's TPE, fed with the results so far, draws a few values for each constant, and an additive model
     (additive.py) picks the change, or the pair of changes, with the highest expected improvement.

Code of others that missed the best by little is such a start too: its constants were a guess, and the improvement that the model
expects of tuning them is held against the best's.

All memory is the view's history, read anew by each process: nothing is stored, a killed study goes on alike, and edits by
hand or by other agents count as results too. A text is never proposed twice. What crashed counts as a bad result. The same
seed and history give the same proposal. docs/design/search.md has the measurements behind these choices.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from autoresearch import constants
from autoresearch.agents.base import FAILED, Exhausted, Expected, Past, Proposal, View
from autoresearch.agents.judged import Judged, judged
from autoresearch.agents.search import space
from autoresearch.agents.search.additive import Additive, expected_improvement
from autoresearch.agents.search.space import Axis
from autoresearch.agents.search.texts import Text, Texts, parsed
from autoresearch.constants import Number, Value, is_number
from autoresearch.errors import UsageError
from autoresearch.text import one_line

optuna.logging.set_verbosity(optuna.logging.WARNING)

MOVES = Path(__file__).with_name("moves.toml")
DRAWS = 3  # values that TPE draws for each constant
REMEMBERED = 64  # best results, and as many of the newest, that the models are fed with: more adds time, not skill
PAIRED = 30  # best single changes that are tried as the second of a pair
EXPECTED = 6  # constants that an LLM is told the model's mind of
NEAR_MISSES = 3  # codes that missed the best, beside it: each takes as long as the best
UNDECIDED = ("discard", "inconclusive")  # statuses of what may still do with other numbers
CLIP = 6.0  # scores further above the best than this many median distances all look the same: bad

Changes = dict[str, Value]


@dataclass(frozen=True)
class Start:
    """A train.py that a proposal may start from: the best, or code that missed it."""

    source: str
    text: Text
    axes: dict[str, Axis]
    gap_bpb: float = 0.0  # that its code scored above the best of its time
    what: str = ""  # the edit that made the code


@dataclass(frozen=True)
class Choice:
    start: Start
    changes: Changes
    improvement: float  # over the best, as the model expects it, in bits per byte
    why: str


class Results(NamedTuple):
    """Of the experiments that say something about values, at a start's axes."""

    positions: np.ndarray  # float [N, A]
    scores: np.ndarray  # float [N]
    codes: np.ndarray  # int [N], the same for texts of one code


class Search:
    name = "search"
    thinks = False

    def __init__(self, seed: int = 0, moves: bool = True, tpe: bool = True, ranking: bool = True, near_misses: bool = True):
        """moves, tpe, ranking, near_misses: the parts, to measure what each is worth (benchmarks/search.py, hybrid.py)."""
        self.seed, self.tpe, self.ranking, self.near_misses = seed, tpe, ranking, near_misses
        table = tomllib.loads(MOVES.read_text(encoding="utf-8"))
        self.moves, self.source = (table["move"] if moves else []), table["source"]
        self.texts = Texts()

    def propose(self, view: View) -> Proposal:
        best, rng = self._best(view), np.random.default_rng([self.seed, len(view.history)])
        if len(view.history) % 2:
            for move in self.moves:
                known = self._apply(move, best.text, best.axes)
                if known and not self.texts.holds(known) and not self.texts.knows(best.text, known):
                    found = f"{move['gain_bpb']} bpb where it was found ({move.get('source', self.source)})"
                    return _proposal(best, known, f"known move: {move['what']}; {found}")
        past = _relevant(view.history)
        starts = [best, *(_near_misses(view.history, best, self.texts.first_values) if self.near_misses else ())]
        choices = [choice for start in starts if (choice := self._choice(start, past, view.best_val_bpb, rng))]
        if not choices:
            return _proposal(
                best, self._anything(best.text, best.axes, rng), "all that was drawn was tried before: a random change"
            )
        chosen = max(choices, key=lambda choice: choice.improvement)
        return _proposal(chosen.start, chosen.changes, chosen.why)

    def expects(self, view: View) -> list[Expected]:
        """What the model makes of single constants of the best, the most promising first. UsageError as `propose`."""
        best, rng = self._best(view), np.random.default_rng([self.seed, len(view.history)])
        results = _results(_relevant(view.history), best, view.best_val_bpb)
        singles = self._singles(best, results, rng)
        if not singles:
            return []
        mean, deviation = _Judge(best, results)(singles)
        order = np.argsort(-expected_improvement(mean, deviation))[:EXPECTED]
        changes = [(*singles[index].items(), mean[index], deviation[index]) for index in order]
        return [
            Expected(name, best.text.values[name], value, float(change), float(doubt)) for (name, value), change, doubt in changes
        ]

    def _best(self, view: View) -> Start:
        """The best, with all that is new in the history taken in."""
        self.texts.learn(view.history)
        best = _start(view.train_py, self.texts.first_values)
        if not best.axes:
            raise UsageError(
                "train.py has no constant for the search to change; bind one at the top (`DEPTH = 4  # layers [2..12]`)"
            )
        return best

    def _apply(self, move: dict[str, Any], now: Text, axes: dict[str, Axis]) -> dict[str, Number]:
        """The move on top of the present values; empty when train.py lacks a constant or may not take the value."""
        changes: dict[str, Number] = {}
        present = {name: value for name, value in now.values.items() if is_number(value)}
        for edit in move["edits"]:
            axis, old = axes.get(edit["constant"]), present.get(edit["constant"])
            if axis is None or old is None or not axis.ordered:
                return {}
            new = edit["set"] if "set" in edit else old * edit.get("multiply", 1) + edit.get("add", 0)
            if (other := edit.get("keep_product_with")) is not None:
                new = old * present[other] / changes[other]
            allowed = axis.value(axis.position(new)) if axis.low <= new <= axis.high else None
            if not is_number(allowed) or allowed == old:
                return {}
            changes[axis.name] = allowed
        return changes

    def _choice(self, start: Start, past: list[Past], best_val_bpb: float | None, rng: np.random.Generator) -> Choice | None:
        """The change, or the pair of changes, of the highest expected improvement over the best; None: all drawn were tried."""
        results = _results(past, start, best_val_bpb)
        singles = self._singles(start, results, rng)
        if not singles:
            return None
        if not self.ranking:
            return Choice(
                start, singles[rng.integers(len(singles))], 0.0, "drawn by Optuna's TPE" if self.tpe else "drawn at random"
            )
        judge = _Judge(start, results)
        improvement = expected_improvement(*judge(singles))
        improvement = improvement * (1 + 1e-3 * rng.uniform(size=len(singles)))  # chance decides between equals
        order = [singles[index] for index in np.argsort(-improvement)]
        pairs = [order[0] | other for other in order[1 : PAIRED + 1] if not order[0].keys() & other.keys()]
        candidates = order[:1] + [pair for pair in pairs if not self.texts.knows(start.text, pair)]
        mean, deviation = judge(candidates)
        improvement = expected_improvement(mean, deviation)
        first = int(np.argmax(improvement))
        why = f"the model of {len(past)} results expects {mean[first]:+.4f} bpb, give or take {deviation[first]:.4f}"
        return Choice(start, candidates[first], float(improvement[first]), why)

    def _singles(self, start: Start, results: Results, rng: np.random.Generator) -> list[Changes]:
        """Changes of one constant each that were drawn and not tried before."""
        return [
            {name: value}
            for name, values in self._draw(start.axes, results.positions, results.scores, rng).items()
            for value in dict.fromkeys(values)
            if value != start.text.values[name] and not self.texts.knows(start.text, {name: value})
        ]

    def _draw(
        self, axes: dict[str, Axis], positions: np.ndarray, scores: np.ndarray, rng: np.random.Generator
    ) -> dict[str, list[Value]]:
        """DRAWS values for each constant."""
        if not self.tpe:
            return {name: [_uniform(axis, rng) for _ in range(DRAWS)] for name, axis in axes.items()}
        spread: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(0.0, 1.0)
            if axis.ordered
            else optuna.distributions.CategoricalDistribution((-1, *range(len(axis.values))))  # -1: no kind of today's
            for name, axis in axes.items()
        }
        sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)), n_startup_trials=1)
        study = optuna.create_study(sampler=sampler)
        study.add_trials(
            optuna.trial.create_trial(params=_parameters(axes, row), distributions=spread, value=float(score))
            for row, score in zip(positions, scores, strict=True)
        )
        draws = [study.ask(spread).params for _ in range(DRAWS)]
        return {name: [axis.value(draw[name]) for draw in draws if axis.ordered or draw[name] >= 0] for name, axis in axes.items()}

    def _anything(self, now: Text, axes: dict[str, Axis], rng: np.random.Generator) -> Changes:
        names = list(axes)
        for _ in range(1000):
            chosen = rng.choice(names, min(3, len(names)), replace=False)
            changes = {str(name): _uniform(axes[name], rng) for name in chosen}
            changes = {name: value for name, value in changes.items() if value != now.values[name]}
            if changes and not self.texts.knows(now, changes):
                return changes
        raise Exhausted("the search tried all that the annotations in train.py allow; widen them, or add constants")


def make(seed: int = 0) -> Search:
    return Search(seed)


class _Judge:
    """What the model makes of changes of a start."""

    def __init__(self, start: Start, results: Results):
        self._start, self._base = start, _positions(start.axes, start.text.values)
        kinds = np.array([not axis.ordered for axis in start.axes.values()])
        self._model = Additive(results.positions, results.scores, kinds, results.codes)

    def __call__(self, candidates: list[Changes]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, [C] each, of the candidates' val_bpb over the best's."""
        start = self._start
        positions = np.array([_positions(start.axes, start.text.values | changes) for changes in candidates])
        mean, deviation = self._model.change(positions, self._base)
        if not start.what:
            return mean, deviation
        return mean + start.gap_bpb, np.hypot(deviation, math.sqrt(2) * self._model.noise)  # the gap is of two noisy scores


def _start(source: str, first_values: dict[str, Value], gap_bpb: float = 0.0, what: str = "") -> Start:
    """UsageError for a text that can't be read."""
    axes, text = space.axes(constants.read(source), first_values), parsed(source)
    assert text is not None, "what can't be read has raised its UsageError a line before"
    return Start(source, text, {name: axis for name, axis in axes.items() if name in text.values}, gap_bpb, what)


def _near_misses(history: Sequence[Past], best: Start, first_values: dict[str, Value]) -> list[Start]:
    """Edits of the best's code that were not kept, made again on its present constants, the nearest first: their own constants
    were somebody's guess, and code that lost by less than tuning gains deserves it.
    """
    nearest: dict[str, Judged] = {}
    for one in judged(history):
        if one.delta is None or one.best is None or one.past.status not in UNDECIDED:
            continue
        text, base = parsed(one.past.train_py), parsed(one.best.train_py)
        if text and base and base.code == best.text.code != text.code:
            other = nearest.get(text.code)
            nearest[text.code] = one if other is None or other.delta is None or one.delta < other.delta else other
    return [_again(one, best, first_values) for one in sorted(nearest.values(), key=lambda one: one.delta or 0.0)[:NEAR_MISSES]]


def _again(one: Judged, best: Start, first_values: dict[str, Value]) -> Start:
    text, base = parsed(one.past.train_py), one.best and parsed(one.best.train_py)
    assert text and base and one.delta is not None, "only such are asked for"
    own = {name for name, value in text.values.items() if base.values.get(name) != value}
    now = {name: value for name, value in best.text.values.items() if name in text.values and name not in own}
    return _start(constants.write(one.past.train_py, now), first_values, one.delta, one_line(one.past.description))


def _relevant(history: tuple[Past, ...]) -> list[Past]:
    """The start, the best and the newest of what has a score or failed by its own fault, in the order of time."""
    useful = [past for past in history if past.val_bpb is not None or past.status in FAILED]
    scored = sorted(((past.val_bpb, past.number) for past in useful if past.val_bpb is not None), key=lambda one: one[0])
    chosen = {past.number for past in useful[:1] + useful[-REMEMBERED:]} | {number for _, number in scored[:REMEMBERED]}
    return [past for past in useful if past.number in chosen]


def _results(past: list[Past], start: Start, best_val_bpb: float | None) -> Results:
    texts = [parsed(one.train_py) for one in past]
    rows = [(text, one.val_bpb) for text, one in zip(texts, past, strict=True) if text is not None]
    rows = rows or [(start.text, best_val_bpb or 1.0)]
    positions = np.array([_positions(start.axes, start.text.values | text.values) for text, _ in rows])
    known = np.array([score for _, score in rows if score is not None] or [1.0])
    above = known - known.min()
    usual = float(np.median(above[above > 0])) if above.any() else 0.0
    limit = known.min() + max(CLIP * usual, 0.01 * abs(known.min()))
    scores = np.array([limit if score is None else min(score, limit) for _, score in rows])
    codes = np.array([hash(text.code) for text, _ in rows])
    return Results(positions, scores, codes)


def _positions(axes: dict[str, Axis], values: Changes) -> np.ndarray:
    return np.array([axis.position(values[name]) for name, axis in axes.items()])


def _parameters(axes: dict[str, Axis], positions: np.ndarray) -> dict[str, float]:
    """Positions as Optuna's parameters; a value outside its range counts as the range's end."""
    return {
        name: min(max(float(position), 0.0), 1.0) if axis.ordered else int(position)
        for (name, axis), position in zip(axes.items(), positions, strict=True)
    }


def _uniform(axis: Axis, rng: np.random.Generator) -> Value:
    return axis.values[rng.integers(len(axis.values))] if axis.values else axis.value(rng.uniform())


def _proposal(start: Start, changes: Mapping[str, Value], why: str) -> Proposal:
    edits = ", ".join(f"{name} {_shown(start.text.values[name])} -> {_shown(value)}" for name, value in changes.items())
    return Proposal(constants.write(start.source, changes), f"{edits}, with {start.what}" if start.what else edits, why)


def _shown(value: Value) -> str:
    if isinstance(value, int) and value >= 1024 and value & (value - 1) == 0:
        return f"2**{value.bit_length() - 1}"
    return str(value)
