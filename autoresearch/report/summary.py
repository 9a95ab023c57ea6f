"""What a study came to, in totals and in one sentence that says whether to believe it: for status, panel, picture, page and export.

Pure: from the ledger's fold alone. What is not known is None.
"""

from dataclasses import dataclass

from autoresearch.noise import student_t
from autoresearch.study.decide import FALSE_KEEP_SHARE
from autoresearch.study.state import State

SURE = 2.0  # normal deviate: a gain beyond it is chance in 2 of 100 studies
MOST_HELD = 0.5  # chosen: of the gain, on text that no decision saw, from which on it is called held


@dataclass(frozen=True)
class Summary:
    experiments: int  # with a verdict; the baseline is none
    keep: int
    discard: int
    crash: int
    trainings: int  # that ended with a result, of the baseline and the best too
    trained_hours: float  # on the clock
    machine_hours: float  # with start-up and scoring; what was lost or disturbed is not in it
    cost_usd: float | None  # of the agents' requests, as far as their prices are known; None: asked, and no price is known
    asked: int
    energy_kwh: float | None  # of the trainings whose energy is known; None: of none
    energy_trainings: int  # how many that are
    false_keeps: float | None  # expected at most, had no edit done anything; None: with `strict` it is not known
    belief: str  # one sentence
    began: str | None  # UTC, as the ledger writes it
    ended: str | None  # the last verdict


def summarise(state: State) -> Summary:
    spent, counts = state.spent, state.counts()
    confirmed = state.study is not None and state.study.decide == "confirmed"
    return Summary(
        experiments=sum(counts.values()),
        **counts,
        trainings=spent.trainings,
        trained_hours=spent.trained_seconds / 3600,
        machine_hours=spent.total_seconds / 3600,
        cost_usd=None if state.asked and state.asked == state.unpriced else state.cost_usd,
        asked=state.asked,
        energy_kwh=spent.joules / 3.6e6 if spent.metered else None,
        energy_trainings=spent.metered,
        false_keeps=FALSE_KEEP_SHARE * sum(counts.values()) if confirmed else None,
        belief=belief(state),
        began=state.experiments[0].started or None if state.experiments else None,
        ended=next((one.decided for one in reversed(state.experiments) if one.verdict is not None), None),
    )


def belief(state: State) -> str:
    """Whether the gain is one."""
    best, noise, gain, metric = state.best, state.noise, state.gain, state.metric
    if best is None:
        return "Nothing to believe yet: the baseline has no score."
    if gain is None:
        if not any(state.counts().values()):
            return "Nothing to believe yet: only the baseline has been tried."
        beyond = (
            f" by more than the noise: the seed alone moves {metric.name} by some {metric.amount(noise.sigma, digits=4)}"
            if noise
            else ""
        )
        return f"No edit was better than the baseline{beyond}."
    if noise is None or gain.error is None:
        return "Not known: with strict the noise is not measured, so a keep may be luck; `autoresearch noise` measures it."
    errors, unseen = f"{gain.bpb / gain.error:.1f} times its standard error", state.test_gain
    if gain.bpb <= student_t(SURE, noise.dof) * gain.error:
        return f"Not sure: the gain is {errors}, which chance may do ({noise.dof} degree{'s' * (noise.dof > 1)} of freedom)."
    if unseen is None:
        later = f"{metric.data} that no decision saw is scored when the run ends"
        return f"Believe it for this {metric.data}: the gain is {errors}; {later}."
    word, but = ("Believe", "and") if unseen >= MOST_HELD * gain.bpb else ("Doubt", "but")
    return f"{word} it: the gain is {errors}, {but} {metric.data} that no decision saw shows {100 * unseen / gain.bpb:.0f} % of it."
