"""Two experiments, of one study or of two, on the text that both were scored on: is there a difference, and how sure is that?

The difference is taken document by document (or row by row), so that what a document costs anybody falls out. Two things make it
uncertain, and both count: the seeds of both sides (each study's own noise, measured on this text) and which documents the text
happens to hold (a ratio of sums over documents, its standard error by the jackknife: Cochran, Sampling Techniques, 1977, 6.17). The
95 % interval is Banerjee's (Sankhya 22, 1960): the root of the sum of each part's variance times the square of its own Student's t,
which holds at least what it promises, however few degrees of freedom a part has. Welch's approximation does not: simulated as in
tests/unit/test_report_compare.py it called up to 8.5 % of equal sides different, and this 5 % at most.

Promises: writes nothing; what is in a run's folder counts only as far as it says what the ledger says.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch.errors import UsageError
from autoresearch.metric import Metric
from autoresearch.noise import Noise, fair_scores, noise_group, pooled_noise, student_t
from autoresearch.report.summary import summarise
from autoresearch.study.experiments import Experiment, Run
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.text import one_line

CHANCE = 1.96  # normal deviate: 5 % of equal sides lie beyond
SAME_SCORE = 1e-6  # that a run's documents may differ from the ledger's score by rounding; beyond 1 a share of it


@dataclass(frozen=True)
class Subject:
    """One side: an experiment of a study."""

    study: Study
    state: State
    experiment: Experiment


@dataclass(frozen=True)
class Side:
    """What it makes of the common text."""

    bits: np.ndarray  # float64 [runs, documents], of the runs that chance did not choose
    noise: Noise | None  # of its study, on this text


@dataclass(frozen=True)
class Difference:
    bpb: float  # how much better B is than A
    seeds_error: float | None  # standard errors; None: a study has not measured its noise
    documents_error: float | None  # None: of one document alone
    interval: tuple[float, float] | None  # 95 %
    documents: int
    text_bytes: int
    runs: tuple[int, int]

    @property
    def is_one(self) -> bool | None:
        """Whether there is a difference at all; None: can't be told."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]

    def sentence(self, metric: Metric) -> str:
        better, worse = ("B", "A") if self.bpb > 0 else ("A", "B")
        apart = f"{metric.amount(abs(self.bpb))} {metric.measure}"
        if self.interval is None:
            why = f"one {metric.piece} says nothing of others" if self.documents_error is None else (
                "the noise of the seeds was not measured on both sides; `autoresearch noise` measures it"
            )  # fmt: skip
            return f"Not known: {better} is {apart} {metric.better} than {worse}, but {why}."
        low, high = sorted(map(abs, self.interval))
        if self.is_one:
            span = f"{metric.amount(low)} to {metric.amount(high)} with 95 % confidence"
            return f"{better} is better than {worse} by {apart} ({span})."
        return (
            f"No difference that can be told from chance: {better} is {metric.better} by {apart}, and by seeds and"
            f" {metric.pieces} alone up to {metric.amount((self.interval[1] - self.interval[0]) / 2)} are to be expected."
        )


def difference(a: Side, b: Side, sizes: np.ndarray, same_noise: bool) -> Difference:
    """Pure. sizes: int64 [documents], bytes. same_noise: both sides' noise is one estimate, of one study."""
    saved, total = a.bits.mean(axis=0) - b.bits.mean(axis=0), float(sizes.sum())
    bpb, count = float(saved.sum()) / total, len(sizes)
    parts: list[tuple[float, int]] = []  # (variance, degrees of freedom)
    documents_error = seeds_error = None
    if count > 1:
        left_out = (saved - bpb * sizes) / (1 - sizes / total)  # what leaving a document out changes: the jackknife
        documents_error = math.sqrt(float((left_out**2).sum()) * (count - 1) / count) / total
        parts.append((documents_error**2, count - 1))
    if a.noise and b.noise:
        seeds = [(side.noise.sigma**2 / len(side.bits), side.noise.dof) for side in (a, b) if side.noise]
        seeds = [(sum(variance for variance, _ in seeds), a.noise.dof)] if same_noise else seeds
        seeds_error = math.sqrt(sum(variance for variance, _ in seeds))
        parts += seeds
    interval = None
    if seeds_error is not None and documents_error is not None:
        reach = math.sqrt(sum(variance * student_t(CHANCE, dof) ** 2 for variance, dof in parts))
        interval = bpb - reach, bpb + reach
    return Difference(bpb, seeds_error, documents_error, interval, count, int(total), (len(a.bits), len(b.bits)))


