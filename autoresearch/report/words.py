"""What `run` says of a study in words: of one event, of what runs, of the best, of the night so far."""

import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from autoresearch.hardware.now.health import Health
from autoresearch.metric import Metric
from autoresearch.report.summary import Summary
from autoresearch.run.setup import Progress
from autoresearch.study.decide import BASELINE_RUNS
from autoresearch.study.state import State

SHORT = 4  # digits of a score where there is little room
MORNING_HOUR = 7  # what "by 07:00" counts to


def sentence(event: dict[str, Any], state: State) -> str | None:
    """The event for a reader; None when it says nothing that one waits for. `state` already holds the event."""
    kind, number, metric = event["event"], event.get("n"), state.metric
    match kind:
        case "study":
            return f"study {event['tag']}"
        case "start":
            return f"experiment {number}: {event['description']}"
        case "begin":
            who = "the best, " if state.experiments[event["n"]].verdict else ""
            where = f", on worker {event['worker']}" if event.get("worker") else ""
            return f"{who}experiment {number} run {event['k']} starts, seed {event['seed']}{where}"
        case "run":
            score = f"{event['status']}: {event['reason']}"
            if event["status"] == "ok":
                score = f"{metric.name} {metric.text(event['val_bpb'])}"
            late = state.late_startup
            beyond = "; start-up {:.0f} s, baseline {:.0f} s".format(*late) if late and event["n"] > 0 else ""
            disturbed = "; it counts although it was disturbed" if (event.get("watched") or {}).get("state") else ""
            return f"experiment {number} run {event['k']}: {score}{beyond}{disturbed}"
        case "verdict":
            return f"experiment {number} {state.experiments[event['n']].outcome}: {event['reason']}; {best(state)}"
        case "audit":
            worst = "no log-probabilities" if event["worst_nats"] is None else f"worst difference {event['worst_nats']:.4f} nats"
            passed = "passed" if event["reason"] is None else f"failed: {event['reason']}"
            return f"experiment {number}: audit of {event['cuts']} cuts, {worst}, {passed}"
        case "tested":
            return (
                f"experiment {number} run {event['k']}: {metric.test_name} {metric.text(event['test_bpb'])}, which no decision sees"
            )
        case "slice":
            return _slice(event, metric)
        case "revoked":
            return f"experiment {number} is no longer the best: {event['reason']}"
        case "lost":
            return f"experiment {number} run {event['k']} lost: {event['reason']}"
        case "invalid":
            return f"experiment {number} run {event['k']} invalid ({event['state']}): {event['reason']}; the same commit runs again"
        case "speed":
            wait = f"; the next check in {event['wait_seconds']:.0f} s" if event["wait_seconds"] else ""
            return f"{event['state']}: {event['reason']}{wait}" if event["reason"] else None
        case "rejected":
            return f"proposal rejected: {event['reason']}"
        case "note" | "wait" | "away":
            return str(event["reason"])
        case "check":
            what = f"what may be experiment {number}" if state.workers == 1 else "what may be an experiment"
            return f"checking {what}: {event['description']}"
        case "asked":
            return None if event["outcome"] == "answered" else f"{event['agent']}: {event['outcome']}"
        case "proposed":
            return f"{event['agent']} has an idea ready: {event['description']}"
        case "noise":
            return f"the best, experiment {number}, is to run until it has {event['wanted']} runs since its verdict"
        case "told":
            return f"told, and shown to the agents from now on: {event['text']}"
        case "resume":
            return "goes on, as `autoresearch resume` asked"
        case "skip":
            return f"experiment {number} is skipped, as `autoresearch skip` asked"
        case "handed":
            return f"handed in, tried next: {event['description']}"
        case "mix":
            wish = ", and is asked for a structural move" if event["wish"] else ""
            return f"the LLM proposes {event['share']:.0%} from now on{wish}: {event['reason']}"
        case _:
            return f"{kind}: {event['reason']}" if event.get("reason") else None


