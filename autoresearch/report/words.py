"""What `run` says of a study in words: of one event, of what runs, of the best, of the night so far."""

import math
from datetime import datetime, timedelta
from typing import Any

from autoresearch.run.setup import Progress
from autoresearch.study.state import State

MORNING_HOUR = 7  # what "by 07:00" counts to


def sentence(event: dict[str, Any], state: State) -> str | None:
    """The event for a reader; None when it says nothing that one waits for. `state` already holds the event."""
    kind, number = event["event"], event.get("n")
    match kind:
        case "study":
            return f"study {event['tag']}"
        case "start":
            return f"experiment {number}: {event['description']}"
        case "begin":
            who = "the best, " if state.runs_again else ""
            return f"{who}experiment {number} run {event['k']} starts, seed {event['seed']}"
        case "run":
            score = f"val_bpb {event['val_bpb']:.6f}" if event["status"] == "ok" else f"{event['status']}: {event['reason']}"
            late = state.late_startup
            beyond = "; start-up {:.0f} s, baseline {:.0f} s".format(*late) if late and event["n"] > 0 else ""
            disturbed = "; it counts although it was disturbed" if (event.get("watched") or {}).get("state") else ""
            return f"experiment {number} run {event['k']}: {score}{beyond}{disturbed}"
        case "verdict":
            return f"experiment {number} {state.experiments[-1].outcome}: {event['reason']}; {best(state)}"
        case "audit":
            worst = "no log-probabilities" if event["worst_nats"] is None else f"worst difference {event['worst_nats']:.4f} nats"
            passed = "passed" if event["reason"] is None else f"failed: {event['reason']}"
            return f"experiment {number}: audit of {event['cuts']} cuts, {worst}, {passed}"
        case "tested":
            return f"experiment {number} run {event['k']}: test_bpb {event['test_bpb']:.6f}, which no decision sees"
        case "slice":
            return _slice(event)
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
        case "note" | "wait":
            return str(event["reason"])
        case "check":
            return f"checking what may be experiment {number}: {event['description']}"
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


def _slice(event: dict[str, Any]) -> str | None:
    """What a gain is on the audit slice, beside that of the same runs on the validation text."""
    if event["gain_val"] is None or event["gain_slice"] is None:
        return f"experiment {event['n']}: {event['reason']}" if event["reason"] else None
    gains = f"{event['gain_val'][0]:.4f} on val and {event['gain_slice'][0]:.4f} on the audit slice"
    held = "; it counts for nothing" if event["reason"] else ""
    return f"experiment {event['n']} run {event['k']}, over experiment {event['against']}: gains {gains}{held}"


def running(state: State) -> str:
    pending, again = state.pending, state.runs_again
    if again and (run := again.unfinished):
        beside = f", for experiment {pending.number}" if pending else ""
        return f"the best, experiment {again.number}, runs again (run {run.k}, seed {run.seed}){beside}"
    if pending is None:
        return "paused; `autoresearch resume` goes on" if state.paused else ""
    last = pending.runs[-1] if pending.runs else None
    then = ", then a pause" if state.paused else ""
    return f"experiment {pending.number}{f' run {last.k} (seed {last.seed})' if last else ''}{then}: {pending.description}"


def best(state: State) -> str:
    if state.best is None or state.best.val_bpb is None:
        return "no val_bpb yet"
    text = f"best val_bpb {bpb(state.best.val_bpb)}"
    gain, baseline = state.gain, state.experiments[0].val_bpb
    if gain is None or baseline is None:
        return f"{text}, the baseline"
    percent = 100 * gain.bpb / baseline
    error = "" if gain.error is None else f" +- {gain.error:.4f}"
    return f"{text} by experiment {state.best.number}, {gain.bpb:.4f}{error} ({percent:.1f} %) below the baseline"


def tally(state: State) -> str:
    by_verdict = state.counts()
    counts = ", ".join(f"{count} {word}" for word, count in by_verdict.items())
    if state.handed:
        counts += f", {len(state.handed)} handed in to try next"
    if state.invalid:
        counts += f", {state.invalid} invalid and done again"
    seconds = state.experiment_seconds
    if not seconds:
        return counts
    now = datetime.now()
    morning = now.replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)
    morning += timedelta(days=1) * (morning <= now)
    expected = sum(by_verdict.values()) + int((morning - now).total_seconds() / seconds)
    return f"{counts}; {span(seconds)} each, at this pace {expected} by {morning:%H:%M}"


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


def bpb(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def span(seconds: float) -> str:
    """4:05, 1:02:03."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