def paired(a: Subject, b: Subject) -> Difference | str:
    """Their difference on the text that both were scored on, or why there is none to be had."""
    if (was := a.study.checksums.get("corpus")) != (now := b.study.checksums.get("corpus")) or was is None:
        return f"they can't be paired: their {_both(a)} are not the same ({a.study.corpus}: {was}; {b.study.corpus}: {now})"
    for subject in (a, b):
        if subject.experiment.val_bpb is None:
            return f"they can't be paired: experiment {subject.experiment.number} of {subject.study.folder} has no score"
    first, second = _Text.of(a), _Text.of(b)
    for subject, text in ((a, first), (b, second)):
        if text is None:
            where = f"{subject.study.runs} has no run of experiment {subject.experiment.number}"
            return f"they can't be paired: {where} whose {subject.state.metric.pieces} are kept and say what the ledger says"
    assert first is not None and second is not None
    count = min(len(first.sizes), len(second.sizes))  # a smaller eval_bytes is a prefix of a larger one
    if not (first.sizes[:count] == second.sizes[:count]).all():
        return f"they can't be paired: their validation {_both(a)} were cut in other pieces, by two versions of autoresearch"
    same = (a.study.tag, a.study.created) == (b.study.tag, b.study.created)
    return difference(first.side(a, count), second.side(b, count), first.sizes[:count], same_noise=same)


def _both(subject: Subject) -> str:
    metric = subject.state.metric
    return metric.data + "s" * bool(metric.article)


@dataclass(frozen=True)
class _Text:
    """The validation text of one side, with what its experiment's fair runs cost on it."""

    sizes: np.ndarray  # int64 [documents]
    bits: np.ndarray  # float64 [runs, documents]

    @classmethod
    def of(cls, subject: Subject) -> "_Text | None":
        runs = _split(subject.experiment, fair_scores)
        known = [found for run in runs if (found := of_run(subject.study, run)) is not None]
        if not known:
            return None
        sizes = known[0][1]
        return cls(sizes.astype(np.int64), np.stack([bits for bits, own in known if np.array_equal(own, sizes)]))

    def side(self, subject: Subject, count: int) -> Side:
        """On the first `count` documents."""
        total = float(self.sizes[:count].sum())
        groups = []
        for experiment in subject.state.experiments:
            if experiment.verdict == "keep":
                runs = [of_run(subject.study, run) for run in _split(experiment, noise_group)]
                groups.append([float(found[0][:count].sum()) / total for found in runs if found is not None])
        return Side(self.bits[:, :count], pooled_noise(groups, subject.state.metric))


def _split(experiment: Experiment, choose: Callable[[list[Run], list[Run], bool], list[Run]]) -> list[Run]:
    """What noise.py chooses of scores, of the runs that have them."""
    scored = [run for run in experiment.runs if run.result is not None and run.result.val_bpb is not None]
    decided = len(experiment.scores)
    return choose(scored[:decided], scored[decided:], experiment.was_chosen)


def of_run(study: Study, run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Of the validation text: what `documents` gives."""
    return documents(study.runs / run.folder / "documents.npy", run.result.val_bpb if run.result else None)


def documents(path: Path, known: float | None) -> tuple[np.ndarray, np.ndarray] | None:
    """(bits, bytes) of each document, float64; None when they are gone or are not those of the score that is known."""
    try:
        bits, sizes = np.load(path, allow_pickle=False)
        score = float(bits.sum() / sizes.sum())
    except (OSError, ValueError, TypeError, EOFError):
        return None
    return (bits, sizes) if known is not None and abs(score - known) <= SAME_SCORE * max(1.0, abs(known)) else None


def table(a: Subject, b: Subject) -> dict[str, Any]:
    """For programs: both sides, the difference or why there is none, and the sentence about it. UsageError for two metrics."""
    metric = a.state.metric
    if metric != b.state.metric or a.study.task.name != b.study.task.name:
        sides = [f"{one.study.folder} has {one.state.metric.name} ({one.study.task.name})" for one in (a, b)]
        raise UsageError(f"{' and '.join(sides)}, which don't compare", "name two studies of one task and one metric")
    found = paired(a, b)
    known = found if isinstance(found, Difference) else None
    tests = a.experiment.test_bpb, b.experiment.test_bpb
    return {
        "a": _facts(a),
        "b": _facts(b),
        "different": known and known.is_one,
        "sentence": found if isinstance(found, str) else found.sentence(metric),
        "paired": known and asdict(known),
        "test_bpb_difference": None if None in tests or known is None else tests[0] - tests[1],  # type: ignore[operator]
    }


def _facts(subject: Subject) -> dict[str, Any]:
    study, state, experiment = subject.study, subject.state, subject.experiment
    summary, profile, baseline = summarise(state), study.profile, state.baseline
    before, now = baseline.val_bpb if baseline else None, experiment.val_bpb
    gain = None if before is None or now is None else before - now
    return {
        "study": study.tag,
        "workspace": str(study.folder),
        "experiment": experiment.number,
        "description": one_line(experiment.description),
        "state": experiment.state or "pending",
        "val_bpb": experiment.val_bpb,
        "runs": len(experiment.fair),
        "test_bpb": experiment.test_bpb,
        f"{state.metric.beyond}_baseline": gain,
        "train_seconds": profile.budget.train_seconds,
        "corpus": study.corpus,
        **{name: getattr(profile.data, name, None) for name in ("eval_bytes", "vocab_size", "seq_len")},
        "decide": study.decide,
        "device": study.facts.device,
        "backend": study.backend,
        "profile": profile.name,
        "experiments": summary.experiments,
        "machine_hours": round(summary.machine_hours, 3),
        "cost_usd": summary.cost_usd,
    }
