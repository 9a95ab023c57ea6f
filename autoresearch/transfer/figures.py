"""What a transfer study has found: from its ledger, its terms, and what its runs cost on each document. Writes nothing."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autoresearch.noise import pooled_noise
from autoresearch.report import compare
from autoresearch.report.compare import Difference, Side, Subject
from autoresearch.study.events import SKIPPED
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.session import TEST
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.transfer import design
from autoresearch.transfer.design import Analysis
from autoresearch.transfer.stack import Edit, Stack
from autoresearch.transfer.verdict import Judgement, Measured, judge

STACK = 1  # its number in a transfer study
ROWS = 2  # that of the first row
_WITH = re.compile(r"\Awith edits? ([\d, ]+)")


def described(numbers: list[int], what: str = "") -> str:
    """A combination's line in the ledger; `edits_of` reads it back."""
    edits = f"edit{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"
    return f"with {edits}{what}" if numbers else f"with no edit{what}"


def edits_of(experiment: Experiment) -> list[int]:
    """The edits that it was made of."""
    found = _WITH.match(experiment.description)
    return [int(number) for number in found[1].replace(" ", "").strip(",").split(",")] if found else []


@dataclass(frozen=True)
class Small:
    """What the edits gained where they were found."""

    gain: float | None
    interval: tuple[float, float] | None
    test_gain: float | None


def small(study: Study, state: State, edits: list[Edit]) -> Small:
    """Of all its kept edits with the interval; of some of them the sum of what each gained over the keep before it."""
    keeps = [experiment.number for experiment in state.experiments if experiment.verdict == "keep"]
    if state.best is None or [edit.number for edit in edits] != keeps[1:]:
        known = [edit.gain for edit in edits if edit.gain is not None]
        return Small(sum(known) if len(known) == len(edits) else None, None, None)
    found = compare.paired(*(Subject(study, state, one) for one in (state.experiments[0], state.best)))
    if isinstance(found, Difference):
        return Small(found.bpb, found.interval, state.test_gain)
    return Small(state.gain.bpb if state.gain else None, None, state.test_gain)


@dataclass(frozen=True)
class Found:
    """Of one side against the base: on both texts, and what that means."""

    val: Measured | None
    test: Measured | None
    judgement: Judgement


def found(study: Study, state: State, subject: Experiment) -> Found | None:
    """None while it has no score beside one of the base's."""
    base, origin = state.experiments[0], study.origin
    assert origin is not None, "it is a transfer"
    val = _measured(study, state, base, subject, lambda run: compare.of_run(study, run))
    if val is None:
        return None
    test = _measured(study, state, base, subject, lambda run: _of_test(study, base, subject, run))
    if subject.state in FAILED:
        return Found(val, test, _without_score(subject))
    if base.tests and test is None:
        return Found(val, None, Judgement("not known", f"it has no score on the test {state.metric.data}"))
    return Found(val, test, judge(origin.gain, val, test, state.metric))


FAILED = ("crash", "oom", "diverged", "timeout", "invalid", "limit", "cheat", "val-only", "skip")  # states that no score undoes


def _without_score(subject: Experiment) -> Judgement:
    """Of one that failed, and of one that a person ended, which says nothing of it."""
    if subject.state == SKIPPED:
        return Judgement("not known", f"{subject.reason}; with another `--workspace` it is measured again")
    return Judgement("does not hold", subject.reason or "it has no score")


def _measured(
    study: Study, state: State, base: Experiment, subject: Experiment,
    documents: Callable[[Run], tuple[np.ndarray, np.ndarray] | None],
) -> Measured | None:  # fmt: skip
    """The gain over the base on one text: seeds and documents make it uncertain (report/compare.py)."""
    sides = [[known for run in one.runs if (known := documents(run)) is not None] for one in (base, subject)]
    if not all(sides):
        return None
    sizes = sides[0][0][1]
    bits = [np.stack([own for own, of in side if np.array_equal(of, sizes)]) for side in sides]
    scores = [(own.sum(axis=1) / sizes.sum()).tolist() for own in bits]
    noise = pooled_noise(scores, state.metric)
    difference = compare.difference(Side(bits[0], noise), Side(bits[1], noise), sizes.astype(np.int64), same_noise=True)
    return Measured(difference.bpb, difference.interval)


