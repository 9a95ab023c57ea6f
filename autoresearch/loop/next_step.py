"""What an experiment needs next, read from the ledger's state alone. Pure: the loop performs it (loop.py)."""

from dataclasses import dataclass
from typing import Literal

from autoresearch.noise import fair_scores, mean, pooled_noise
from autoresearch.run import constraints
from autoresearch.run.futility import FUTILE
from autoresearch.run.scoring import CHEAT
from autoresearch.study import decide
from autoresearch.study.decide import Rule
from autoresearch.study.events import SKIPPED
from autoresearch.study.state import Experiment, State

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


def next_step(state: State, number: int, rule: Rule) -> RunNext | Audit | Verdict:
    """Of experiment `number`, which has no verdict yet. rule: see decide.py."""
    subject = state.experiments[number]
    if subject.skipped:
        return SKIP
    if failed := _failed(subject):
        return failed
    scores = [result.val_bpb for result in subject.results if result.val_bpb is not None]
    if state.best is None:
        return _baseline(rule, scores) or RunNext(number)
    if not scores:
        return RunNext(number)
    best = state.best
    decision = decide.decide(rule, best.counted, state.noise, scores, best.can_rerun)
    if decision.verdict in ("more", "again"):
        return RunNext(best.number if decision.verdict == "again" else number)
    fair = mean(fair_scores(scores, [], was_chosen=True))
    if decision.verdict == "keep":
        return Audit(Verdict("keep", "keep", decision.reason, fair, tuple(scores)))
    return Verdict("discard", decision.verdict, decision.reason, fair, tuple(scores))


def _failed(subject: Experiment) -> Verdict | None:
    for k, result in enumerate(subject.results, 1):
        if not result.ok:
            reason = result.reason if k == 1 else f"on seed {result.seed}, its run {k}: {result.reason}"
            return Verdict("discard" if result.status in DISCARDED else "crash", result.status, reason)
    return None


def _baseline(rule: Rule, scores: list[float]) -> Audit | None:
    if len(scores) < decide.BASELINE_RUNS[rule]:
        return None
    noise = pooled_noise([scores])
    spread = f", sigma {noise.sigma:.6f}" if noise else ""
    return Audit(Verdict("keep", "baseline", f"mean of {len(scores)} runs{spread}", mean(scores), tuple(scores)))