def _slice(event: dict[str, Any], metric: Metric) -> str | None:
    """What a gain is on the audit slice, beside that of the same runs on the validation data."""
    if event["gain_val"] is None or event["gain_slice"] is None:
        return f"experiment {event['n']}: {event['reason']}" if event["reason"] else None
    on_val, on_slice = (metric.amount(event[name][0], digits=SHORT) for name in ("gain_val", "gain_slice"))
    where = ("val", "the audit slice") if event["documents"] else ("the measure", "the confirming one")
    gains = f"{on_val} on {where[0]} and {on_slice} on {where[1]}"
    held = "; it counts for nothing" if event["reason"] else ""
    return f"experiment {event['n']} run {event['k']}, over experiment {event['against']}: gains {gains}{held}"


def running(state: State) -> str:
    if len(state.under_way) > 1:
        return f"{len(state.under_way)} runs at once: {under_way(state)}"
    pending, again = state.pending, state.runs_again
    if again and (run := again.unfinished):
        beside = f", for experiment {pending.number}" if pending else ""
        return f"the best, experiment {again.number}, runs again (run {run.k}, seed {run.seed}){beside}"
    if pending is None:
        return "paused; `autoresearch resume` goes on" if state.paused else ""
    last = pending.runs[-1] if pending.runs else None
    then = ", then a pause" if state.paused else ""
    if pending.number == 0:
        of = f", run {last.k} of {_baseline_runs(state)} (seed {last.seed})" if last else ""
        return f"the baseline{of}{then}"
    return f"experiment {pending.number}{f' run {last.k} (seed {last.seed})' if last else ''}{then}: {pending.description}"


def under_way(state: State) -> str:
    """What runs, of several workers: the experiments, each with how many runs at once where it has more than one."""
    said = []
    for n, count in Counter(n for n, _ in state.under_way).items():
        who = "the baseline" if n == 0 else f"the best, {n}" if state.experiments[n].verdict else f"experiment {n}"
        said.append(f"{who} ({count} runs)" if count > 1 else who)
    return "; ".join(said)


def best(state: State) -> str:
    metric = state.metric
    if state.best is None or state.best.val_bpb is None:
        return f"no {metric.name} yet"
    text = f"best {metric.name} {metric.text(state.best.val_bpb, SHORT)}"
    gain, baseline = state.gain, state.experiments[0].val_bpb
    if gain is None or baseline is None:
        return f"{text}, the baseline"
    share = metric.share(gain.bpb, baseline, 1)
    return (
        f"{text} by experiment {state.best.number}, {metric.amount(gain.bpb, gain.error, SHORT)}{share}"
        f" {metric.beyond} the baseline"
    )


def first_scores(state: State, progress: Progress | None, train_seconds: float | None) -> str:
    """Before there is a best: what the baseline's runs have scored so far, and when the next one has."""
    first = state.baseline
    known = [result for result in first.results if result.val_bpb is not None] if first else []
    said, metric = best(state), state.metric
    said += f", {_baseline_runs(state)} runs make the baseline" if _baseline_runs(state) > 1 else ""
    if known:
        scores = ", ".join(metric.text(result.val_bpb, SHORT) for result in known)
        said = f"the baseline's run{'s' * (len(known) > 1)} so far: {scores}"
    if progress is None or first is None:
        return said
    seconds = next((result.total_seconds for result in reversed(known) if result.total_seconds), None)
    if seconds is not None:
        startup, scoring = known[-1].startup_seconds or 0.0, known[-1].scoring_seconds or 0.0
        before = {"training": startup, "scoring": seconds - scoring}.get(progress.phase, 0.0)
        left = max(0.0, seconds - before - progress.elapsed_seconds)
        further = (_baseline_runs(state) - len(known) - 1) * seconds
        if further < 0:  # they are scored, and audited now
            return said
        following = f"the next in about {span(left)}, " if further > 0 else ""
        return f"{said}; {following}the baseline in about {span(left + further)}"
    if train_seconds is None or progress.phase not in ("startup", "training"):
        return said
    done = progress.elapsed_seconds if progress.phase == "training" else 0.0
    after = "start-up, " if progress.phase == "startup" else ""
    return f"{said}; the first after {after}{span(max(0.0, train_seconds - done))} of training and its scoring"


def _baseline_runs(state: State) -> int:
    """How many it is made of; several workers begin more of them than the rule asks for."""
    begun = len(state.baseline.runs) if state.baseline else 0
    return max(begun, BASELINE_RUNS[state.study.decide]) if state.study else 1


