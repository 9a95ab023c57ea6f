"""The search agent: no LLM and no key. It proposes values for train.py's constants (autoresearch/constants.py).

Every proposal starts from the best train.py and changes one or two constants, or makes one known move:

  1. Every other experiment, while there are any, the next move of the task's moves.toml: what helped others, best first.
  2. Otherwise Optuna's TPE, fed with the results so far, draws a few values for each constant, and an additive model
     (additive.py) picks the change, or the pair of changes, with the highest expected improvement.

All memory is the view's history, read anew by each process: nothing is stored, a killed study goes on alike, and edits by
hand or by other agents count as results too. A text is never proposed twice. What crashed counts as a bad result. The same
seed and history give the same proposal. docs/design/search.md has the measurements behind these choices.

Where several experiments train at once, what is under way counts as tried, and the model knows where it will soon know more: so
the next proposal is another one (docs/design/workers.md).
"""

from collections.abc import Callable, Mapping

import numpy as np
import optuna

from autoresearch import bundle, constants
from autoresearch.agents.base import FAILED, SHORT, Exhausted, Expected, Past, Proposal, View
from autoresearch.agents.search import space
from autoresearch.agents.search.additive import Additive, expected_improvement
from autoresearch.agents.search.moves import Move
from autoresearch.agents.search.space import Axis
from autoresearch.agents.search.texts import Text, Texts, parsed
from autoresearch.constants import Number, Value, is_number
from autoresearch.errors import UsageError

optuna.logging.set_verbosity(optuna.logging.WARNING)

DRAWS = 3  # values that TPE draws for each constant
REMEMBERED = 64  # best results, and as many of the newest, that the models are fed with: more adds time, not skill
PAIRED = 30  # best single changes that are tried as the second of a pair
EXPECTED = 6  # constants that an LLM is told the model's mind of
CLIP = 6.0  # scores further above the best than this many median distances all look the same: bad

Changes = dict[str, Value]
Results = tuple[np.ndarray, np.ndarray, np.ndarray]  # positions float [N, A], scores float [M], codes int [N]: additive.py


