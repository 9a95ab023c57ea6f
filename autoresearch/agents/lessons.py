"""lessons.md: what the experiments of a study have taught, drawn from its results alone, short enough to be read before each idea.

Written anew after each experiment, for people and for agents. Apart: what was kept, what was clearly no better, what was too near
to tell, and what has no score. Pure: the same history gives the same text.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoresearch.agents.base import FAILED, SHORT, UNJUDGED, Past
from autoresearch.agents.judged import STARTS, Judged, judged
from autoresearch.agents.search.texts import parsed
from autoresearch.constants import Value
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.text import one_line

FILE = "lessons.md"
SHOWN = 6  # lines of a part; chosen: the whole is some 700 tokens at most
VALUES = 5  # of a constant
INCONCLUSIVE = "inconclusive"
_DESCRIPTION_CHARACTERS = 90

_HEAD = "# Lessons of this study: drawn from its results, written anew after each experiment"


def text(history: Sequence[Past], metric: Metric = VAL_BPB) -> str:
    """The text of lessons.md; "" while nothing but the baseline was tried."""
    return Lessons().text(history, metric)


@dataclass
class _Group:
    """Experiments of one kind, or of one state."""

    tried: int = 0
    kept: int = 0
    missed: Judged | None = None  # the nearest that was clearly no better
    last: Judged | None = None


class Lessons:
    """The lessons of a history that grows: what was taken in once is not looked at again, unless the past itself has changed."""

    def __init__(self) -> None:
        self._edits: dict[tuple[str, str], tuple[str, Value] | None] = {}  # the one constant that was changed, by (best, text)
        self._forget()

    def _forget(self) -> None:
        self._past: list[Past] = []  # that was taken in
        self._best: Past | None = None
        self._tried = self._keeps = self._unclear = self._failed = 0
        self._kept: deque[Judged] = deque(maxlen=SHOWN)
        self._near: list[Judged] = []
        self._kinds: dict[str, _Group] = defaultdict(_Group)
        self._failures: dict[str, _Group] = defaultdict(_Group)
        self._values: dict[str, dict[Value, Judged]] = defaultdict(dict)  # of each constant that was changed alone

    def text(self, history: Sequence[Past], metric: Metric = VAL_BPB) -> str:
        """As the function `text`."""
        known = len(self._past)
        if list(history[:known]) != self._past:  # identities first: a hundred thousand take milliseconds
            self._forget()
            known = 0
        for outcome in judged(history[known:], self._best):
            self._take(outcome)
        self._past = list(history)
        return self._said(metric) if self._tried else ""

    def _take(self, outcome: Judged) -> None:
        status = outcome.past.status
        if status in STARTS:
            self._best = outcome.past
        if not outcome.kind or status in UNJUDGED:
            return
        kind = self._kinds[outcome.kind]
        self._tried += 1
        kind.tried += 1
        if status == "keep":
            self._keeps += 1
            kind.kept += 1
            self._kept.append(outcome)
        elif status == INCONCLUSIVE:
            self._unclear += 1
            self._near = _nearest([*self._near, outcome])
        else:
            kind.missed = next(iter(_nearest([*filter(None, (kind.missed,)), outcome])), None)
        if status in FAILED:
            self._failed += 1
            self._failures[status].tried += 1
            self._failures[status].last = outcome
        if outcome.delta is not None and (changed := self._one_constant(outcome)):
            name, value = changed
            self._values[name].pop(value, None)  # the last result of a value counts, at its place in time
            self._values[name][value] = outcome

    def _one_constant(self, outcome: Judged) -> tuple[str, Value] | None:
        assert outcome.best is not None, "a score of an edit is held against a best"
        pair = outcome.best.train_py, outcome.past.train_py
        if pair not in self._edits:
            self._edits[pair] = _one_constant(*pair)
        return self._edits[pair]

    def _said(self, metric: Metric) -> str:
        worse = self._tried - self._keeps - self._unclear - self._failed
        counts = (
            f"{self._tried} tried: {self._keeps} kept, {worse} no better, {self._unclear} too near to tell,"
            f" {self._failed} without a score."
        )
        parts = [
            ("Kept: what each gained over the best of its time, the last first", _lines([*self._kept][::-1], metric)),
            ("Too near to tell, the nearest first: worth another form, not a repetition", _lines(self._near, metric)),
            ("Kinds of edits: tried, kept, the nearest miss", _kinds(self._kinds, metric)),
            (
                f"One constant alone: value and change of {metric.name} against the best of its time",
                _constants(self._values, metric),
            ),
            ("Without a score", _failures(self._failures)),
        ]
        texts = ["\n".join([f"## {title}", *lines]) for title, lines in parts if lines]
        return "\n\n".join([_HEAD, counts, *texts]) + "\n"


def _lines(outcomes: Sequence[Judged], metric: Metric) -> list[str]:
    return [f"- {_change(one, metric)} {one.kind}, experiment {one.past.number}: {_described(one.past)}" for one in outcomes]


def _change(outcome: Judged, metric: Metric) -> str:
    return "n/a" if outcome.delta is None else metric.change(outcome.delta, SHORT)


def _described(past: Past) -> str:
    return one_line(past.description, _DESCRIPTION_CHARACTERS)


def _nearest(tried: Sequence[Judged]) -> list[Judged]:
    return sorted((outcome for outcome in tried if outcome.delta is not None), key=_delta)[:SHOWN]


def _delta(outcome: Judged) -> float:
    assert outcome.delta is not None, "asked for what has both scores"
    return outcome.delta


def _largest(groups: Mapping[str, _Group]) -> list[tuple[str, _Group]]:
    return sorted(groups.items(), key=lambda group: -group[1].tried)


def _kinds(kinds: Mapping[str, _Group], metric: Metric) -> list[str]:
    lines = []
    for kind, group in _largest(kinds):
        missed = group.missed
        nearest = f", {_change(missed, metric)} by experiment {missed.past.number}: {_described(missed.past)}" if missed else ""
        lines.append(f"- {kind}: {group.tried}, {group.kept}{nearest}")
    return lines


def _failures(states: Mapping[str, _Group]) -> list[str]:
    return [
        f"- {state}, {group.tried} times, at last experiment {group.last.past.number}: {_described(group.last.past)}"
        for state, group in _largest(states)
        if group.last
    ]


def _constants(values: Mapping[str, Mapping[Value, Judged]], metric: Metric) -> list[str]:
    """What each value did. The constants that were tried most come first."""
    lines = []
    for name, results in sorted(values.items(), key=lambda entry: -len(entry[1]))[: 2 * SHOWN]:
        shown = (
            f"{value} {_change(outcome, metric)}{' kept' * (outcome.past.status == 'keep')}"
            for value, outcome in list(results.items())[-VALUES:]
        )
        lines.append(f"- {name}: {', '.join(shown)}")
    return lines


def _one_constant(best: str, text: str) -> tuple[str, Value] | None:
    """(name, new value), where nothing else was changed."""
    before, after = parsed(best), parsed(text)
    if before is None or after is None or before.code != after.code or before.values.keys() != after.values.keys():
        return None
    changed = [name for name, value in after.values.items() if value != before.values[name]]
    return (changed[0], after.values[changed[0]]) if len(changed) == 1 else None