def tally(state: State, now: datetime, is_at_work: bool = True) -> str:
    by_verdict = state.counts()
    known = [f"{count} {word}" for word, count in by_verdict.items()] if state.best else []
    if state.handed:
        known.append(f"{len(state.handed)} handed in to try next")
    if state.invalid:
        known.append(f"{state.invalid} invalid and done again")
    counts = ", ".join(known)
    seconds = state.experiment_seconds
    if not seconds or not is_at_work:
        return counts
    morning = now.replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)
    morning += timedelta(days=1) * (morning <= now)
    expected = sum(by_verdict.values()) + int((morning - now).total_seconds() / seconds)
    return f"{counts}; {span(seconds)} each, at this pace {expected} by {morning:%H:%M}"


def ideas(state: State, thinks: tuple[str, float] | None) -> str:
    """What comes next, as far as it is known. thinks: an agent at work on its answer, and for how many seconds."""
    ready = [("you", idea.description) for idea in state.handed] + [(idea.agent, idea.description) for idea in state.waiting]
    thinking = f"{thinks[0]} is thinking ({span(thinks[1])})" if thinks else ""
    if not ready:
        return thinking
    more = f" (+{len(ready) - 1} more)" if len(ready) > 1 else ""
    return f"{ready[0][1]}, by {ready[0][0]}{more}" + (f"; {thinking}" if thinking else "")


def costs(summary: Summary) -> list[str]:
    """What the agents' requests have cost, and the trainings' energy, as far as they are known."""
    words = []
    if summary.asked:
        spent = "price not known" if summary.cost_usd is None else f"{summary.cost_usd:.2f} USD"
        words.append(f"{spent} for {summary.asked} request{'s' * (summary.asked != 1)}")
    if summary.energy_kwh is not None:
        words.append(f"{summary.energy_kwh:.2f} kWh")
    return words


def machine(health: Health) -> list[str]:
    """What is known of the machine's state, as short words."""
    words = []
    if health.memory_share is not None:
        words.append(f"memory {100 * health.memory_share:.0f} %")
    if health.hottest_celsius is not None:
        words.append(f"{health.hottest_celsius:.0f} °C ({health.hottest_name})")
    if health.clock_mhz is not None:
        words.append(f"{health.clock_mhz / 1000:.1f} GHz")
    if health.on_battery or health.battery_percent is not None:
        level = "" if health.battery_percent is None else f" {health.battery_percent} %"
        words.append(f"battery{level}{', not plugged in' if health.on_battery else ''}")
    return words


def numbers(progress: Progress) -> list[str]:
    """What is known of the running phase, as short words."""
    words = []
    if progress.phase == "startup" or not progress.fraction:  # start-up has a limit, but no known length
        words.append(span(progress.elapsed_seconds))
    else:
        words.append(f"{100 * progress.fraction:.0f} %")
        words.append(f"{span(progress.elapsed_seconds / progress.fraction - progress.elapsed_seconds)} left")
    if progress.tokens_per_second is not None:
        words.append(f"{progress.tokens_per_second:,.0f} tok/s")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.3f}")
    return words


def phase(progress: Progress, state: State, startup_limit_seconds: float | None) -> tuple[float | None, list[str]]:
    """(the share of the phase that is over, None: nobody can say; what is known of it, as short words)."""
    elapsed = progress.elapsed_seconds
    if progress.phase != "startup" and progress.fraction is not None:
        return progress.fraction, numbers(progress)
    usual = _usual_seconds(state, progress.phase)
    if usual and elapsed <= usual:
        return elapsed / usual, [span(elapsed), f"about {span(usual - elapsed)} left"]
    if usual:
        return None, [span(elapsed), f"the last one took {span(usual)}"]
    limit = startup_limit_seconds if progress.phase == "startup" else None
    return None, [span(elapsed), *([f"at most {span(limit)}"] if limit else [])]


def _usual_seconds(state: State, phase: str) -> float | None:
    """What start-up or scoring took in the last run that has a result."""
    last = next((one.results[-1] for one in reversed(state.experiments) if one.results), None)
    return {"startup": last.startup_seconds, "scoring": last.scoring_seconds}.get(phase) if last else None


def span(seconds: float) -> str:
    """4:05, 1:02:03."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
