"""What an experiment needs next, read from the ledger's state alone. Pure: the loop performs it (loop.py)."""

from dataclasses import dataclass, replace
from typing import Literal

from autoresearch.metric import Metric
from autoresearch.noise import fair_scores, mean, pooled_noise
from autoresearch.run import constraints
from autoresearch.run.constraints import Constraints
from autoresearch.run.futility import FUTILE
from autoresearch.run.scoring import CHEAT
from autoresearch.study import decide
from autoresearch.study.decide import Rule
from autoresearch.study.events import REBASED, SKIPPED
from autoresearch.study.experiments import Experiment
from autoresearch.study.state import State

NONE = Constraints()
SLACK = 2.0  # spreads of a measured figure that pass before the last look, where the median decides (docs/design/limits.md)
DISCARDED = (constraints.BROKEN, CHEAT, FUTILE)  # how a run may fail that is no crash


@dataclass(frozen=True)
class RunNext:
    """One more run of an experiment on a new seed: of the candidate, or of the best on its behalf."""

    number: int


@dataclass(frozen=True)
class Verdict:
    """How an experiment ends: the fields of the ledger's event."""

    verdict: Literal["keep", "discard", "crash"]
    state: str
    reason: str | None
    val_bpb: float | None = None
    scores: tuple[float, ...] = ()  # that it was made from


SKIP = Verdict("discard", SKIPPED, "a person asked for it: `autoresearch skip`")


@dataclass(frozen=True)
class Audit:
    """It would be kept: its weights are audited, and then this verdict counts, or the audit's own."""

    keep: Verdict


def next_step(state: State, number: int, rule: Rule, limits: Constraints = NONE) -> RunNext | Audit | Verdict:
    """Of experiment `number`, which has no verdict yet. rule: see decide.py. limits: of what was measured beside its scores."""
    subject = state.experiments[number]
    if subject.skipped:
        return SKIP
    if failed := _failed(subject):
        return failed
    scores = [result.val_bpb for result in subject.settled if result.val_bpb is not None]
    if subject.base is not None and state.best is not None and subject.base != state.best.number:
        return _of_another_base(state, subject, state.experiments[subject.base], state.best, rule, scores)
    if not scores:
        return RunNext(number)
    if state.best is None:
        step: RunNext | Audit | Verdict = _baseline(rule, scores, state.metric) or RunNext(number)
    else:
        step = _by_scores(state, subject, state.best, rule, scores)
    return _within(state, subject, scores, limits, step)


def _by_scores(state: State, subject: Experiment, best: Experiment, rule: Rule, scores: list[float]) -> RunNext | Audit | Verdict:
    decision = decide.decide(rule, best.counted, state.noise_at_best, scores, best.can_rerun, state.metric)
    if decision.verdict in ("more", "again"):
        return RunNext(best.number if decision.verdict == "again" else subject.number)
    fair = mean(fair_scores(scores, [], was_chosen=True))
    if decision.verdict == "keep":
        return Audit(Verdict("keep", "keep", decision.reason, fair, tuple(scores)))
    return Verdict("discard", decision.verdict, decision.reason, fair, tuple(scores))


def _of_another_base(
    state: State, subject: Experiment, base: Experiment, best: Experiment, rule: Rule, scores: list[float]
) -> Verdict:  # fmt: skip
    """Of one that began before the best was kept. What loses to its own base is discarded, which costs nothing more; what does not
    is made again on the best, and tested there from its first run on: scores over another base keep nothing.
    """
    fair = mean(fair_scores(scores, [], was_chosen=True)) if scores else None
    if scores and base.counted:  # none: it was revoked
        decision = decide.decide(rule, base.counted, state.noise_at_best, scores, can_rerun=False, metric=state.metric)
        if decision.verdict == "discard":
            return Verdict("discard", "discard", f"{decision.reason}; of experiment {base.number}, its base", fair, tuple(scores))
    reason = f"experiment {best.number} is the best now, and this is an edit of experiment {base.number}: it is made again on that"
    return Verdict("discard", REBASED, reason, fair, tuple(scores))


def _within(
    state: State, subject: Experiment, scores: list[float], limits: Constraints, step: RunNext | Audit | Verdict
) -> RunNext | Audit | Verdict:
    """The step, unless the medians of what was measured break a limit: at a would-be keep, or clearly before."""
    known = subject.quantities
    if isinstance(step, Audit):
        reason = limits.objection_of_all(known)
    else:
        reason = limits.objection_of_all(known, lambda limit: SLACK * (state.spread(limit.quantity, limit.value) or 0.0))
    if reason:
        several = f" (the median of {len(scores)} runs)" if len(scores) > 1 else ""
        fair = mean(fair_scores(scores, [], was_chosen=subject.number > 0))
        return Verdict("discard", constraints.BROKEN, f"{reason}{several}", fair, tuple(scores))
    if isinstance(step, Audit) and (warnings := limits.warnings(known)):
        return Audit(replace(step.keep, reason="; ".join([step.keep.reason or "", *warnings])))
    return step


def _failed(subject: Experiment) -> Verdict | None:
    for k, result in enumerate(subject.results, 1):
        if not result.ok:
            reason = result.reason if k == 1 else f"on seed {result.seed}, its run {k}: {result.reason}"
            return Verdict("discard" if result.status in DISCARDED else "crash", result.status, reason)
    return None


def _baseline(rule: Rule, scores: list[float], metric: Metric) -> Audit | None:
    if len(scores) < decide.BASELINE_RUNS[rule]:
        return None
    noise = pooled_noise([scores], metric)
    spread = f", sigma {metric.amount(noise.sigma)}" if noise else ""
    return Audit(Verdict("keep", "baseline", f"mean of {len(scores)} runs{spread}", mean(scores), tuple(scores)))