class Search:
    name = "search"
    thinks = False

    def __init__(self, seed: int = 0, moves: bool = True, tpe: bool = True, ranking: bool = True):
        """moves, tpe, ranking: the parts, to measure what each is worth (benchmarks/search.py)."""
        self.seed, self.moves, self.tpe, self.ranking = seed, moves, tpe, ranking
        self.texts = Texts()

    def propose(self, view: View) -> Proposal:
        now, axes, rng = self._start(view)
        if self.moves and _begun(view) % 2:
            for move in view.moves:
                known = self._apply(move, now, axes)
                if known and not self.texts.holds(known) and not self.texts.knows(now, known):
                    gain = "" if move.gain is None else f"; {move.gain} {view.metric.label} where it was found"
                    why = f"known move: {move.what}{gain} ({move.source or 'n/a'})"
                    return _proposal(view, now, known, why)
        changes, why = self._choose(view, now, axes, rng)
        return _proposal(view, now, changes, why)

    def expects(self, view: View) -> list[Expected]:
        """What the model makes of single constants of the best, the most promising first. UsageError as `propose`."""
        now, axes, rng = self._start(view)
        results = self._results(_relevant(view.history), now, axes, view)
        singles = self._singles(now, axes, results, rng)
        if not singles:
            return []
        mean, deviation = _judge(now, axes, results)(singles)
        order = np.argsort(-expected_improvement(mean, deviation))[:EXPECTED]
        changes = [(*singles[index].items(), float(mean[index]), float(deviation[index])) for index in order]
        return [Expected(name, now.values[name], value, change, doubt) for (name, value), change, doubt in changes]

    def _start(self, view: View) -> tuple[Text, dict[str, Axis], np.random.Generator]:
        """(the best, what may be tried of it, this proposal's chance), with all that is new in the history taken in."""
        self.texts.learn(view.history, view.under_way)
        axes = space.axes(constants.read(view.train_py), self.texts.first_values)
        now = parsed(view.train_py)
        assert now is not None, "what can't be read has raised its UsageError two lines before"
        axes = {name: axis for name, axis in axes.items() if name in now.values}
        if not axes:
            if bundle.is_bundle(view.train_py):
                problem = (
                    "no file that may be edited has a constant with a range (`SIZE = 64  # [16..256]`) for the search to change"
                )
                raise UsageError(problem, "write one, or take an agent that writes code: --agent claude, openai or command")
            raise UsageError(
                "train.py has no constant for the search to change; bind one at the top (`DEPTH = 4  # layers [2..12]`)"
            )
        return now, axes, np.random.default_rng([self.seed, _begun(view)])

    def _apply(self, move: Move, now: Text, axes: dict[str, Axis]) -> dict[str, Number]:
        """The move on top of the present values; empty when train.py lacks a constant or may not take the value."""
        changes: dict[str, Number] = {}
        present = {name: value for name, value in now.values.items() if is_number(value)}
        for edit in move.edits:
            axis, old = axes.get(edit.constant), present.get(edit.constant)
            if axis is None or old is None or not axis.ordered:
                return {}
            new = old * edit.multiply + edit.add if edit.set is None else edit.set
            if (other := edit.keep_product_with) is not None:
                new = old * present[other] / changes[other]
            allowed = axis.value(axis.position(new)) if axis.low <= new <= axis.high else None
            if not is_number(allowed) or allowed == old:
                return {}
            changes[axis.name] = allowed
        return changes

    def _choose(self, view: View, now: Text, axes: dict[str, Axis], rng: np.random.Generator) -> tuple[Changes, str]:
        past = _relevant(view.history)
        results = self._results(past, now, axes, view)
        singles = self._singles(now, axes, results, rng)
        if not singles:
            return self._anything(now, axes, rng), "all that was drawn was tried before: a random change"
        if not self.ranking:
            return singles[rng.integers(len(singles))], "drawn by Optuna's TPE" if self.tpe else "drawn at random"
        judge = _judge(now, axes, results)
        improvement = expected_improvement(*judge(singles))
        improvement = improvement * (1 + 1e-3 * rng.uniform(size=len(singles)))  # chance decides between equals
        order = [singles[index] for index in np.argsort(-improvement)]
        pairs = [order[0] | other for other in order[1 : PAIRED + 1] if not order[0].keys() & other.keys()]
        candidates = order[:1] + [pair for pair in pairs if not self.texts.knows(now, pair)]
        mean, deviation = judge(candidates)
        best = int(np.argmax(expected_improvement(mean, deviation)))
        change, doubt = view.metric.change(mean[best], SHORT), view.metric.amount(deviation[best], digits=SHORT)
        why = f"the model of {len(past)} results expects {change} {view.metric.label}, give or take {doubt}"
        return candidates[best], why

    def _singles(self, now: Text, axes: dict[str, Axis], results: Results, rng: np.random.Generator) -> list[Changes]:
        """Changes of one constant each that were drawn and not tried before."""
        positions, scores, _ = results
        return [
            {name: value}
            for name, values in self._draw(axes, positions, scores, rng).items()
            for value in dict.fromkeys(values)
            if value != now.values[name] and not self.texts.knows(now, {name: value})
        ]

    def _results(self, history: list[Past], now: Text, axes: dict[str, Axis], view: View) -> Results:
        """Of the experiments that say something about values, and of those that will."""
        told = [past for past in view.under_way if past.val_bpb is not None]
        rows = [(text, past.val_bpb) for past in (*history, *told) if (text := parsed(past.train_py))]
        rows = rows or [(now, 1.0 if view.best_val_bpb is None else view.best_val_bpb)]
        untold = [text for past in view.under_way if past.val_bpb is None and (text := parsed(past.train_py))]
        texts = [*(text for text, _ in rows), *untold]
        positions = np.array([_positions(axes, now.values | text.values) for text in texts])
        known = np.array([score for _, score in rows if score is not None] or [1.0])
        above = known - known.min()
        usual = float(np.median(above[above > 0])) if above.any() else 0.0
        limit = known.min() + max(CLIP * usual, 0.01 * abs(known.min()))
        scores = np.array([limit if score is None else min(score, limit) for _, score in rows])
        codes = np.array([hash(text.code) for text in texts])
        return positions, scores, codes

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
            for row, score in zip(positions, scores, strict=False)  # nobody knows what is under way
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


def _begun(view: View) -> int:
    """How many proposals came before: it goes up with each, whether they are decided or not."""
    return len(view.history) + len(view.under_way)


def _relevant(history: tuple[Past, ...]) -> list[Past]:
    """The start, the best and the newest of what has a score or failed by its own fault, in the order of time."""
    useful = [past for past in history if past.val_bpb is not None or past.status in FAILED]
    scored = sorted(((past.val_bpb, past.number) for past in useful if past.val_bpb is not None), key=lambda pair: pair[0])
    chosen = {past.number for past in useful[:1] + useful[-REMEMBERED:]} | {number for _, number in scored[:REMEMBERED]}
    return [past for past in useful if past.number in chosen]


def _judge(now: Text, axes: dict[str, Axis], results: Results) -> Callable[[list[Changes]], tuple[np.ndarray, np.ndarray]]:
    """Of changes, what the model makes of each: mean and deviation, [C] each, of the score over that of `now`."""
    positions, scores, codes = results
    model = Additive(positions, scores, np.array([not axis.ordered for axis in axes.values()]), codes)
    base = _positions(axes, now.values)
    return lambda candidates: model.change(np.array([_positions(axes, now.values | changes) for changes in candidates]), base)


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


def _proposal(view: View, now: Text, changes: Mapping[str, Value], why: str) -> Proposal:
    edits = ", ".join(f"{name} {_shown(now.values[name])} -> {_shown(value)}" for name, value in changes.items())
    return Proposal(constants.write(view.train_py, changes), edits, why)


def _shown(value: Value) -> str:
    if isinstance(value, int) and value >= 1024 and value & (value - 1) == 0:
        return f"2**{value.bit_length() - 1}"
    return str(value)
