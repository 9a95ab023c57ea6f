"""lessons.md: what the experiments of a study have taught, drawn from its results alone, short enough to be read before each idea.

Written anew after each experiment, for people and for agents. Apart: what was kept, what was clearly no better, what was too near
to tell, and what has no score. Pure: the same history gives the same text.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from autoresearch.agents.base import FAILED, SHORT, SKIPPED, Past
from autoresearch.agents.judged import Judged, judged
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
    tried = [outcome for outcome in judged(history) if outcome.kind and outcome.past.status != SKIPPED]
    if not tried:
        return ""
    scored = [outcome for outcome in tried if outcome.delta is not None]
    kept = [outcome for outcome in tried if outcome.past.status == "keep"]
    near = [outcome for outcome in tried if outcome.past.status == INCONCLUSIVE]
    failed = [outcome for outcome in tried if outcome.past.status in FAILED]
    worse = len(tried) - len(kept) - len(near) - len(failed)
    counts = (
        f"{len(tried)} tried: {len(kept)} kept, {worse} no better, {len(near)} too near to tell, {len(failed)} without a score."
    )
    parts = [
        ("Kept: what each gained over the best of its time, the last first", _lines(kept[: -SHOWN - 1 : -1], metric)),
        ("Too near to tell, the nearest first: worth another form, not a repetition", _lines(_nearest(near), metric)),
        ("Kinds of edits: tried, kept, the nearest miss", _kinds(tried, metric)),
        (f"One constant alone: value and change of {metric.name} against the best of its time", _constants(scored, metric)),
        ("Without a score", _failures(failed)),
    ]
    texts = ["\n".join([f"## {title}", *lines]) for title, part in parts if (lines := list(part))]
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


def _grouped(tried: Sequence[Judged], name: Callable[[Judged], str]) -> list[tuple[str, list[Judged]]]:
    """The largest group first."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for outcome in tried:
        groups[name(outcome)].append(outcome)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _kinds(tried: Sequence[Judged], metric: Metric) -> list[str]:
    lines = []
    for kind, group in _grouped(tried, lambda outcome: outcome.kind):
        missed = _nearest([outcome for outcome in group if outcome.past.status not in ("keep", INCONCLUSIVE)])
        nearest = "".join(f", {_change(one, metric)} by experiment {one.past.number}: {_described(one.past)}" for one in missed[:1])
        lines.append(f"- {kind}: {len(group)}, {sum(outcome.past.status == 'keep' for outcome in group)}{nearest}")
    return lines


def _failures(failed: Sequence[Judged]) -> list[str]:
    return [
        f"- {state}, {len(group)} times, at last experiment {group[-1].past.number}: {_described(group[-1].past)}"
        for state, group in _grouped(failed, lambda outcome: outcome.past.status)
    ]


def _constants(scored: Sequence[Judged], metric: Metric) -> list[str]:
    """Of the edits of one number: what each value did. The constants that were tried most come first."""
    values: dict[str, dict[Value, Judged]] = defaultdict(dict)
    for outcome in scored:
        if changed := _one_constant(outcome):
            name, value = changed
            values[name].pop(value, None)  # the last result of a value counts, at its place in time
            values[name][value] = outcome
    lines = []
    for name, results in sorted(values.items(), key=lambda entry: -len(entry[1]))[: 2 * SHOWN]:
        shown = (
            f"{value} {_change(outcome, metric)}{' kept' * (outcome.past.status == 'keep')}"
            for value, outcome in list(results.items())[-VALUES:]
        )
        lines.append(f"- {name}: {', '.join(shown)}")
    return lines


def _one_constant(outcome: Judged) -> tuple[str, Value] | None:
    """(name, new value), where nothing else was changed."""
    assert outcome.best is not None, "a score of an edit is held against a best"
    before, after = parsed(outcome.best.train_py), parsed(outcome.past.train_py)
    if before is None or after is None or before.code != after.code or before.values.keys() != after.values.keys():
        return None
    changed = [name for name, value in after.values.items() if value != before.values[name]]
    return (changed[0], after.values[changed[0]]) if len(changed) == 1 else None