def _of_test(study: Study, base: Experiment, subject: Experiment, run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    owner = base if any(run is own for own in base.runs) else subject
    return compare.documents(study.runs / run.folder / TEST, owner.tests.get(run.k))


# Which edits carry it


def analysis(state: State, stack: Stack, count: int) -> Analysis | None:
    """From the rows that have scores. count: how many rows there are; None before the last of them was decided."""
    edits, rows = len(stack.factors), state.experiments[ROWS : ROWS + count]
    if len(rows) < count or any(row.verdict is None for row in rows):
        return None
    taken = [experiment for experiment in [*state.experiments[:ROWS], *rows] if _scores(experiment)]
    levels = [stack.levels(edits_of(experiment)) for experiment in taken]
    floor = state.metric.floor(_scores(taken[0])[0]) if taken else 0.0
    return design.analyse(edits, levels, [_scores(experiment) for experiment in taken], floor)


def _scores(experiment: Experiment) -> list[float]:
    """Of the runs that trained."""
    return [result.val_bpb for result in experiment.results if result.val_bpb is not None]


def carriers(stack: Stack, analysed: Analysis) -> list[int]:
    """The edits that carry the gain."""
    pairs = zip(stack.factors, analysed.effects, strict=True)
    return sorted(edit.number for factor, effect in pairs if effect.share == "carries" for edit in factor)


def facts(study: Study, state: State, stack: Stack | None, count: int | None) -> dict[str, Any]:
    """For programs, and what the words are made of. stack and count: of the attribution, where it was asked for."""
    origin = study.origin
    assert origin is not None, "it is a transfer"
    table: dict[str, Any] = {
        "study": study.tag,
        "workspace": str(study.folder),
        "origin": origin.study,
        "edits": list(origin.edits),
        "seeds": origin.seeds,
        "constants": origin.constants,
        "small": {
            "profile": origin.profile, "train_seconds": origin.train_seconds, "gain_bpb": origin.gain,
            "interval_bpb": origin.interval, "test_gain_bpb": origin.test_gain,
        },
        "big": {"profile": study.profile.name, "train_seconds": study.profile.budget.train_seconds},
        "verdict": None, "reason": None, "stack": None, "attribution": None, "carriers": None,
    }  # fmt: skip
    if len(state.experiments) > STACK and (subject := state.experiments[STACK]).verdict is not None:
        table |= _judged(study, state, subject)
        table["stack"] = _side(study, state, subject)
    if stack is not None and count is not None:
        table["attribution"] = _attribution(state, stack, count)
        if len(state.experiments) > ROWS + count and (last := state.experiments[ROWS + count]).verdict is not None:
            table["carriers"] = _judged(study, state, last) | _side(study, state, last) | {"edits": edits_of(last)}
    return table


def _judged(study: Study, state: State, subject: Experiment) -> dict[str, Any]:
    known = found(study, state, subject)
    judgement = known.judgement if known else _without_score(subject)
    return {"verdict": judgement.word, "reason": judgement.reason}


def _side(study: Study, state: State, subject: Experiment) -> dict[str, Any]:
    known, base = found(study, state, subject), state.experiments[0]
    gains = {name: side and asdict(side) for name, side in (("val", known and known.val), ("test", known and known.test))}
    return {
        "experiment": subject.number,
        "runs": len(_scores(subject)),
        "base_runs": len(_scores(base)),
        "gain_bpb": {name: side and side["gain"] for name, side in gains.items()},
        "interval_bpb": {name: side and side["interval"] for name, side in gains.items()},
        "kept": subject.verdict == "keep",
    }


def _attribution(state: State, stack: Stack, count: int) -> dict[str, Any]:
    analysed = analysis(state, stack, count)
    done = len([row for row in state.experiments[ROWS : ROWS + count] if row.verdict is not None])
    table: dict[str, Any] = {"rows": count, "rows_done": done, "sigma": None, "dof": None, "edits": None}
    if analysed is None:
        return table
    edits = [
        {"edits": [edit.number for edit in factor], "description": factor[-1].description, **asdict(effect)}
        for factor, effect in zip(stack.factors, analysed.effects, strict=True)
    ]
    return table | {"sigma": analysed.sigma, "dof": analysed.dof, "edits": edits}
