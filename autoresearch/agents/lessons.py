"""lessons.md: what the experiments of a study have taught, drawn from its results alone, short enough to be read before each idea.

Written anew after each experiment, for people and for agents. Apart: what was kept, what was clearly no better, what was too near
to tell, and what has no score. Pure: the same history gives the same text.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from autoresearch.agents.base import FAILED, SKIPPED, Past
from autoresearch.agents.judged import Judged, judged
from autoresearch.agents.search.texts import parsed
from autoresearch.constants import Value
from autoresearch.text import one_line

FILE = "lessons.md"
SHOWN = 6  # lines of a part; chosen: the whole is some 700 tokens at most
VALUES = 5  # of a constant
INCONCLUSIVE = "inconclusive"
_DESCRIPTION_CHARACTERS = 90

_HEAD = "# Lessons of this study: drawn from its results, written anew after each experiment"


def text(history: Sequence[Past]) -> str:
    """The text of lessons.md; "" while nothing but the baseline was tried."""
    tried = [one for one in judged(history) if one.kind and one.past.status != SKIPPED]
    if not tried:
        return ""
    scored = [one for one in tried if one.delta is not None]
    kept = [one for one in tried if one.past.status == "keep"]
    near = [one for one in tried if one.past.status == INCONCLUSIVE]
    failed = [one for one in tried if one.past.status in FAILED]
    worse = len(tried) - len(kept) - len(near) - len(failed)
    counts = (
        f"{len(tried)} tried: {len(kept)} kept, {worse} no better, {len(near)} too near to tell, {len(failed)} without a score."
    )
    parts = [
        ("Kept: what each gained over the best of its time, the last first", map(_line, kept[: -SHOWN - 1 : -1])),
        ("Too near to tell, the nearest first: worth another form, not a repetition", map(_line, _nearest(near))),
        ("Kinds of edits: tried, kept, the nearest miss", _kinds(tried)),
        ("One constant alone: value and change of val_bpb against the best of its time", _constants(scored)),
        ("Without a score", _failures(failed)),
    ]
    texts = ["\n".join([f"## {title}", *lines]) for title, found in parts if (lines := list(found))]
    return "\n\n".join([_HEAD, counts, *texts]) + "\n"


def _line(one: Judged) -> str:
    gain = "n/a" if one.delta is None else f"{one.delta:+.4f}"
    return f"- {gain} {one.kind}, experiment {one.past.number}: {_described(one.past)}"


def _described(past: Past) -> str:
    return one_line(past.description, _DESCRIPTION_CHARACTERS)


def _nearest(tried: Sequence[Judged]) -> list[Judged]:
    return sorted((one for one in tried if one.delta is not None), key=_delta)[:SHOWN]


def _delta(one: Judged) -> float:
    assert one.delta is not None, "asked for what has both scores"
    return one.delta


def _grouped(tried: Sequence[Judged], name: Callable[[Judged], str]) -> list[tuple[str, list[Judged]]]:
    """The largest group first."""
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in tried:
        groups[name(one)].append(one)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _kinds(tried: Sequence[Judged]) -> list[str]:
    lines = []
    for kind, group in _grouped(tried, lambda one: one.kind):
        missed = _nearest([one for one in group if one.past.status not in ("keep", INCONCLUSIVE)])
        nearest = f", {missed[0].delta:+.4f} by experiment {missed[0].past.number}: {_described(missed[0].past)}" if missed else ""
        lines.append(f"- {kind}: {len(group)}, {sum(one.past.status == 'keep' for one in group)}{nearest}")
    return lines


def _failures(failed: Sequence[Judged]) -> list[str]:
    return [
        f"- {state}, {len(group)} times, at last experiment {group[-1].past.number}: {_described(group[-1].past)}"
        for state, group in _grouped(failed, lambda one: one.past.status)
    ]


def _constants(scored: Sequence[Judged]) -> list[str]:
    """Of the edits of one number: what each value did. The constants that were tried most come first."""
    values: dict[str, dict[Value, Judged]] = defaultdict(dict)
    for one in scored:
        if changed := _one_constant(one):
            name, value = changed
            values[name].pop(value, None)  # the last result of a value counts, at its place in time
            values[name][value] = one
    lines = []
    for name, results in sorted(values.items(), key=lambda entry: -len(entry[1]))[: 2 * SHOWN]:
        shown = (
            f"{value} {one.delta:+.4f}{' kept' * (one.past.status == 'keep')}" for value, one in list(results.items())[-VALUES:]
        )
        lines.append(f"- {name}: {', '.join(shown)}")
    return lines


def _one_constant(one: Judged) -> tuple[str, Value] | None:
    """(name, new value), where nothing else was changed."""
    assert one.best is not None, "a score of an edit is held against a best"
    before, after = parsed(one.best.train_py), parsed(one.past.train_py)
    if before is None or after is None or before.code != after.code or before.values.keys() != after.values.keys():
        return None
    changed = [name for name, value in after.values.items() if value != before.values[name]]
    return (changed[0], after.values[changed[0]]) if len(changed) == 1 else None
