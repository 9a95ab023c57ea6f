"""`noise`: run the best of a study on further seeds, to know what the seed alone does to the score on this machine.

The runs stand in the ledger as runs of the best: every later decision uses them, so none is wasted. A call that was cut short is
done to its end by the next one.
"""

from typing import Any

from autoresearch.loop.loop import establish_baseline, remeasure
from autoresearch.loop.night import seen_gain
from autoresearch.loop.steering import Steering
from autoresearch.loop.stop import Ending, ending_of
from autoresearch.run.setup import Setup
from autoresearch.study import events
from autoresearch.study.session import Listener, Session, opened
from autoresearch.study.state import State
from autoresearch.study.workspace import Study


def measure(study: Study, setup: Setup, runs: int, is_new: bool, listener: Listener) -> Ending:
    """Run the best until `runs` of its scores tell of the noise; is_new: until it has so many more than now."""

    def work() -> Ending:
        establish_baseline(session, work_tree=True)
        remeasure(session, _wanted(session, runs, is_new))
        best = session.state.best
        assert best is not None, "the baseline has just been established"
        return Ending("measured") if best.can_rerun else Ending(f"the best failed on a new seed: {best.results[-1].reason}", 1)

    with opened(study, setup, listener) as session:
        session.tick = Steering(session).attend
        ending = ending_of(session, work)
        session.stop(ending.reason)
        return ending


def missing(state: State, runs: int, is_new: bool) -> bool:
    """Whether `measure` would train anything."""
    return state.best is None or is_new or (state.best.can_rerun and len(state.best.noise_group) < runs)


def facts(study: Study, state: State) -> dict[str, Any]:
    """What is known of the noise, for programs; None where nothing ran twice."""
    groups = [(experiment, experiment.noise_group) for experiment in state.kept]
    measured = [
        {"experiment": experiment.number, "description": experiment.description, "scores": group}
        for experiment, group in groups
        if len(group) > 1
    ]
    figures: dict[str, Any] = {
        "sigma": None,
        "sigma_low": None,
        "sigma_high": None,
        "dof": 0,
        "seen_gain_bpb": None,
        "measured": measured,
    }
    if state.noise and (best := state.best):
        low, high = state.noise.interval()
        others = tuple(len(group) for experiment, group in groups if experiment is not best)
        gain = seen_gain(study.decide, len(best.counted), others)
        sigma = state.noise.sigma
        seen = max(gain * sigma, state.metric.least_gain)
        figures |= {"sigma": sigma, "sigma_low": low, "sigma_high": high, "dof": state.noise.dof, "seen_gain_bpb": seen}
    return figures | {"decide": study.decide, "profile": study.profile.name, "device": study.facts.device}


def _wanted(session: Session, runs: int, is_new: bool) -> int:
    """How many runs since its verdict the best shall have."""
    best = session.state.best
    assert best is not None, "the baseline has just been established"
    if not is_new:
        return runs - (len(best.noise_group) - len(best.again))
    if best.wanted <= len(best.again):  # else an earlier call was cut short
        session.record(events.Noise(n=best.number, wanted=len(best.again) + runs))
    return best.wanted
